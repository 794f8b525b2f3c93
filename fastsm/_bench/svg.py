"""Pictures as text: the few shapes that the charts need, in colours for light and for dark pages.

Written by hand and not by a plotting library, for three reasons: `fastsm bench --plot` then needs NumPy only;
the same figures give the same file, letter by letter, which is how one sees that a page is up to date; and a
picture can follow the reader's choice of light or dark.
"""

from html import escape

__all__ = ["Picture"]

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
# Blue and orange from the palette of Okabe and Ito, which the colour-blind can tell apart; all else is grey.
_LIGHT = {
    "page": "#ffffff",
    "edge": "#d0d7de",
    "text": "#1f2328",
    "quiet": "#59636e",
    "grid": "#dde3e9",
    "one": "#6e7781",
    "ours": "#0072b2",
    "peer": "#a9b3bd",
    "wins": "#d55e00",
}
_DARK = {
    "page": "#0d1117",
    "edge": "#30363d",
    "text": "#e6edf3",
    "quiet": "#9198a1",
    "grid": "#262c34",
    "one": "#8b949e",
    "ours": "#56b4e9",
    "peer": "#656e79",
    "wins": "#f08c2e",
}


class Picture:
    """An SVG file in the making; lengths are pixels, y goes down. Colours are names of the palette."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self._shapes: list[str] = []

    def text(
        self, x: float, y: float, text: str, colour: str = "text", *, anchor: str = "start", style: str = ""
    ) -> None:
        """Write a line of text. `style` is empty or some of "bold", "small" and "large"."""
        place = "" if anchor == "start" else f' text-anchor="{anchor}"'
        classes = " ".join(["f-" + colour, *style.split()])
        self._shapes.append(f'<text class="{classes}" x="{x:.5g}" y="{y:.5g}"{place}>{escape(text)}</text>')

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Draw a filled rectangle."""
        self._box(x, y, max(width, 1), height, f'class="f-{colour}"')

    def frame(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Draw a dashed outline."""
        self._box(x, y, max(width, 1), height, f'class="s-{colour}" stroke-dasharray="3 2"')

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> None:
        """Draw a straight line."""
        ends = f'x1="{x1:.5g}" y1="{y1:.5g}" x2="{x2:.5g}" y2="{y2:.5g}"'
        self._shapes.append(f'<line class="s-{colour}" {ends} stroke-width="{width:g}"/>')

    def dot(self, x: float, y: float, radius: float, colour: str, opacity: float = 1.0) -> None:
        """Draw a filled circle, which may let others shine through."""
        place = f'cx="{x:.5g}" cy="{y:.5g}" r="{radius:g}"'
        self._shapes.append(f'<circle class="f-{colour}" {place} opacity="{opacity:g}"/>')

    def diamond(self, x: float, y: float, radius: float, colour: str) -> None:
        """Draw a filled square on its tip."""
        points = " ".join(f"{x + radius * dx:.5g},{y + radius * dy:.5g}" for dx, dy in _TIPS)
        self._shapes.append(f'<polygon class="f-{colour}" points="{points}"/>')

    def __str__(self) -> str:
        """Return the file's content."""
        size = f'width="{self.width:g}" height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}"'
        frame = f'width="{self.width - 1:g}" height="{self.height - 1:g}" rx="6"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(self.title)}">',
            f"<title>{escape(self.title)}</title>",
            f"<style>\n{_style()}</style>",
            f'<rect class="f-page s-edge" x="0.5" y="0.5" {frame}/>',
            *self._shapes,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _box(self, x: float, y: float, width: float, height: float, attributes: str) -> None:
        self._shapes.append(
            f'<rect {attributes} x="{x:.5g}" y="{y:.5g}" width="{width:.5g}" height="{height:g}"/>'
        )


_TIPS = ((0, -1), (1, 0), (0, 1), (-1, 0))


def _style() -> str:
    """Return the style sheet: `f-` fills with a colour, `s-` draws lines in it."""
    dark = "\n".join(_rules(_DARK))
    return (
        f"text {{ font: 12px {_FONT} }}\n"
        ".small { font-size: 11px } .large { font-size: 16px } .bold { font-weight: 600 }\n"
        "[class^=s-] { fill: none }\n" + "\n".join(_rules(_LIGHT)) + "\n"
        f"@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    )


def _rules(palette: dict[str, str]) -> list[str]:
    return [
        f".f-{name} {{ fill: {colour} }} .s-{name} {{ stroke: {colour} }}" for name, colour in palette.items()
    ]
