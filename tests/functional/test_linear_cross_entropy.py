"""Cross-entropy from features and weights in chunks of classes, against that of all logits at once."""

import itertools
import re
import tracemalloc

import numpy as np
import pytest

import fastsm
from fastsm.testing import check_grads

N, N_IN, C = 7, 5, 23


def arguments(dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = (3 * rng.standard_normal((N, N_IN))).astype(dtype)
    weight, bias = rng.standard_normal((N_IN, C)).astype(dtype), rng.standard_normal(C).astype(dtype)
    return x, weight, bias, rng.integers(0, C, N)


# Sums of some products of numbers up to 10, rounded to 6e-8 or 1e-16 of it.
TOLERANCE = {"float32": 5e-5, "float64": 1e-12}


OPTIONS = {
    "with_bias": (False, True),
    "class_weight": (None, np.linspace(0, 2, C)),
    "sample_weight": (None, np.linspace(1, 0, N)),
    "ignore_index": (None, 3, -100),
    "label_smoothing": (0.0, 0.1, 1.0),
    "temperature": (1.0, 2.5),
    "reduction": ("mean", "sum", "none"),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("chunk", [1, 6, None])
def test_against_all_logits(dtype, chunk):
    for values in itertools.product(*OPTIONS.values()):
        options = dict(zip(OPTIONS, values, strict=True))
        with_bias = options.pop("with_bias")
        x, weight, bias, y = arguments(dtype)
        if options["ignore_index"] is not None:
            y[2] = options["ignore_index"]
        exact = [np.asarray(a, np.float64) for a in (x, weight, bias)]
        expected, d_logits = fastsm.cross_entropy_with_grad(
            exact[0] @ exact[1] + exact[2] * with_bias, y, **options
        )
        own = {"bias": bias if with_bias else None, "chunk": chunk, **options}
        loss = fastsm.linear_cross_entropy(x, weight, y, **own)
        limits = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
        np.testing.assert_allclose(loss, expected, **limits, err_msg=str(options))
        assert loss.dtype == dtype
        if options["reduction"] == "none":
            continue
        again, (d_x, d_weight, d_bias) = fastsm.linear_cross_entropy_with_grad(x, weight, y, **own)
        assert again == loss
        assert d_x.dtype == d_weight.dtype == dtype
        np.testing.assert_allclose(d_x, d_logits @ exact[1].T, **limits, err_msg=str(options))
        np.testing.assert_allclose(d_weight, exact[0].T @ d_logits, **limits, err_msg=str(options))
        assert (d_bias is not None) == with_bias
        if with_bias:
            np.testing.assert_allclose(d_bias, d_logits.sum(axis=0), **limits, err_msg=str(options))


def test_gradients_by_finite_differences():
    x, weight, bias, y = arguments(np.float64)

    def loss(x, weight, bias):
        return fastsm.linear_cross_entropy_with_grad(
            x,
            weight,
            y,
            bias=bias,
            chunk=4,
            class_weight=np.arange(C) + 1.0,
            label_smoothing=0.1,
            temperature=2.0,
        )

    assert check_grads(loss, x, weight, bias).ok


def test_relative_accuracy_near_zero():
    weight = [[0.0, -40.0, -60.0]]
    for chunk in (1, 2, 3):
        loss, (_, d_weight, _) = fastsm.linear_cross_entropy_with_grad([[1.0]], weight, [0], chunk=chunk)
        np.testing.assert_allclose(loss, np.exp(-40.0), rtol=1e-8)
        np.testing.assert_allclose(d_weight, np.exp([[-40.0, -40.0, -60.0]]) * [-1, 1, 1], rtol=1e-8)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_special_values_in_the_bias(value):
    bias = np.array([0.0, value, 1.0, 0.0])
    for label in range(4):
        logits = np.zeros((1, 4)) + bias
        expected, d_logits = fastsm.cross_entropy_with_grad(logits, [label])
        loss, (_, _, d_bias) = fastsm.linear_cross_entropy_with_grad(
            np.zeros((1, 2)), np.zeros((2, 4)), [label], bias=bias, chunk=2
        )
        np.testing.assert_allclose(loss, expected)
        np.testing.assert_allclose(d_bias, d_logits[0], atol=1e-16)


def test_empty_ignored_and_half_precision():
    x, weight, _, y = arguments(np.float64)
    loss, (d_x, d_weight, _) = fastsm.linear_cross_entropy_with_grad(x[:0], weight, [])
    assert loss == 0
    assert d_x.shape == (0, N_IN)
    assert not d_weight.any()
    loss, (d_x, d_weight, _) = fastsm.linear_cross_entropy_with_grad(x, weight, [5] * N, ignore_index=5)
    assert (loss, d_x.any(), d_weight.any()) == (0, False, False)
    half = [a.astype(np.float16) for a in (x, weight)]
    loss, (d_x, d_weight, _) = fastsm.linear_cross_entropy_with_grad(*half, y, chunk=5)
    assert (loss.dtype, d_x.dtype, d_weight.dtype) == (np.float32, np.float16, np.float16)
    # Half a unit in the last of eleven bits.
    expected = fastsm.cross_entropy(half[0].astype(float) @ half[1].astype(float), y)
    np.testing.assert_allclose(float(loss), expected, rtol=2**-11)


def test_inputs_unchanged_any_layout():
    x, weight, bias, y = arguments(np.float64)
    expected = fastsm.linear_cross_entropy_with_grad(x, weight, y, bias=bias, chunk=5)
    others = [np.asfortranarray(x), np.repeat(weight, 2, axis=1)[:, ::2], np.repeat(bias, 2)[::2]]
    for array in (*others, x, weight, bias, y):
        array.flags.writeable = False
    loss, grads = fastsm.linear_cross_entropy_with_grad(others[0], others[1], y, bias=others[2], chunk=5)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-14)
    for grad, other in zip(grads, expected[1], strict=True):
        np.testing.assert_allclose(grad, other, rtol=1e-12, atol=1e-15)


def peak(classes, function):
    x, weight = np.ones((64, 8), np.float32), np.zeros((8, classes), np.float32)
    tracemalloc.start()
    try:
        result = function(x, weight, np.arange(64), chunk=1000)
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_memory_for_many_classes():
    few, many = (peak(classes, fastsm.linear_cross_entropy)[0] for classes in (20_000, 200_000))
    # 64 x 1000 logits, and as much again for what is computed from them.
    assert many < 1.1 * few
    assert many < 4 * 64 * 1000 * 4
    with_grad, (_, grads) = peak(200_000, fastsm.linear_cross_entropy_with_grad)
    assert with_grad - grads[1].nbytes < 4 * 64 * 1000 * 4


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.ones(5)}, ValueError, "`x` must have shape (N, n_in), got (5,)"),
        ({"weight": np.ones((4, C))}, ValueError, "`weight` must have shape (5, C), got (4, 23)"),
        ({"bias": np.ones(C + 1)}, ValueError, "`bias` must have shape (23,), got (24,)"),
        (
            {"targets": np.ones((N, C))},
            TypeError,
            "`targets` must have an integer dtype (labels), got float64",
        ),
        ({"targets": [C] * N}, ValueError, "`targets` must lie in [0, 23), got 23 at position 0"),
        ({"targets": [0] * (N + 1)}, ValueError, "`targets` must have shape (7,), got (8,)"),
        ({"chunk": 0}, ValueError, "`chunk` must be an integer of at least 1, got 0"),
        ({"class_weight": np.ones(3)}, ValueError, "`class_weight` must have shape (23,), got (3,)"),
        ({"reduction": "none"}, ValueError, "`reduction` must be 'mean' or 'sum' for gradients over weights"),
    ],
)
def test_errors(change, error, message):
    x, weight, bias, y = arguments(np.float64)
    given = {"x": x, "weight": weight, "targets": y, "bias": bias} | change
    x, weight, y = (given.pop(name) for name in ("x", "weight", "targets"))
    with pytest.raises(error, match=re.escape(message)):
        fastsm.linear_cross_entropy_with_grad(x, weight, y, **given)
