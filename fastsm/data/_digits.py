"""The digits that come with the package."""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray

from fastsm.typing import Array

__all__ = ["load_digits"]


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return 1,797 images of handwritten digits and their labels.

    The digits of 13 of the 43 writers in *Optical Recognition of Handwritten Digits* [1]_ (CC BY 4.0), the
    same as in scikit-learn. They are part of the package: nothing is downloaded.

    Returns
    -------
    images : ndarray of float32, shape (1797, 64)
        Images of 8 x 8 pixels in row-major order, from 0 (paper) to 1 (ink) in steps of 1/16.
    labels : ndarray of int64, shape (1797,)
        The digits, 0 to 9, about 180 of each.

    References
    ----------
    .. [1] E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
       Repository, 1998, https://doi.org/10.24432/C50P49.

    Examples
    --------
    >>> from fastsm import data
    >>> images, labels = data.load_digits()
    >>> images.shape, labels[:10].tolist()
    ((1797, 64), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    with (
        (resources.files("fastsm.data") / "digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        images: Array = arrays["images"]
        labels: Array = arrays["labels"]
    return images.astype(np.float32) / np.float32(16), labels.astype(np.int64)
