"""Data to train on: real images that come with the package, and data sets from files."""

from fastsm.data._dataset import DataError, Dataset, Splits
from fastsm.data._digits import load_digits
from fastsm.data._encodings import Choice, Number
from fastsm.data._idx import load_idx
from fastsm.data._images import Pictures
from fastsm.data._sets import load
from fastsm.data._table import Table

__all__ = [
    "Choice",
    "DataError",
    "Dataset",
    "Number",
    "Pictures",
    "Splits",
    "Table",
    "load",
    "load_digits",
    "load_idx",
]
