"""Matrix products: each instruction set against higher precision, transposed or not."""

import importlib

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import DTYPES, WIDE

from fastsm import _kernels

VARIANTS = [importlib.import_module(f"fastsm._kernels.{isa}.kernels") for isa in _kernels.available]

# Around the sizes of vectors, tiles and panels.
NEAR_EDGES = [31, 32, 33, 63, 64, 65, 70, 100, 129, 255, 256, 257, 600]
SIZES = st.one_of(st.integers(0, 20), st.sampled_from(NEAR_EDGES))


@pytest.fixture(params=_kernels.available)
def kernels(request):
    """Return the kernels of each instruction set in turn."""
    return importlib.import_module(f"fastsm._kernels.{request.param}.kernels")


def product(kernels, left, right, bias=None):
    """Return ``left @ right + bias`` by the kernel; arrays in Fortran order are passed transposed."""
    out = np.full((left.shape[0], right.shape[1]), np.nan, left.dtype)
    turned = [not a.flags.c_contiguous for a in (left, right)]
    factors = [a.T if turn else a for a, turn in zip((left, right), turned, strict=True)]
    kernels.dense(*factors, bias, out, left_transposed=turned[0], right_transposed=turned[1])
    return out


def normal(rng, shape, dtype, turned=False):
    array = rng.standard_normal(shape).astype(dtype)
    return np.asfortranarray(array) if turned else array


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(VARIANTS), st.sampled_from([np.float32, np.float64]), st.tuples(SIZES, SIZES, SIZES),
    st.tuples(st.booleans(), st.booleans()), st.booleans(), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_against_higher_precision(kernels, dtype, sizes, turned, biased, seed):
    """The error of a sum of n products is at most about n roundings of the sum of their magnitudes."""
    rng = np.random.default_rng(seed)
    rows, steps, columns = sizes
    left = normal(rng, (rows, steps), dtype, turned[0])
    right = normal(rng, (steps, columns), dtype, turned[1])
    bias = normal(rng, columns, dtype) if biased else None
    got = product(kernels, left, right, bias)
    offset = 0 if bias is None else bias.astype(WIDE[dtype])
    expected = left.astype(WIDE[dtype]) @ right.astype(WIDE[dtype]) + offset
    magnitude = abs(left).astype(WIDE[dtype]) @ abs(right).astype(WIDE[dtype]) + abs(offset)
    assert np.all(abs(got - expected) <= (steps + 2) * oracle.eps(dtype) * magnitude)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 2, 5, 10, 17, 100])
@pytest.mark.parametrize("turned", [(False, False), (False, True)])
def test_rows_do_not_depend_on_each_other(kernels, dtype, columns, turned):
    """A row has the same bits in any batch and at any place in it."""
    rng = np.random.default_rng(0)
    left = normal(rng, (150, 300), dtype)
    right = normal(rng, (300, columns), dtype, turned[1] and columns > 1)
    whole = product(kernels, left, right)
    for first, last in ((0, 1), (1, 4), (70, 150), (149, 150)):
        assert np.array_equal(product(kernels, left[first:last].copy(), right), whole[first:last])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [2, 10, 40])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_special_values_do_not_spread(kernels, dtype, columns, turned, special):
    """Lanes padded with zeros and lanes read twice do not affect results."""
    rng = np.random.default_rng(0)
    for place in (0, 2, 36):
        left, right = normal(rng, (7, 37), dtype, turned[0]), normal(rng, (37, columns), dtype, turned[1])
        left[3, place] = special
        got = product(kernels, left, right)
        assert np.isfinite(np.delete(got, 3, axis=0)).all()
        assert not np.isfinite(got[3]).any()
        left[3, place] = 1
        right[place, 1] = special
        got = product(kernels, left, right)
        assert np.isfinite(np.delete(got, 1, axis=1)).all()
        assert not np.isfinite(got[:, 1]).any()


def test_wrong_arrays_are_declined(kernels):
    x, w, b, out = np.ones((3, 4)), np.ones((4, 5)), np.ones(5), np.ones((3, 5))
    kernels.dense(x, w, b, out)
    for wrong in ((x, w, b, out[:2]), (x[:, :3].copy(), w, b, out), (x, w, b[:4], out)):
        with pytest.raises(ValueError, match="must"):
            kernels.dense(*wrong)
    for wrong in ((x, w, b, out[0]), (x[0], w, b, out)):
        with pytest.raises(ValueError, match="2 axes"):
            kernels.dense(*wrong)
    for wrong in (
        (x.astype("f4"), w, b, out),
        (x, w.T, b, out),
        (x, w, b.astype("f4"), out),
        (x, w, b, out.tolist()),
        (x, w, b, None),
    ):
        with pytest.raises(TypeError):
            kernels.dense(*wrong)
    with pytest.raises(ValueError, match="shapes"):
        kernels.dense(x, w, b, out, left_transposed=True)
    out.flags.writeable = False
    with pytest.raises(TypeError):
        kernels.dense(x, w, b, out)
