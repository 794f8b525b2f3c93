"""Draw charts as SVG inside HTML, and pictures as PNG, without other packages."""

from __future__ import annotations

import base64
import html
import itertools
import math
import struct
import unicodedata
import zlib
from collections.abc import Sequence

import numpy as np

from fastsm._command._output import printable
from fastsm.typing import Array

__all__ = ["bars", "clip", "confusion", "curves", "escape", "gray_or_colour", "png", "points", "reliability"]

_WIDTH, _HEIGHT = 400, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_LETTER = 6.6  # the width of a letter of the font, in pixels
_MOST_PIXELS = 128  # the sides of a picture
_HUGE = 1e150  # the square of a larger number may be infinite


def escape(words: object) -> str:
    """Return text from outside for HTML: one line, with marks and control characters escaped."""
    return html.escape(printable(str(words)))


def clip(words: str, most: int) -> str:
    """Return the beginning of a text; wide characters count twice."""
    words, room = printable(words), most
    for i, letter in enumerate(words):
        room -= 1 + (unicodedata.east_asian_width(letter) in "WF")
        if room < 0:
            return f"{words[: max(i - 1, 1)]}…"
    return words


def _width(words: str) -> float:
    """Return about how many pixels a text takes."""
    return _LETTER * sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in words)


def _ticks(low: float, high: float, count: int = 6, *, whole: bool = False) -> list[float]:
    """Return round numbers in an interval: multiples of 1, 2 or 5 times a power of ten."""
    step = 10.0 ** math.floor(math.log10((high - low) / count))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step * count >= high - low)
    step = max(step, 1.0) if whole else step
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _interval(values: Array, margin: float = 0.05) -> tuple[float, float]:
    """Return the interval of an axis for the values."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    around = (high - low) * margin or abs(high) * margin or 1.0
    return low - around, high + around


class _Plot:
    """Two axes, and what is drawn between them."""

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], names: tuple[str, str], *, whole: bool = False
    ) -> None:
        self._x, self._y = x, y
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        self.parts = []
        for value in _ticks(*y):
            at = self.y(value)
            self.parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{right}"/>')
            self.parts.append(
                f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{round(value, 12):g}</text>'
            )
        for value in _ticks(*x, whole=whole):
            at = self.x(value)
            self.parts.append(f'<path class="axis" d="M{at:.1f} {bottom}v4"/>')
            self.parts.append(
                f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{round(value, 12):g}</text>'
            )
        self.parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
        middle, half = (_LEFT + right) / 2, (_TOP + bottom) / 2
        self.parts.append(
            f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{names[0]}</text>'
            f'<text transform="translate(11 {half}) rotate(-90)" text-anchor="middle">{names[1]}</text>'
        )

    def x(self, value: float) -> float:
        """Return the place of a number on the horizontal axis."""
        low, high = self._x
        return _LEFT + (_WIDTH - _RIGHT - _LEFT) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Return the place of a number on the vertical axis."""
        low, high = self._y
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * (value - low) / (high - low)

    def line(self, kind: str, *ends: tuple[float, float]) -> None:
        """Draw a line through points."""
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in ends)
        self.parts.append(f'<path class="{kind}" d="M{path}"/>')

    def dot(self, kind: str, x: float, y: float, radius: float, title: str = "") -> None:
        """Draw a point, with a title that is shown under the mouse."""
        title = f"<title>{title}</title>" if title else ""
        self.parts.append(
            f'<circle class="{kind}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius:.1f}">'
            f"{title}</circle>"
        )

    def svg(self, title: str) -> str:
        """Return the picture."""
        return _svg(_WIDTH, _HEIGHT, title, self.parts)


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    kind = "chart" if width == _WIDTH else ""
    return f'<svg class="{kind}" {size} role="img" aria-label="{title}">{"".join(parts)}</svg>'


