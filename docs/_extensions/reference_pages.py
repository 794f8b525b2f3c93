"""Which members the reference pages show, and how they show sources."""

import inspect
import re
from typing import Any

from sphinx.application import Sphinx


def skip(app: Sphinx, kind: str, name: str, member: Any, skipped: bool, options: Any) -> bool | None:
    """Skip members inherited from other packages (dict, scikit-learn), and values without a docstring.

    The docstring of the class lists parameters and attributes.
    """
    if kind not in ("method", "property", "attribute"):
        return None
    function = member.fget if isinstance(member, property) else member
    if not callable(function) or not inspect.getdoc(member):
        return True
    return None if (getattr(function, "__module__", None) or "").startswith("fastsm") else True


def keep_initials(app: Sphinx, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Keep `.. [1] D. P. Kingma` from being read as the fourth item of a list."""
    lines[:] = [re.sub(r"^(\s*\.\. \[[^]]+\] [A-Z])\. ", r"\1\\. ", line) for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both."""
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", keep_initials, priority=900)  # after numpydoc
    return {"parallel_read_safe": True, "parallel_write_safe": True}
