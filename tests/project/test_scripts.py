"""The scripts beside the tests: what they name exists."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("script", ["sanitize.py", "everywhere.py"])
def test_named_tests(script):
    """Files and functions of tests that a script names exist."""
    text = (TESTS / script).read_text(encoding="utf-8")
    names = re.findall(r'"((?:\w+/)+test_\w+\.py)(?:::(\w+))?"', text)
    assert names
    for file, function in names:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert not function or function in {getattr(node, "name", "") for node in tree.body}, (file, function)
