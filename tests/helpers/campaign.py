"""The number of hypothesis examples: a few in the ordinary tests, many on demand.

``FASTSM_FUZZ=5000 pytest tests/hostile`` tries 5000 new examples in each test; without the variable the
examples are few and always the same.
"""

import os

from hypothesis import HealthCheck, settings

ASKED = int(os.environ.get("FASTSM_FUZZ") or 0)


def examples(few):
    """Return the number of examples of a test, `few` in the ordinary tests."""
    return ASKED or few


def campaign(few):
    """Return the hypothesis profile with this number of examples."""
    return settings(
        max_examples=examples(few),
        derandomize=not ASKED,
        database=None,
        deadline=None,
        # Fixtures and sizes here are the same for all examples of a test, and arrays are made by NumPy.
        suppress_health_check=list(HealthCheck),
    )
