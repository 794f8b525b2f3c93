"""The style of the figures in lessons and examples."""

from typing import Any

# The palette of Okabe and Ito, which the colour-blind can tell apart.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
STYLE = {
    "axes.grid": True,
    "axes.prop_cycle": f"cycler(color={COLORS})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.figsize": (6.4, 3.6),
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "savefig.dpi": 110,
}


def reset(gallery_conf: dict[str, Any], fname: str) -> None:
    """Set matplotlib's defaults before each script; sphinx-gallery calls this."""
    import matplotlib as mpl

    mpl.rcParams.update(STYLE)
