"""Load data sets by name or path."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from fastsm import _arguments
from fastsm.data._archives import read_npz
from fastsm.data._dataset import DataError, Dataset, Splits, make_datasets, renumbered, rows_of_part, split
from fastsm.data._digits import load_digits
from fastsm.data._download import cached, fetch, pooch_or_none
from fastsm.data._folder import FILES, files_in, read_class_folders, read_folder
from fastsm.data._images import Pictures
from fastsm.data._table import Table
from fastsm.data._table_files import TABLES, stem
from fastsm.data._tables import read_parts, read_rows

__all__ = ["load", "load_whole"]

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
    label: str | None = None,
    regression: bool = False,
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    val: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
    table: Table | None = None,
    size: int | None = None,
    pictures: Pictures | None = None,
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
          EMNIST's ``emnist-letters-train-images-idx3-ubyte`` and its like are turned upright; where a folder
          has several sets, give it with the begin of their names, ``"gzip/emnist-letters"``;
        - a folder with a folder of pictures for each class, or with folders ``train``, ``test`` and ``val``
          of such (needs Pillow: ``pip install fastsm[images]``). They become uint8 of one size, grey or in
          colours (see `size` and `Pictures`);
        - a ``.npz`` file with arrays ``X`` and ``y``, or ``x_train``, ``y_train``, ``x_test`` and ``y_test``,
          or MedMNIST's ``train_images``, ``train_labels``, ``val_images`` and so on;
        - a table with a column of labels, read by pandas (``pip install fastsm[train]``): ``.csv``, ``.tsv``,
          ``.txt`` or ``.data``, plain or compressed (``.gz``, ``.bz2``, ``.xz``, ``.zip``), or ``.parquet``
          (with pyarrow). Commas, semicolons, tabs or bars separate its columns. They become the inputs of a
          model as `Table` says.

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
    label : str, optional
        The column of a table with the labels, in any capitals; by default one that is called label, target,
        class, y, species or the like, or the last one.
    regression : bool, default False
        Whether the labels of a table are numbers to learn, not classes.
    drop, keep : sequence of str
        Columns of a table to leave out, and columns to keep that would be left out (see `Table.fit`).
    val, test : path-like, optional
        Files or folders with validation data and with test data, in the format of `name`. With `test`, no
        rows are split off.
    table : Table, optional
        How columns become inputs, as with a model: by default it is made from the training rows.
    size : int, optional
        The height and width that pictures in folders get; by default their own if it is the same for all and
        at most 64 x 64, else 28.
    pictures : Pictures, optional
        What pictures in folders become, as with a model: by default it is found from them.
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
    is_pictures = os.path.isdir(text) and text not in ("digits", *_CLASSES) and not files_in(text)
    if (val is not None or test is not None) and not (is_pictures or os.path.isfile(text)):
        raise DataError(f"`val` and `test` need a file with data or a folder of pictures, got {text!r}")
    is_table = os.path.isfile(text) and text.lower().endswith(TABLES)
    of_tables = {"label": label is not None, "regression": regression, "drop": drop, "keep": keep}
    needed = next((option for option, given in of_tables.items() if given), None)
    if needed and not is_table and (text in ("digits", *_CLASSES) or os.path.exists(text)):
        raise DataError(f"`{needed}` needs a table, got {text!r}")
    if size is not None and not is_pictures:
        raise DataError(f"`size` needs a folder of pictures, got {text!r}")
    if text == "digits":
        images, labels = load_digits()
        parts = list(split(Dataset(images, labels, _DIGITS, (8, 8))))
        return Splits(text, _part(parts[0], part), parts[1], "bundled with fastsm")
    if text in _CLASSES:
        folder = _find(text, data_dir, download)
        return Splits(text, *read_folder(folder, _CLASSES[text], part), folder)
    if not is_pictures and not os.path.isfile(text) and files_in(text):
        return Splits(os.path.basename(os.path.realpath(text)), *read_folder(text, None, part), text)
    if not os.path.exists(text):
        raise DataError(
            f"{text!r} is neither a data set nor a path: give digits, {', '.join(_CLASSES)}, or a file or"
            " folder"
        )
    notes: list[str] = []
    if is_pictures:
        parts = _picture_parts(read_class_folders(text, pictures, size, notes), divided=test is None)
    elif is_table:
        table, parts = read_parts(text, table, label, regression, drop, keep, divided=test is None)
    elif text.lower().endswith(".npz"):
        table, parts = None, list(make_datasets(repr(text), *read_npz(text)))
        if len(parts) == 1 and test is None:
            parts = list(split(parts[0]))
    else:
        raise DataError(f"{text!r} must be a folder, or end in .npz, .csv, .parquet or the like")
    own = [None if file is None else _like(os.fspath(file), parts[0], table, notes) for file in (val, test)]
    tested = own[1] or parts[-1]
    if not len(tested):
        raise DataError(f"{text!r} must have a class with at least two rows, one of them for testing")
    checked = own[0] or (parts[1] if len(parts) == 3 else None)
    return Splits(stem(text), _part(parts[0], part), tested, text, checked, table, tuple(notes))


def _picture_parts(found: dict[str, Dataset], *, divided: bool) -> list[Dataset]:
    """Return training data, validation data if there are some, and test data."""
    train, val = found.get("train", found.get("all")), found.get("val")
    assert train is not None
    parts = [train, found["test"]] if "test" in found else list(split(train)) if divided else [train]
    return parts if val is None else [parts[0], val, parts[-1]]


def _like(path: str, like: Dataset, table: Table | None, notes: list[str]) -> Dataset:
    """Return the rows of another file, with the columns and the classes of `like`."""
    whole = load_whole(path, table, Pictures.fit(like), notes)
    if whole.X.shape[1] != like.X.shape[1]:
        raise DataError(f"{path!r} must have rows of {like.X.shape[1]} values, got {whole.X.shape[1]}")
    return Dataset(whole.X, renumbered(repr(path), whole, like.classes), like.classes, whole.shape)


def load_whole(path: str, table: Table | None, pictures: Pictures | None, notes: list[str]) -> Dataset:
    """Return all rows of an archive, of a table, or of a folder of pictures, as in the training."""
    if not os.path.exists(path):
        raise DataError(f"{path!r} must be a file with data, and is not there")
    if os.path.isdir(path):
        if pictures is None:
            raise DataError(f"{path!r} is a folder, and the model was not trained on pictures")
        both = list(read_class_folders(path, pictures, None, notes).values())
        X, y = np.concatenate([one.X for one in both]), np.concatenate([one.y for one in both])
        return Dataset(X, y, both[0].classes, both[0].shape)
    if path.lower().endswith(TABLES):
        if table is None:
            raise DataError(f"{path!r} is a table, and the model was not trained on one: give it as .npz")
        return read_rows(path, table)
    X, y = (np.concatenate(arrays) for arrays in zip(*read_npz(path), strict=True))
    return make_datasets(repr(path), (X, y))[0]


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
