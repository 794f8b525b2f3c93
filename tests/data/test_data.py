"""The data in the package."""

import numpy as np

from fastsm import data


def test_digits_against_docstring():
    """Shapes, dtypes, range, and similar numbers of each digit."""
    images, labels = data.load_digits()
    assert images.shape == (1797, 64)
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    assert images.min() == 0
    assert images.max() == 1
    assert np.array_equal(images * 16, np.round(images * 16))
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_are_learnable():
    """The nearest mean image is right for nine in ten: images and labels match."""
    images, labels = data.load_digits()
    means = np.stack([images[labels == digit].mean(axis=0) for digit in range(10)])
    nearest = ((images[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    assert (nearest == labels).mean() > 0.88


def test_fresh_arrays_in_every_call():
    """Writing to the arrays does not change later calls."""
    images, _ = data.load_digits()
    images[:] = 7
    assert data.load_digits()[0].max() == 1