def curves(name: str, columns: Sequence[tuple[str, Sequence[float]]], best: int | None) -> str:
    """Return a chart of a quantity over the epochs, for training and validation; `best` is an epoch."""
    known = np.array([v for _, values in columns for v in values if abs(v) < _HUGE])
    epochs = max(len(values) for _, values in columns)
    plot = _Plot((1, max(epochs, 2)), _interval(known), ("epoch", name), whole=True)
    if best is not None:
        low, high = _interval(known)
        plot.line("mark", (best, low), (best, high))
    for kind, values in columns:
        shown = np.unique(np.linspace(0, epochs - 1, min(epochs, 400)).round().astype(int)).tolist()
        runs: list[list[tuple[float, float]]] = [[]]
        for i in shown:
            if i < len(values) and abs(values[i]) < _HUGE:
                runs[-1].append((i + 1, values[i]))
            elif runs[-1]:
                runs.append([])
        for run in filter(None, runs):
            plot.line(f"line {kind}", *run)
        if epochs <= 10:
            for x, y in itertools.chain(*runs):
                plot.dot(f"fill {kind}", x, y, 2.5)
        if best is not None and best <= len(values) and abs(values[best - 1]) < _HUGE:
            value = values[best - 1]
            plot.dot(f"fill {kind} ring", best, value, 4.5, f"epoch {best}: {value:.4g}")
    return plot.svg(f"{name} of each epoch")


def reliability(bins: Sequence[tuple[float, float, int, tuple[float, float]]]) -> str:
    """Return a chart of (confidence, accuracy, rows, interval of the accuracy) beside the diagonal."""
    plot = _Plot((0, 1), (0, 1), ("confidence", "accuracy"))
    plot.line("mark", (0, 0), (1, 1))
    most = max((rows for _, _, rows, _ in bins), default=1)
    for confidence, _, _, (low, high) in bins:
        plot.line("whisker", (confidence, low), (confidence, high))
    for confidence, accuracy, rows, _ in bins:
        words = f"{rows:,} rows: confidence {confidence:.3f}, accuracy {accuracy:.3f}"
        plot.dot("fill train", confidence, accuracy, 3 + 7 * math.sqrt(rows / most), words)
    return plot.svg("Reliability: accuracy at each confidence")


def points(x: Array, y: Array, names: tuple[str, str], *, diagonal: bool) -> str:
    """Return a chart of points, with the line of no error."""
    known = (np.abs(x) < _HUGE) & (np.abs(y) < _HUGE)
    x, y = x[known], y[known]
    across = _interval(np.concatenate([x, y]) if diagonal else x)
    plot = _Plot(across, across if diagonal else _interval(np.append(y, 0.0)), names)
    plot.line(
        "mark", (across[0], across[0] if diagonal else 0.0), (across[1], across[1] if diagonal else 0.0)
    )
    for i, j in zip(x.tolist(), y.tolist(), strict=True):
        plot.dot("fill train faint", i, j, 2.5)
    return plot.svg(f"{names[1]} against {names[0]}")


def bars(rows: Sequence[tuple[str, float, float]]) -> str:
    """Return a chart of a horizontal bar for each (name, value, spread)."""
    names = [clip(name, 20) for name, _, _ in rows]
    left, line, right = 1.25 * max(map(_width, names)) + 12, 24, 64  # fonts differ in width
    low = min(0.0, *(value - spread for _, value, spread in rows))
    high = max(1e-9, *(value + spread for _, value, spread in rows))
    room = max(_WIDTH - left - right, 120) / (high - low)
    zero, parts = left - low * room, []
    for i, (name, (full, value, spread)) in enumerate(zip(names, rows, strict=True)):
        y, end = i * line + 4, zero + value * room
        title = f"<title>{escape(full)}: {value:.4g} ± {spread:.2g}</title>"
        parts.append(
            f'<text x="{left - 8:.0f}" y="{y + 13}" text-anchor="end">{escape(name)}{title}</text>'
            f'<rect class="fill train" x="{min(zero, end):.1f}" y="{y}" width="{abs(end - zero):.1f}"'
            f' height="17" rx="2">{title}</rect>'
            f'<path class="whisker" d="M{end - spread * room:.1f} {y + 8.5}H{end + spread * room:.1f}"/>'
            f'<text x="{max(end + spread * room, zero) + 6:.1f}" y="{y + 13}">{value:.3g}</text>'
        )
    height = len(rows) * line + 4
    parts.append(f'<path class="axis" d="M{zero:.1f} 0V{height}"/>')
    return _svg(left + room * (high - low) + right, height, "The cost of shuffling each column", parts)


