"""The softmax functions against PyTorch's, over the product of options, shapes, axes, types and values.

    python tests/differential.py        (`make differential` makes the environment for it)
    python tests/differential.py 10     only every tenth case

What PyTorch says is computed in float64, from the same numbers, so that a difference is an error of fastsm's
or a different rule. The rules that differ on purpose are in `KNOWN`; everything else must agree up to
rounding, NaN and infinities included. Exits with 1 if something does not.
"""

import itertools
import sys
import warnings
from collections import Counter

import ml_dtypes
import numpy as np
import torch

import fastsm

SHAPES = [(1,), (7,), (5, 1), (1, 5), (3, 10), (2, 33), (4, 100), (3, 4, 5), (2, 3, 4, 6), (0, 5)]
PLACES = [(shape, axis) for shape in SHAPES for axis in range(len(shape)) if shape[axis]]
# For the losses, which have more options.
FEWER_PLACES = [
    (shape, axis) for shape, axis in PLACES if shape in [(7,), (1, 5), (3, 10), (2, 33), (3, 4, 5), (0, 5)]
]
DTYPES = [np.dtype(t) for t in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)]
TEMPERATURES = [1.0, 0.5, 3.0]

# ---- what differs on purpose ----

KNOWN = {
    "nothing to average":
        "a mean over nothing (no rows, all ignored or of weight 0) is 0, with its gradient; torch: NaN",
    "0 times infinity": "a weight or a probability of 0 against a logit of -inf counts as 0; torch: NaN",
    "near zero": "log_softmax([0, -40]) is [-4.2e-18, -40]; torch: [0, -40] (within the tolerance)",
    "tiny exponentials":
        "exponentials below 1.7e-38 (float64: 3.2e-308) are 0; torch: subnormal (within the tolerance)",
}  # fmt: skip


def known_difference(ours, theirs, nothing_left, zero_terms):
    """Return which of the known differences explains a loss, or None."""
    if nothing_left and ours == 0 and np.isnan(theirs):
        return "nothing to average"
    if zero_terms and np.isnan(theirs) and not np.isnan(ours):
        return "0 times infinity"
    return None


# ---- inputs ----


def set_at(values, axis, index, number):
    """Return a copy with a number in every row."""
    values = values.copy()
    np.moveaxis(values, axis, -1)[..., index] = number
    return values


VALUES = {
    "usual": lambda x, axis: x,
    "wide": lambda x, axis: 50 * x,
    "equal": lambda x, axis: np.full_like(x, 2.5),
    "with -inf": lambda x, axis: set_at(x, axis, -1, -np.inf),
    "with inf": lambda x, axis: set_at(x, axis, 0, np.inf),
    "with NaN": lambda x, axis: set_at(x, axis, 0, np.nan),
    "only -inf": lambda x, axis: np.full_like(x, -np.inf),
    "far from 0": lambda x, axis: x + 1000,
}
LAYOUTS = {
    "C": lambda x: np.ascontiguousarray(x),
    "Fortran": lambda x: np.asfortranarray(x),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
}


def logits(shape, axis, dtype, kind, seed=0):
    """Return logits of a dtype, and the same numbers in PyTorch's float64."""
    x = np.random.default_rng([seed, *shape]).standard_normal(shape)
    x = VALUES[kind](x, axis).astype(dtype)
    return x, torch.tensor(x.astype(np.float64), requires_grad=True)


# ---- comparison ----


