"""Read pictures, and bring them into the form of the pictures that a model was trained on."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsm.data._dataset import DataError, Dataset
from fastsm.data._limits import regular_size
from fastsm.typing import Array

__all__ = ["PICTURES", "Pictures", "sides"]

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
# Pillow recognizes some fifty formats by content, whatever the name. One is PostScript, for which it would
# start an interpreter: only these formats are allowed.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_MOST_PIXELS = 1 << 26
_ORIENTATION = 0x0112  # the tag of EXIF
_SAMPLE, _LONGEST = 1000, 1024  # pictures that are measured; the longer side where ink is looked for

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """The form of the pictures that a model was trained on, and how others are brought into it.

    Files of models keep it: set ``model.pictures = data.Pictures.fit(splits.train)`` before you save a model
    (``fastsm train`` does). It holds what is measured on grey pictures: MNIST has light ink on dark paper,
    scaled to 20 x 20 pixels and put in the middle by its centre of mass [1]_; Fashion-MNIST fills 28 pixels.

    Attributes
    ----------
    shape : tuple of int
        Height and width, and 3 for colours.
    white : float or None
        The value of white; None for bytes.
    paper : "dark", "light" or None
        The background, if nearly all pictures have a plain one.
    box : int or None
        The longer side of the ink in pixels, if it is the same in nearly all pictures.
    middle : tuple of two float
        The row and the column where the middle of the ink is, if there is a `box`.
    by_mass : bool
        Whether the middle of the ink is its centre of mass, not that of its box.

    References
    ----------
    .. [1] Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", 1998.

    Examples
    --------
    >>> from fastsm import data
    >>> data.Pictures.fit(data.load("digits").train)
    Pictures(shape=(8, 8), white=1.0, paper='dark', box=8, middle=(3.5, 3.62), by_mass=False)
    """

    shape: tuple[int, ...]
    white: float | None = None
    paper: str | None = None
    box: int | None = None
    middle: tuple[float, float] = (0.0, 0.0)
    by_mass: bool = False

    @classmethod
    def fit(cls, train: Dataset) -> Pictures | None:
        """Return the form of training data, None if their rows are not pictures."""
        shape, X, white = train.shape, train.X, None
        if shape is None or len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,)) or not len(X):
            return None
        if X.dtype != np.uint8:
            low, top = float(X.min()), float(X.max())
            if low < 0 or top <= 0:
                return None
            white = next((value for value in (1.0, 255.0) if 0.9 * value < top <= value), top)
        if shape[2:] == (3,):
            return cls(shape, white)
        shape = shape[:2]
        sample = X[:: -(-len(X) // _SAMPLE)].reshape(-1, *shape)
        pixels = sample if white is None else (sample * (255 / white)).round().astype(np.uint8)
        border = np.median([_border(one) for one in pixels], axis=1)
        dark, light = (border < 26).mean() > 0.95, (border > 229).mean() > 0.95
        if not dark and not light:
            return cls(shape, white)
        form = cls(shape, white, "dark" if dark else "light")
        inks = [ink for one in pixels if (ink := _find_ink(one, bool(dark))) is not None]
        sides = np.array([max(ink.pixels.shape) for ink in inks])
        box = round(float(np.median(sides))) if inks else 0
        if (abs(sides - box) <= _tolerance(box)).sum() < 0.9 * len(pixels):
            return form
        # The middle that varies less is that by which the pictures were centred.
        middles = np.array([[ink.middle(by_mass) for ink in inks] for by_mass in (False, True)])
        by_mass = int(middles.var(axis=1).sum(axis=1).argmin())
        y, x = middles[by_mass].mean(axis=0).round(2).tolist()
        return dataclasses.replace(form, box=box, middle=(y, x), by_mass=bool(by_mass))

    @property
    def features(self) -> int:
        """The number of inputs."""
        return math.prod(self.shape)

    def words(self) -> str:
        """Return a description in one line."""
        words = f"{self.shape[0]} x {self.shape[1]}, {'grey' if len(self.shape) == 2 else 'colours'}"
        if self.paper is not None:
            words += f", {'light ink on dark' if self.paper == 'dark' else 'dark ink on light'}"
        if self.box is not None:
            words += f", scaled to {self.box} pixels and centred by {self._centre}"
        return words

    @property
    def _centre(self) -> str:
        return "its centre of mass" if self.by_mass else "its box"

    def plain(self) -> Pictures:
        """Return the form without what is changed in pictures but their size."""
        return Pictures(self.shape, self.white)

    def read(
        self, path: str | os.PathLike[str], *, invert: bool = False, notes: list[str] | None = None
    ) -> Array:
        """Return a picture in a file as a row of a model.

        Its EXIF orientation is applied, what is transparent becomes white, and 16 bits become 8. If the
        training pictures have a plain background, black and white are exchanged in a picture whose background
        is of the other kind, and the ink is cropped, scaled and centred as in them. Then it gets their size.

        Parameters
        ----------
        path : path-like
            The file: PNG, JPEG, BMP, GIF, TIFF, WebP, PGM or PPM. It needs Pillow.
        invert : bool, default False
            Exchange black and white, whatever the background is.
        notes : list of str, optional
            What was done is added to it.

        Returns
        -------
        ndarray of uint8 or float32, shape (features,)
            Bytes, or numbers from 0 to `white`.

        Raises
        ------
        DataError
            If the file is not a picture, is damaged or too large, or Pillow is missing.
        """
        notes = [] if notes is None else notes
        image = _open_picture(path, len(self.shape) == 3, notes)
        if invert:
            image = _inverted(image)
        pixels = self._fitted(image, invert, notes).reshape(-1)
        return pixels if self.white is None else pixels * np.float32(self.white / 255)

    def _fitted(self, image: Any, invert: bool, notes: list[str]) -> Bytes:
        """Return the pixels of a picture in the form of the training pictures."""
        if self.paper is None:
            return _resized(image, self.shape)
        wanted = self.paper == "dark"  # light ink
        grey = np.asarray(image.reduce(max(-(-max(image.size) // _LONGEST), 1)))
        ink = _find_ink(grey, wanted if invert else None)
        if ink is None:
            if grey.shape != self.shape:
                notes.append("there is no ink on a plain background: only the size is changed")
            return _resized(image, self.shape)
        if ink.light != wanted:
            notes.append(
                f"{'light' if ink.light else 'dark'} ink, unlike the training pictures: black and white are"
                " exchanged"
            )
            image = _inverted(image)
        if self.box is None or (grey.shape == self.shape and self._is_fitting(ink)):
            return _resized(image, self.shape)
        notes.append(f"the ink is cropped, scaled to {self.box} pixels and centred by {self._centre}")
        return self._placed(ink, self.box)

    def _is_fitting(self, ink: _Ink) -> bool:
        """Whether the ink in a picture of the right size lies as in the training pictures."""
        box, middle = self.box or 0, np.array(self.middle)
        off = np.abs(np.array(ink.middle(self.by_mass)) - middle).max()
        return bool(abs(max(ink.pixels.shape) - box) <= _tolerance(box) and off <= 1.5)

    def _placed(self, ink: _Ink, box: int) -> Bytes:
        """Return a picture with the ink scaled to `box` pixels and moved to the middle."""
        scale = min(box / max(ink.pixels.shape), *np.divide(self.shape, ink.pixels.shape))
        sizes = [max(round(n * scale), 1) for n in ink.pixels.shape]
        images = _pillow()
        way = images.Resampling.BOX if scale < 1 else images.Resampling.BILINEAR
        part = images.fromarray(ink.pixels).resize(sizes[::-1], way)
        small = _Ink(np.asarray(part), ink.light)
        middle = np.subtract(self.middle, small.middle(self.by_mass)).round().astype(int)
        top, left = np.clip(middle, 0, np.subtract(self.shape, sizes))
        result = np.zeros(self.shape, np.uint8)
        inside = small.pixels * (255 / max(int(small.pixels.max()), 1))
        result[top : top + sizes[0], left : left + sizes[1]] = inside.round()
        return result if self.paper == "dark" else 255 - result

    def record(self) -> dict[str, object]:
        """Return the form as plain values: it is stored in the file of a model."""
        return {**dataclasses.asdict(self), "shape": list(self.shape), "middle": list(self.middle)}

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Pictures:
        """Return the form in a record, which is not trusted; raise ValueError if it is not one."""
        shape, middle = record.get("shape"), record.get("middle")
        if set(record) != {f.name for f in dataclasses.fields(cls)} or not (
            isinstance(shape, list) and isinstance(middle, list) and len(middle) == 2
        ):
            raise ValueError("its pictures must have a shape, a middle and all else of pictures")
        box, white = ([] if record[name] is None else [record[name]] for name in ("box", "white"))
        form = cls(**{**record, "shape": tuple(shape), "middle": tuple(middle)})  # type: ignore[arg-type]
        if (
            not all(type(n) is int and 0 < n < 1 << 20 for n in [*shape, *box])
            or len(shape) < 2
            or form.shape[2:] not in ((), (3,))
            or (len(shape) == 3 and form.paper)
            or form.paper not in (None, "dark", "light")
            or (form.box is not None and (form.paper is None or form.box > max(shape[:2])))
            or type(form.by_mass) is not bool
            or not all(type(n) is float and 0 <= n < math.inf for n in [*middle, *white])
            or max(form.middle) > max(shape)
            or form.white == 0
        ):
            raise ValueError("its pictures must have a height, a width and other values that make sense")
        return form


@dataclass(frozen=True)
class _Ink:
    """The part of a picture with ink."""

    pixels: Bytes  # 0 is the background, 255 the most ink
    light: bool  # whether the ink is lighter than the background
    top: int = 0
    left: int = 0

    def middle(self, by_mass: bool) -> tuple[float, float]:
        """Return the row and the column of the centre of mass, or of the box."""
        height, width = self.pixels.shape
        y, x = (height - 1) / 2, (width - 1) / 2
        if by_mass:
            mass = max(float(self.pixels.sum()), 1.0)
            y = float(self.pixels.sum(axis=1) @ np.arange(height)) / mass
            x = float(self.pixels.sum(axis=0) @ np.arange(width)) / mass
        return self.top + y, self.left + x


def _find_ink(grey: Bytes, light: bool | None) -> _Ink | None:
    """Return the ink, which is `light` or dark if that is known; None without a plain background."""
    border = _border(grey).astype(np.float32)
    paper = float(np.median(border))
    lighter, darker = float(grey.max()) - paper, paper - float(grey.min())
    away = np.abs(border - paper)
    is_plain = light is not None or (away <= max(lighter, darker) / 4).mean() >= 0.75
    light = lighter > darker if light is None else light
    contrast = lighter if light else darker
    if contrast < 32 or not is_plain:
        return None
    levels = (grey - np.float32(paper)) * (1 if light else -1)
    levels[levels <= 3 * min(float(np.quantile(away, 0.75)), contrast / 8)] = 0
    pixels = (levels * (255 / contrast)).clip(0, 255).round().astype(np.uint8)
    rows, columns = (np.flatnonzero((pixels > 51).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    part = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _Ink(part, light, int(rows[0]), int(columns[0]))


def _border(grey: Bytes) -> Bytes:
    return np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])


def _tolerance(box: int) -> int:
    return max(box // 10, 1)


def _open_picture(path: str | os.PathLike[str], colour: bool, notes: list[str]) -> Any:
    """Return a picture as an image of Pillow, upright, in grey or colours."""
    images = _pillow(path)
    with _opened(path) as opened:
        image = importlib.import_module("PIL.ImageOps").exif_transpose(opened)
        if opened.getexif().get(_ORIENTATION, 1) != 1:
            notes.append("turned as its EXIF orientation says")
        if image.mode[0] in "IF":
            image = _from_16_bits(np.asarray(image), images)
            notes.append("16 bits a pixel are scaled to 8")
        if image.has_transparency_data:
            alpha = image.convert("RGBA")
            if alpha.getextrema()[3][0] < 255:
                notes.append("what is transparent becomes white")
                image = images.alpha_composite(images.new("RGBA", alpha.size, "white"), alpha)
        return image.convert("RGB" if colour else "L")


def sides(path: str) -> tuple[int, int]:
    """Return the height and the width of a picture, from the head of its file."""
    with _opened(path) as opened:
        turned = opened.getexif().get(_ORIENTATION, 1) > 4
        return (opened.width, opened.height) if turned else (opened.height, opened.width)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a picture, and raise DataError for all that is wrong with it while it is used."""
    images, name = _pillow(path), os.fspath(path)
    try:
        regular_size(name)
        with warnings.catch_warnings(action="ignore"), images.open(name, formats=_FORMATS) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise ValueError(f"it has {opened.width} x {opened.height} pixels")
            yield opened
    except DataError:
        raise
    except Exception as error:  # Pillow may raise anything for a damaged file, even SyntaxError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name!r} cannot be read as a picture: {reason:.300}") from error


def _resized(image: Any, shape: tuple[int, ...]) -> Bytes:
    """Return the pixels of an image in another size."""
    box = _pillow().Resampling.BOX
    return np.asarray(image.resize((shape[1], shape[0]), box), np.uint8)


def _inverted(image: Any) -> Any:
    return image.point([255 - value for value in range(256)] * len(image.getbands()))


def _from_16_bits(pixels: Array, images: Any) -> Any:
    """Return an image of bytes."""
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("its pixels must have 8 or 16 bits")
    return images.fromarray(((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _pillow(path: str | os.PathLike[str] = "a picture") -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError:
        raise DataError(f"{os.fspath(path)!r} needs Pillow to be read: pip install fastsm[images]") from None
