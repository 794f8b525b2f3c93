"""The directive `command-help`: the output of `fastsm NAME --help`."""

import os
import subprocess
import sys
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx


class CommandHelp(Directive):
    """A literal block with the help of the command or, with an argument, of a subcommand."""

    optional_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Run the command in a terminal of 90 columns."""
        result = subprocess.run(
            [sys.executable, "-m", "fastsm", *self.arguments, "--help"],
            env=os.environ | {"COLUMNS": "90", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        block = nodes.literal_block(result.stdout, result.stdout)
        block["language"] = "text"
        return [block]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
