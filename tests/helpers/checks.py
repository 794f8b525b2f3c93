"""Checks that several files of tests make."""

import contextlib

import numpy as np
import pytest


@contextlib.contextmanager
def raises(error, message):
    """Check that a block raises an error of exactly this type, with exactly this text."""
    with pytest.raises(error) as caught:
        yield
    assert str(caught.value) == message
    assert type(caught.value) is error


def assert_same(results, others):
    """Check that arrays are equal, pair by pair."""
    for result, other in zip(results, others, strict=True):
        np.testing.assert_array_equal(result, other)


def numeric_gradient(function, array):
    """Return the gradient of a function without arguments over one array, by central differences.

    The array is changed and changed back. With step h the error is about h^2 + eps / h: 1e-10 for 1e-6.
    """
    gradient = np.empty_like(array)
    for i in np.ndindex(array.shape):
        value, step = array[i], 1e-6 * max(1, abs(array[i]))
        array[i] = value + step
        above = function()
        array[i] = value - step
        gradient[i] = (above - function()) / (2 * step)
        array[i] = value
    return gradient
