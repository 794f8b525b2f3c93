"""A plugin of pytest: the collected tests, whichever they are, get fastsm's functions for SciPy's."""

from fastsm import special


def pytest_collection_finish():
    """Replace the functions in all modules of tests."""
    special.patch_scipy()
