"""Turn results into tables and a summary that a person can read."""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import geometric_mean
from typing import Any

import _peers
import _targets
from _special import Judgement
from _suite import Result

_COLUMNS = (*_peers.OURS, *_peers.PEERS, _peers.LIMIT)
# Columns of words; all others are numbers.
_WORDS = ("", "operation", "dtype")
# Timed in several ways, of which the fastest counts.
_SEVERAL_WAYS = ("numpy out=", "torch", "jax")


def header(machine: dict[str, Any], missing: dict[str, str], loop_ns: float) -> str:
    """The machine and the versions, and how to read the tables."""
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items()) or "caches unknown"
    versions = [f"{name} {version}" for name, version in machine["versions"].items() if name != _peers.LIMIT]
    lines = [
        f"{machine['cpu']} ({caches}), {machine['platform']}",
        ", ".join([machine["python"], *versions]),
        f"threads: {machine['threads']}; the timing loop costs {loop_ns:.0f} ns a call: in all figures",
        *(f"missing: {name}: {reason}" for name, reason in missing.items()),
        "fastsm says:",
        *(f"  {line}" for line in machine["fastsm"].splitlines()),
        "",
        "Best of all rounds. 'fastsm' is fastsm with out=, 'in place' is fastsm too. A peer that can be",
        "called in several ways, in place among them, is shown by its best; * marks the fastest peer. Ratios",
        "are to the better of fastsm's two. 'sweep' is a limit, one pass over memory:",
        "np.multiply(x, 1, out=x), or the maximum of the whole array where the operation writes no array.",
    ]
    return "\n".join(lines)


def tables(results: Sequence[Result]) -> str:
    """Times and ratios of each operation and dtype."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.cell.operation, result.cell.dtype), []).append(result)
    parts = []
    for (operation, dtype), group in groups.items():
        columns = [name for name in _COLUMNS if any(name in result.best for result in group)]
        parts.append(f"{operation}, {dtype}: ns an element (one row: ns a call)")
        parts.append(_table(["", *columns], [_times(result, columns) for result in group]))
        parts.append("  times fastsm's time")
        parts.append(_ratios(group, columns))
        parts.append(_notes(group))
    return "\n".join(parts)


def special_table(judgements: Sequence[Judgement]) -> str:
    """The special cells, one a line."""
    rows = []
    for judgement in judgements:
        cell = judgement.cell
        target = f"{'>=' if judgement.at_least else '<='} {judgement.target}"
        words = [judgement.title, cell.operation, cell.dtype, cell.label]
        rows.append([*words, _ratio(judgement.ratio), target, judgement.verdict])
    table = _table(["", "operation", "dtype", "shape", "ratio", "target", ""], rows)
    return f"special cells (rows x classes; with axis=0 the matrix is classes x rows)\n{table}\n"


def summary(results: Sequence[Result], judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Each target, and how many cells meet it."""
    measured = [result for result in results if not math.isnan(result.over_fastest_peer())]
    verdicts = [*(result.verdict for result in results), *(judgement.verdict for judgement in judgements)]
    return {
        "geometric_mean": _mean(result.over_fastest_peer() for result in measured),
        "geometric_mean_out_of_place": _mean(result.over_fastest_peer("fastsm") for result in measured),
        "geometric_mean_target": _targets.GEOMETRIC_MEAN,
        "targets": [*_over_peers(measured), *_over_plain_numpy(results), *_special(judgements)],
        "not_measured": verdicts.count("not measured"),
    }


def summary_text(numbers: dict[str, Any], results: Sequence[Result]) -> str:
    """The summary in words, then the cells that fall short, the furthest first."""
    lines = ["summary"]
    if numbers["geometric_mean"] is not None:
        mean, target = numbers["geometric_mean"], numbers["geometric_mean_target"]
        missed = "" if mean >= target else "  MISSED"
        strict = numbers["geometric_mean_out_of_place"]
        lines.append(f"  geometric mean of fastest peer / fastsm: {mean:.2f}, target {target}{missed}")
        lines.append(f"  the same with fastsm held to out=, while peers may work in place: {strict:.2f}")
    if numbers["not_measured"]:
        lines.append(f"  {numbers['not_measured']} cells NOT MEASURED (a library is missing or disagrees)")
    for target in numbers["targets"]:
        if target["of"] == 0:
            continue
        missed = "" if target["met"] == target["of"] else "  MISSED"
        lines.append(f"  {target['met']:3d} of {target['of']:3d}  {target['title']}{missed}")
    short = sorted((r for r in results if r.verdict in ("MISSED", "PEER WINS")), key=_share_of_target)
    lines += [f"  {_falls_short(result)}" for result in short]
    return "\n".join(lines)