class Comparison:
    """Counts cases, and keeps the unexplained differences."""

    def __init__(self):
        self.cases = Counter()
        self.known = Counter()
        self.differences = []

    def check(self, name, case, ours, theirs, dtype, scale, explain=lambda ours, theirs: None):
        """Compare a result with PyTorch's."""
        exact = np.asarray(theirs.detach() if torch.is_tensor(theirs) else theirs, np.float64)
        ours = np.asarray(ours)
        if ours.dtype != dtype or ours.shape != exact.shape:
            self.differences.append((name, case, f"{ours.dtype}{ours.shape}, not {dtype}{exact.shape}"))
            return
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            rounded = exact.astype(dtype).astype(np.float64)  # as large numbers become infinite
            ours = ours.astype(np.float64)
            compute = np.finfo(np.float64 if dtype == np.float64 else np.float32).eps
            last = float(ml_dtypes.finfo(dtype).eps)
            allowed = (
                16 * compute * scale
                + 2 * last * np.abs(exact)
                + float(ml_dtypes.finfo(dtype).smallest_subnormal)
            )
            same = (ours == rounded) | (np.isnan(ours) & np.isnan(exact)) | (np.abs(ours - exact) <= allowed)
        for index in np.argwhere(~same):
            a, b = float(ours[tuple(index)]), float(exact[tuple(index)])
            reason = explain(a, b)
            if reason is None:
                self.differences.append((name, case, f"{a!r}, not {b!r}, at {tuple(map(int, index))}"))
                return
            self.known[reason] += 1


def size_of(x, temperature=1.0):
    """Return by how much the exponential amplifies rounding errors of such logits."""
    finite = np.abs(x.astype(np.float64))
    return 1 + float(np.max(finite, where=np.isfinite(finite), initial=0)) / temperature


# ---- softmax, log_softmax, logsumexp and the gradients of the first two ----


def compare_softmax(comparison, every):
    """Compare the functions of logits."""
    cases = itertools.product(PLACES, DTYPES, VALUES, LAYOUTS)
    for (shape, axis), dtype, kind, layout in itertools.islice(cases, 0, None, every):
        plain, tensor = logits(shape, axis, dtype, kind)
        x, case = LAYOUTS[layout](plain), (shape, axis, dtype.name, kind, layout)
        comparison.cases["logsumexp"] += 1
        sums = fastsm.logsumexp(x, axis=axis)
        comparison.check("logsumexp", case, sums, torch.logsumexp(tensor, axis), dtype, size_of(x))
        for temperature, name in itertools.product(TEMPERATURES, ("softmax", "log_softmax")):
            y = getattr(fastsm, name)(x, axis=axis, temperature=temperature)
            reference = getattr(torch, name)(tensor / temperature, axis)
            scale, one = size_of(x, temperature), (*case, temperature)
            comparison.cases[name] += 1
            comparison.check(name, one, y, reference, dtype, scale)
            dy = np.random.default_rng(1).standard_normal(shape).astype(dtype)
            tensor.grad = None
            reference.backward(torch.tensor(dy.astype(np.float64)))
            dz = getattr(fastsm, f"{name}_vjp")(y, dy, axis=axis, temperature=temperature)
            # What y was rounded by is multiplied by dy, as often as there are classes.
            rounding = (
                float(ml_dtypes.finfo(dtype).eps) / np.finfo(np.float64 if dtype == np.float64 else "f4").eps
            )
            scale *= (
                4 * rounding * shape[axis] ** 0.5 * (size_of(x) if name == "log_softmax" else 1) / temperature
            )
            comparison.cases[f"{name}_vjp"] += 1
            comparison.check(f"{name}_vjp", one, dz, tensor.grad, dtype, scale)


# ---- cross-entropy and its gradient ----


def targets_of(shape, axis, kind, rng):
    """Return labels, or probabilities of which some are 0."""
    rows = shape[:axis] + shape[axis + 1 :]
    if kind == "labels":
        return rng.integers(0, shape[axis], rows)
    y = rng.random(shape) * (rng.random(shape) < 0.7) + 1e-3 * (kind == "probabilities")
    return y / np.maximum(y.sum(axis, keepdims=True), 1e-300)


WEIGHTS = {
    "none": lambda classes, rng: None,
    "random": lambda classes, rng: rng.random(classes) + 0.1,
    "some 0": lambda classes, rng: np.arange(classes) % 2 * 1.5,
}
OPTIONS = [
    dict(zip(("targets", "weight", "ignore", "smoothing", "reduction", "temperature"), values, strict=True))
    for values in itertools.product(
        ("labels", "probabilities", "sparse"),
        WEIGHTS,
        (None, -100, 0),
        (0.0, 0.1, 1.0),
        ("mean", "sum", "none"),
        (1.0, 0.5),
    )
    if values[0] == "labels" or values[2] is None
]


