"""Load data sets by name or path."""

from __future__ import annotations

import os

from fastsm import _arguments
from fastsm.data._archives import read_npz
from fastsm.data._dataset import DataError, Dataset, Splits, make_datasets, rows_of_part, split
from fastsm.data._digits import load_digits
from fastsm.data._download import cached, fetch, pooch_or_none
from fastsm.data._folder import FILES, files_in, read_folder
from fastsm.data._tables import read_csv, stem

__all__ = ["load"]

_DIGITS = tuple("0123456789")
_CLASSES = {
    "fashion-mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "mnist": _DIGITS,
}  # fmt: skip
# The folder of Debian's package dataset-fashion-mnist.
_SYSTEM = "/usr/share/datasets"


def load(
    name: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    label: str = "label",
    part: tuple[int, int] = (0, 1),
) -> Splits:
    """Return a named data set, or one from a file or folder, as training and test data.

    Without test data, a fifth of the rows is split off: about a fifth of each class, always the same rows.

    Parameters
    ----------
    name : str or path-like
        - ``"digits"``: the 1,797 images of `load_digits`, 360 of them for testing;
        - ``"fashion-mnist"`` [1]_, ``"kmnist"`` [2]_ or ``"mnist"`` [3]_: 60,000 and 10,000 images of uint8;
        - a folder with four files in the format of MNIST, plain or compressed by gzip:
          ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
          ``t10k-labels-idx1-ubyte``;
        - a ``.npz`` file with arrays ``X`` and ``y``, or ``x_train``, ``y_train``, ``x_test`` and ``y_test``;
        - a ``.csv`` or ``.csv.gz`` file with a header, a column of labels (numbers or strings), and numbers
          in the other columns. If there are at least 100 of these, a square number, with whole numbers from
          0 to 255 and some above 1, the rows are images of uint8.

        A name takes precedence over a path: write ``"./mnist"`` for a folder ``mnist``. Files are not
        trusted: sizes are checked before memory is allocated, and a compressed file may expand to 64 MB, or
        to 100 times its size if that is more.
    data_dir : path-like, optional
        The first place to look for a named set: its subfolder of that name, then the folder itself. Next come
        the folder in the environment variable ``FASTSM_DATA_DIR``, ``/usr/share/datasets`` and the cache of
        pooch.
    download : bool, default True
        Whether to download a named set that is not found, with pooch (``pip install fastsm[data]``) into its
        cache, checked by SHA-256.
    label : str, default "label"
        The column of a CSV file with the labels; by default the last one if none is called ``"label"``.
    part : tuple of two int, default (0, 1)
        Return only part number ``part[0]``, counted from 0, of ``part[1]`` nearly equal parts of the training
        rows, for one of several processes. Files in the format of MNIST are read only in part, others as a
        whole first.

    Returns
    -------
    Splits
        With `train` and `test`, each a `Dataset`.

    Raises
    ------
    DataError
        If there is no such data set, or it cannot be used: the message says what to do.

    References
    ----------
    .. [1] H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
       Learning Algorithms", 2017, https://arxiv.org/abs/1708.07747.
    .. [2] T. Clanuwat et al., "Deep Learning for Classical Japanese Literature", 2018,
       https://arxiv.org/abs/1812.01718.
    .. [3] Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", 1998.

    Examples
    --------
    >>> from fastsm import data
    >>> digits = data.load("digits")
    >>> digits.train
    Dataset(1437 x 64 float32, 10 classes, images of 8 x 8)
    >>> digits.test.y[:5].tolist(), digits.test.classes[:3]
    ([2, 3, 1, 3, 5], ('0', '1', '2'))
    """
    text, download = os.fspath(name), _arguments.flag("download", download)
    wanted = "(number, count) with a number in [0, count)"
    if not isinstance(part, (tuple, list)) or None in map(_arguments.integer, part):
        raise TypeError(f"`part` must be two integers, {wanted}, got {_arguments.shown(part)}")
    if len(part) != 2 or not 0 <= part[0] < part[1]:
        raise ValueError(f"`part` must be {wanted}, got {_arguments.shown(part)}")
    if text == "digits":
        images, labels = load_digits()
        train, test = split(Dataset(images, labels, _DIGITS, (8, 8)))
        return Splits(text, _part(train, part), test, "bundled with fastsm")
    if text in _CLASSES:
        folder = _find(text, data_dir, download)
        return Splits(text, *read_folder(folder, _CLASSES[text], part), folder)
    if os.path.isdir(text):
        return Splits(os.path.basename(os.path.realpath(text)), *read_folder(text, None, part), text)
    if not os.path.exists(text):
        raise DataError(
            f"{text!r} is neither a data set nor a path: give digits, {', '.join(_CLASSES)}, or a file or"
            " folder"
        )
    if text.lower().endswith(".npz"):
        parts = make_datasets(repr(text), *read_npz(text))
    elif text.lower().endswith((".csv", ".csv.gz")):
        parts = make_datasets(repr(text), read_csv(text, label))
    else:
        raise DataError(f"{text!r} must be a folder or end in .npz, .csv or .csv.gz")
    train, test = parts if len(parts) == 2 else split(parts[0])
    if not len(test):
        raise DataError(f"{text!r} must have a class with at least two rows, one of them for testing")
    return Splits(stem(text), _part(train, part), test, text)


def _part(whole: Dataset, part: tuple[int, int]) -> Dataset:
    """Return a copy of the rows of `part`, so that the others can be freed."""
    if part == (0, 1):
        return whole
    own = rows_of_part(len(whole), part)
    return Dataset(whole.X[own].copy(), whole.y[own], whole.classes, whole.shape)


def _find(name: str, data_dir: str | os.PathLike[str] | None, allowed: bool) -> str:
    """Return the folder with the four files of a named set."""
    for path in [os.fspath(folder) for folder in (data_dir, os.environ.get("FASTSM_DATA_DIR")) if folder]:
        if not os.path.isdir(path):
            raise DataError(f"`data_dir` or FASTSM_DATA_DIR must be a folder with data sets, got {path!r}")
        for place in (os.path.join(path, name), path):
            if files_in(place):
                return place
    system = os.path.join(_SYSTEM, name)
    if files_in(system):
        return system
    pooch = pooch_or_none()
    if pooch is not None:
        cache = cached(pooch, name)
        if cache is None and allowed:
            cache = fetch(pooch, name)
        if cache is not None:
            return cache
    advice = "allow the download" if pooch else "`pip install fastsm[data]` to download it"
    raise DataError(
        f"{name} is not on this computer: {advice}, or put {', '.join(FILES)} (plain or .gz) into a folder"
        " and pass it as `data_dir` or in FASTSM_DATA_DIR"
    )
