"""The two kinds of chart: bars from zero, and ratios on an axis of powers; both in panels side by side."""

import math
from collections.abc import Callable, Mapping, Sequence

from fastsm._bench import LIMITS, reading
from fastsm._bench.svg import Picture

__all__ = ["bars", "ratios"]

# A panel's bars: the candidates' figures, in one unit.
Figures = Mapping[str, float]
# What a legend says of a colour: the mark, then words.
Legend = Sequence[tuple[str, str, str]]

# Lengths in pixels.
_WIDTH = 920
_MARGIN = 20
_HEAD = 88
_FOOT = 12
_GAP = 28  # between panels
_LINE = 18  # from one candidate to the next
_NAMES = 92  # the room for candidates' names, left of each panel's figures
_FACTORS = 92  # and for what stands right of bars
_MEANS = 40  # and of ratios
_LETTER = 5.5  # about, of small text
_TICKS_APART = 22  # at least, for their numbers not to touch
_COLUMNS = 3
_PANEL_WIDTH = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) / _COLUMNS
# Bars end at so many times fastsm's, lest the slowest peer hide what there is between the others.
_LONGEST = 6.0
_DECADES = (0.01, 0.1, 1, 10, 100, 1000)
_TICKS = tuple(factor * decade for decade in _DECADES for factor in (1, 2, 5))
# How far the axis of ratios goes beyond the extremes.
_ROOM = 1.15


def bars(title: str, subtitle: str, panels: Mapping[str, Figures]) -> str:
    """Draw each panel's figures as bars, the least on top, on a scale of the panel's own."""
    colours = {_colour(name, figures) for figures in panels.values() for name in figures}
    limits = [name for name in LIMITS if any(name in figures for figures in panels.values())]
    legend = (
        ("ours", "■", "fastsm"),
        ("peer", "■", "another library; at the right its figure over fastsm's"),
        ("wins", "■", "◄ less than fastsm's"),
        ("quiet", "□", f"{' / '.join(limits)}: the limit"),
    )
    lines = [len(figures) for figures in panels.values()]

    def draw(picture: Picture, panel: str, x: float, y: float) -> None:
        _draw_bars(picture, panels[panel], x, y)

    return _panels(title, subtitle, [entry for entry in legend if entry[0] in colours], panels, lines, draw)


def ratios(title: str, subtitle: str, panels: Mapping[str, Sequence[reading.Comparison]]) -> str:
    """Draw each comparison's ratios and their geometric mean; all panels have the same axis."""
    values = [ratio for found in panels.values() for comparison in found for ratio in comparison.ratios]
    limits = min(*values, 1.0) / _ROOM, max(*values, 2.0) * _ROOM
    legend = [("ours", "◆", "geometric mean"), ("peer", "●", "one shape of the array")]
    if min(values) < 1:
        legend.append(("wins", "●", "one where the other library is faster"))
    lines = [len(found) + 1 for found in panels.values()]

    def draw(picture: Picture, panel: str, x: float, y: float) -> None:
        _draw_ratios(picture, panels[panel], x, y, *limits)

    return _panels(title, subtitle, legend, panels, lines, draw)


def _panels(
    title: str,
    subtitle: str,
    legend: Legend,
    names: Mapping[str, object],
    lines: Sequence[int],
    draw: Callable[[Picture, str, float, float], None],
) -> str:
    """Lay out panels of so many lines in rows of three, below the title and the legend."""
    heights = [_LINE * (max(lines[i : i + _COLUMNS]) + 1) for i in range(0, len(lines), _COLUMNS)]
    picture = Picture(_WIDTH, _HEAD + sum(heights) + _GAP * (len(heights) - 1) + _FOOT, title)
    picture.text(_MARGIN, 28, title, style="bold large")
    picture.text(_MARGIN, 47, subtitle, "quiet", style="small")
    x = float(_MARGIN)
    for colour, mark, words in legend:
        picture.text(x, 67, mark, colour, style="small")
        picture.text(x + 14, 67, words, "quiet", style="small")
        x += 14 + _LETTER * len(words) + 24
    for number, name in enumerate(names):
        row, column = divmod(number, _COLUMNS)
        x = _MARGIN + column * (_PANEL_WIDTH + _GAP)
        y = float(_HEAD + sum(heights[:row]) + row * _GAP)
        picture.text(x, y + 12, name, style="bold")
        draw(picture, name, x, y + _LINE)
    return str(picture)


def _draw_bars(picture: Picture, figures: Figures, x: float, y: float) -> None:
    ours = figures.get(reading.OURS)
    end = min(max(figures.values(), default=0.0), _LONGEST * ours if ours else math.inf) or 1.0
    start, length = x + _NAMES, _PANEL_WIDTH - _NAMES - _FACTORS
    for name in sorted(figures, key=lambda name: figures[name]):
        value, colour = figures[name], _colour(name, figures)
        shade = "text" if colour in ("ours", "wins") else "quiet"
        reach = length * min(value / end, 1.0)
        picture.text(start - 6, y + 13, name, anchor="end", style="bold" if colour == "ours" else "")
        if colour == "quiet":
            picture.frame(start, y + 3.5, reach, _LINE - 7, colour)
        else:
            picture.bar(start, y + 3, reach, _LINE - 6, colour)
        if value > end:  # two cuts: the bar is longer than drawn
            for cut in (start + reach - 14, start + reach - 10):
                picture.line(cut, y + _LINE - 2, cut + 5, y + 2, "page", 2)
        picture.text(start + reach + 5, y + 13, reading.short(value), shade)
        if ours and colour in ("peer", "wins"):
            # Colour alone is not to say who wins.
            factor = ("◄ " if colour == "wins" else "") + reading.factor(value / ours)
            picture.text(x + _PANEL_WIDTH, y + 13, factor, shade, anchor="end")
        y += _LINE


def _colour(name: str, figures: Figures) -> str:
    if name == reading.OURS:
        return "ours"
    if name in LIMITS:
        return "quiet"
    return "wins" if figures[name] < figures.get(reading.OURS, 0.0) else "peer"


def _draw_ratios(
    picture: Picture, found: Sequence[reading.Comparison], x: float, y: float, low: float, high: float
) -> None:
    start, length = x + _NAMES, _PANEL_WIDTH - _NAMES - _MEANS

    def at(ratio: float) -> float:
        return start + length * math.log(ratio / low) / math.log(high / low)

    bottom = y + _LINE * len(found)
    ticks = _TICKS if at(2) - at(1) >= _TICKS_APART else _DECADES
    for tick in (tick for tick in ticks if low <= tick <= high):
        picture.line(at(tick), y + 2, at(tick), bottom + 2, "one" if tick == 1 else "grid")
        picture.text(at(tick), bottom + 15, f"{tick:g}", "quiet", anchor="middle", style="small")
    for comparison in found:
        middle = y + _LINE / 2 + 2
        picture.text(start - 6, middle + 4, comparison.peer, anchor="end")
        for ratio in comparison.ratios:
            colour, opacity = ("wins", 0.9) if ratio < 1 else ("peer", 0.6)
            picture.dot(at(ratio), middle, 3, colour, opacity)
        picture.diamond(at(comparison.mean), middle, 5.5, "wins" if comparison.mean < 1 else "ours")
        mean = reading.factor(comparison.mean)
        picture.text(x + _PANEL_WIDTH, middle + 4, mean, anchor="end", style="bold")
        y += _LINE