# ---- tables


def _times(result: Result, columns: Sequence[str]) -> list[str]:
    cells = [result.cell.label]
    for name in columns:
        if name not in result.best:
            cells.append("")
            continue
        divisor = 1 if result.cell.rows == 1 else result.cell.elements
        star = "*" if name == result.fastest_peer else " "
        cells.append(_short(result.best[name].best / divisor) + star)
    return cells


def _ratios(group: Sequence[Result], columns: Sequence[str]) -> str:
    rows = []
    for result in group:
        ratios = [_ratio(result.ratio(name)) for name in columns]
        target = f">= {_targets.over_fastest_peer(result.cell)}"
        rows.append([result.cell.label, *ratios, _ratio(result.over_fastest_peer()), target, result.verdict])
    return _table(["", *columns, "fastest peer", "target", ""], rows)


def _notes(group: Sequence[Result]) -> str:
    """Which way of calling a peer was its best, and what was not timed."""
    lines = []
    for result in group:
        label = result.cell.label
        chosen = [f"{name}: {result.best[name].variant}" for name in _SEVERAL_WAYS if name in result.best]
        if chosen:
            lines.append(f"  {label}: best ways: {'; '.join(chosen)}")
        lines += [f"  {label}: NOT TIMED {name}: {message}" for name, message in result.rejected.items()]
    return "\n".join(lines) + "\n"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their content, words to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    lines = []
    for row in (names, *rows):
        cells = [
            text.ljust(width) if name in _WORDS else text.rjust(width)
            for name, text, width in zip(names, row, widths, strict=True)
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _ratio(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


# ---- summary


def _over_peers(measured: Sequence[Result]) -> list[dict[str, Any]]:
    faster = _tally("faster than the fastest peer", measured, lambda result: result.over_fastest_peer() > 1)
    found = [faster]
    for name, target in _targets.OVER_PEERS.items():
        group = [result for result in measured if _targets.group(result.cell) == name]
        title = f"{name}: {target} times the fastest peer"
        found.append(_tally(title, group, lambda result: not result.verdict))
    return found


def _over_plain_numpy(results: Sequence[Result]) -> list[dict[str, Any]]:
    measured = [result for result in results if not math.isnan(result.ratio("numpy"))]
    found = []
    for target in _targets.OVER_PLAIN_NUMPY.values():
        group = [result for result in measured if _targets.over_plain_numpy(result.cell) == target]
        title = f"float32 softmax: {target:g} times plain NumPy"
        found.append(_tally(title, group, lambda result, target=target: result.ratio("numpy") >= target))
    return found


def _special(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    measured = [judgement for judgement in judgements if judgement.verdict != "not measured"]
    found = []
    for title in dict.fromkeys(judgement.title for judgement in measured):
        group = [judgement for judgement in measured if judgement.title == title]
        found.append(_tally(title, group, lambda judgement: not judgement.verdict))
    return found


def _tally(title: str, group: Sequence[Any], is_met: Callable[..., bool]) -> dict[str, Any]:
    return {"title": title, "met": sum(is_met(member) for member in group), "of": len(group)}


def _mean(ratios: Iterable[float]) -> float | None:
    ratios = [ratio for ratio in ratios if not math.isnan(ratio)]
    return geometric_mean(ratios) if ratios else None


def _share_of_target(result: Result) -> float:
    return result.over_fastest_peer() / _targets.over_fastest_peer(result.cell)


def _falls_short(result: Result) -> str:
    cell, peer, target = result.cell, result.fastest_peer, _targets.over_fastest_peer(result.cell)
    what = f"{result.verdict}: {cell.operation} {cell.dtype} {cell.label}"
    how = f" ({result.best[peer].variant})" if peer is not None else ""
    return f"{what}: {result.over_fastest_peer():.2f} times as fast as {peer}{how}, target {target}"
