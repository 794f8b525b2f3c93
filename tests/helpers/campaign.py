"""How much the campaigns of attacks try: a few examples in the ordinary tests, many on demand.

``FASTSM_FUZZ=5000 pytest tests -k hostile`` tries 5000 examples in each test, new ones in each run; without
the variable the examples are few and always the same.
"""

import os

from hypothesis import HealthCheck, settings

ASKED = int(os.environ.get("FASTSM_FUZZ") or 0)


def examples(few):
    """Return how many examples a test tries, `few` in the ordinary tests."""
    return ASKED or few


def campaign(few):
    """Return the hypothesis profile for that many examples."""
    return settings(
        max_examples=examples(few),
        derandomize=not ASKED,
        database=None,
        deadline=None,
        # Fixtures and sizes here are the same for all examples of a test, and arrays are made by NumPy.
        suppress_health_check=list(HealthCheck),
    )
