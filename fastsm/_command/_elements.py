"""The parts of a report in HTML, and its style sheet: light and dark, for all sizes of screens, and paper."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from fastsm._command._svg import escape

__all__ = ["STYLE", "facts", "section", "table"]

STYLE = """
:root {
  --page: #f6f7f9; --card: #fff; --ink: #1c2430; --soft: #5b6675; --rule: #dfe3e8;
  --train: #1769aa; --val: #d1570a; --on: #fff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1b2129; --ink: #e6eaef; --soft: #9aa6b5; --rule: #323b47;
    --train: #5ab0ee; --val: #f0954b; --on: #10151b;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 20px 16px; display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); grid-auto-flow: dense; }
h1, .cards, .full, footer { grid-column: 1 / -1; }
h1 { margin: 0; font-size: 24px; overflow-wrap: anywhere; }
h2 { margin: 0 0 10px; font-size: 17px; }
h3 { margin: 16px 0 6px; font-size: 14px; }
p { margin: 8px 0 0; color: var(--soft); font-size: 13px; }
section, .cards > div { background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 14px 16px; min-width: 0; }
.cards { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 150px), 1fr)); }
.cards > div { padding: 10px 14px; }
.cards span, .cards small { display: block; color: var(--soft); font-size: 13px; }
.cards b { font-size: 26px; line-height: 1.25; }
.charts { display: grid; gap: 8px 24px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.chart { width: 100%; max-width: 480px; }
svg { display: block; max-width: 100%; height: auto; font: 12.5px system-ui, sans-serif; }
.scroll { overflow-x: auto; }
svg text { fill: var(--soft); }
svg .on { fill: var(--on); }
svg .count { fill: var(--ink); }
.train { --colour: var(--train); }
.val { --colour: var(--val); }
.fill { fill: var(--colour); }
.faint { fill-opacity: .45; }
.ring { stroke: var(--card); stroke-width: 1.5; }
.line { fill: none; stroke: var(--colour); stroke-width: 2; stroke-linejoin: round; }
.grid, .axis, .frame { fill: none; stroke: var(--rule); }
.axis { stroke: var(--soft); }
.mark { fill: none; stroke: var(--soft); stroke-dasharray: 4 4; }
.whisker { fill: none; stroke: var(--ink); stroke-opacity: .55; stroke-width: 1.5; }
.keys { display: flex; gap: 18px; margin: 0 0 6px; }
.key::before { content: ""; display: inline-block; width: 18px; height: 3px; margin: 0 6px 4px 0;
  background: var(--colour); }
table { border-collapse: collapse; font-size: 13px; width: 100%; }
th, td { text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
td:last-child:not(.n) { white-space: normal; min-width: 180px; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
td i { color: var(--soft); }
.mistakes { display: grid; gap: 14px 10px; grid-template-columns: repeat(auto-fill, minmax(96px, 1fr)); }
figure { margin: 0; min-width: 0; }
img { width: 100%; image-rendering: pixelated; border-radius: 4px; border: 1px solid var(--rule); }
figcaption { font-size: 13px; line-height: 1.35; overflow-wrap: anywhere; color: var(--soft); }
figcaption b { color: var(--ink); }
dl { margin: 0; }
dl > div { display: flex; gap: 12px; padding: 4px 0; border-bottom: 1px solid var(--rule); font-size: 13px; }
dt { flex: 0 0 118px; color: var(--soft); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
pre { margin: 0; padding: 10px 12px; overflow-x: auto; border-radius: 6px; background: var(--page);
  font: 13px/1.6 ui-monospace, monospace; }
footer { color: var(--soft); font-size: 13px; }
@media (max-width: 500px) { .chart { font-size: 14px; } }
@media print { body { background: none; } section { break-inside: avoid; } }
"""


def section(title: str, body: str, *, wide: bool = False) -> str:
    """Return a part of the page, as wide as the page or half of it; nothing without a body."""
    return f"<section{' class=full' * wide}>\n<h2>{title}</h2>\n{body}\n</section>\n" if body else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Return a table of escaped cells; all columns have numbers but those in `left`."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(
            f"<{tag}{' class=n' * (i not in left)}>{cell}</{tag}>" for i, cell in enumerate(cells)
        )

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{line(head, "th")}</thead><tbody>{body}</tbody></table></div>'


def facts(values: Mapping[str, object]) -> str:
    """Return names with their values, which are not escaped yet."""
    inner = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items()
    )
    return f"<dl>{inner}</dl>"