def compare_cross_entropy(comparison, every):
    """Compare the loss with and without its gradient."""
    cases = itertools.product(FEWER_PLACES, DTYPES, ("usual", "wide", "with -inf"), OPTIONS)
    for number, case in enumerate(itertools.islice(cases, 0, None, every)):
        (shape, axis), dtype, kind, options = case
        x, tensor = logits(shape, axis, dtype, kind)
        one_cross_entropy(comparison, number, x, tensor, axis, dtype, kind, options)


def one_cross_entropy(comparison, number, x, tensor, axis, dtype, kind, options):
    """Compare one loss."""
    rng = np.random.default_rng(number)
    y = targets_of(x.shape, axis, options["targets"], rng)
    weight = WEIGHTS[options["weight"]](x.shape[axis], rng)
    ignore, smoothing, temperature = options["ignore"], options["smoothing"], options["temperature"]
    labels = options["targets"] == "labels"
    if labels and ignore == -100 and y.size:
        y.flat[0] = -100
    loss, grad = fastsm.cross_entropy_with_grad(
        x, y, axis=axis, class_weight=weight, ignore_index=ignore, label_smoothing=smoothing,
        reduction=options["reduction"], temperature=temperature,
    )  # fmt: skip
    alone = fastsm.cross_entropy(
        x, y, axis=axis, class_weight=weight, ignore_index=ignore, label_smoothing=smoothing,
        reduction=options["reduction"], temperature=temperature,
    )  # fmt: skip
    tensor.grad = None
    if not labels:  # in the type that fastsm computes in
        y = y.astype(np.float64 if dtype == np.float64 else np.float32).astype(np.float64)
    # PyTorch has the classes along axis 1, or along axis 0 of a vector.
    moved = (tensor / temperature).movedim(axis, min(1, x.ndim - 1))
    t = torch.tensor(y) if labels else torch.tensor(y).movedim(axis, min(1, x.ndim - 1))
    reference = torch.nn.functional.cross_entropy(
        moved, t, weight=None if weight is None else torch.tensor(weight), label_smoothing=smoothing,
        ignore_index=-100 if ignore is None else ignore, reduction=options["reduction"],
    )  # fmt: skip
    reference.sum().backward()

    case = (x.shape, axis, dtype.name, kind, *options.values())
    counts = np.ones(t.shape) if weight is None or not labels else weight[np.maximum(y, 0)]
    kept = counts * (y != ignore) if labels and ignore is not None else counts
    nothing_left = options["reduction"] == "mean" and (t.numel() == 0 or (labels and kept.sum() == 0))
    zero_terms = kind == "with -inf" and (
        weight is not None or not labels or smoothing == 1 or (kept == 0).any()
    )
    scale = size_of(x, temperature) ** 2 * max(
        1.0, x.size if options["reduction"] == "sum" else x.shape[axis]
    )

    def explain(ours, theirs):
        return known_difference(ours, theirs, nothing_left, zero_terms)

    comparison.cases["cross_entropy"] += 1
    comparison.cases["cross_entropy_with_grad"] += 1
    comparison.check("cross_entropy", case, loss, reference, dtype, scale, explain)
    comparison.check("cross_entropy alone", case, alone, np.asarray(loss, np.float64), dtype, 0.0)
    comparison.check("gradient", case, grad, tensor.grad, dtype, scale / temperature, explain)


def main():
    """Compare everything, and print the result."""
    comparison = Comparison()
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    torch.set_num_threads(1)
    compare_softmax(comparison, every)
    compare_cross_entropy(comparison, every)
    print(f"fastsm {fastsm.__version__} and torch {torch.__version__}: {comparison.cases.total()} cases")
    for name, count in comparison.cases.items():
        print(f"  {name:24} {count:7}")
    print("known differences (elements):")
    for reason, count in comparison.known.items():
        print(f"  {count:7}  {KNOWN[reason]}")
    print(f"other differences: {len(comparison.differences)}")
    for name, case, text in comparison.differences[:30]:
        print(f"  {name} {case}: {text}")
    sys.exit(bool(comparison.differences))


if __name__ == "__main__":
    main()