def confusion(counts: Array, classes: Sequence[str]) -> str:
    """Return a heat map of a confusion matrix: right answers in one colour, mistakes in the other."""
    size, digits = len(classes), len(str(counts.max()))
    cell = max(28, 8 * digits + 4, min(300 // size, 60)) if size <= 20 else max(440 // size, 5)
    names = [clip(name, 12) for name in classes] if size <= 30 else [""] * size
    longest = max(map(_width, names))
    turned = longest > cell - 4
    left, top = longest + 30, (longest * 0.71 + 12 if turned else 14) + 22
    right = longest * 0.71 + 8 if turned else 8
    parts = [
        f'<text x="{left + size * cell / 2:.0f}" y="12" text-anchor="middle">answer</text>'
        f'<text transform="translate(12 {top + size * cell / 2:.0f}) rotate(-90)" text-anchor="middle">'
        "truth</text>"
    ]
    for i, name in enumerate(names if size <= 30 else ()):
        at = (i + 0.5) * cell
        title = f"{escape(name)}<title>{escape(classes[i][:200])}</title>"
        parts.append(f'<text x="{left - 6:.0f}" y="{top + at + 4:.1f}" text-anchor="end">{title}</text>')
        place = f"translate({left + at:.1f} {top - 6:.1f})" + (" rotate(-45)" if turned else "")
        anchor = "start" if turned else "middle"
        parts.append(f'<text transform="{place}" text-anchor="{anchor}">{title}</text>')
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for i, j in np.argwhere(counts).tolist():
        count, share = counts[i, j], float(shares[i, j])
        x, y, shade = left + j * cell, top + i * cell, 0.1 + 0.9 * share
        kind = "train" if i == j else "val"
        words = f"{clip(classes[i], 40)} taken for {clip(classes[j], 40)}" if i != j else clip(classes[i], 40)
        parts.append(
            f'<rect class="fill {kind}" x="{x:.1f}" y="{y:.1f}" width="{cell}" height="{cell}"'
            f' fill-opacity="{shade:.2f}"><title>{escape(words)}: {count:,} ({share:.1%})</title></rect>'
        )
        if size <= 20:
            parts.append(
                f'<text class="{"on" if shade > 0.55 else "count"}" x="{x + cell / 2:.1f}"'
                f' y="{y + cell / 2 + 4:.1f}" text-anchor="middle">{count}</text>'
            )
    parts.append(
        f'<rect class="frame" x="{left:.1f}" y="{top:.1f}" width="{size * cell}" height="{size * cell}"/>'
    )
    return _svg(left + size * cell + right, top + size * cell + 4, "Confusion matrix", parts)


def gray_or_colour(x: Array, shape: tuple[int, ...]) -> Array | None:
    """Return images as bytes, shape (N, height, width) or (N, height, width, 3); None if they are neither.

    Numbers that are no bytes are stretched to the range of all images.
    """
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) != 2 and shape[2:] != (3,):
        return None
    images = x.reshape(len(x), *shape)
    if images.dtype != np.uint8 and images.size:
        low, high = float(images.min()), float(images.max())
        images = ((images - low) * (255 / ((high - low) or 1))).round().astype(np.uint8)
    return np.asarray(images)


def png(image: Array) -> str:
    """Return bytes, shape (height, width) or (height, width, 3), as PNG in a data URI; large ones shrink."""
    step = -(-max(image.shape[:2]) // _MOST_PIXELS)
    image = np.ascontiguousarray(image[::step, ::step])
    height, width = image.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if image.ndim == 2 else 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")):
        body = kind + content
        data += struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
