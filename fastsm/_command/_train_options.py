"""The options of ``fastsm train``, and those that other commands share."""

from __future__ import annotations

from collections.abc import Iterable

from fastsm._command._options import Option, Settings, flag, one_of, real, sizes, text, whole
from fastsm.nn._activations import ACTIVATIONS
from fastsm.nn.losses import LOSSES
from fastsm.optim._optimizers import OPTIMIZERS
from fastsm.optim.schedules import SCHEDULES

__all__ = ["CHANGEABLE", "DATA", "NAMED", "OUTPUT", "TRAIN", "complete"]

# These are never paths, even if there are files with these names.
NAMED = ("digits", "fashion-mnist", "mnist", "kmnist")


def _with_hyphens(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.replace("_", "-") for name in names)


# The others add nothing for a network that ends in softmax and learns from labels.
_LOSSES = _with_hyphens(name for name in LOSSES if name not in ("nll", "kl_div", "bce"))

DATA = [
    Option(
        "data",
        text,
        "digits",
        "the data set: digits (included), fashion-mnist, mnist, kmnist, or a PATH: a folder with the four"
        " files of MNIST, a .npz, a .csv",
        "NAME|PATH",
        group="data",
    ),
    Option("data-dir", text, None, "a folder with named data sets", "DIR", group="data"),
    Option("label", text, "label", "the column of a .csv with the classes", "COLUMN", group="data"),
    Option("download", flag, True, "download a named data set that is not found", group="data"),
]
OUTPUT = [
    Option("json", flag, False, "print a JSON object per line", group="output"),
    Option("quiet", flag, False, "print no progress, only results and errors", group="output"),
]

TRAIN = [
    *DATA,
    Option(
        "shard-data",
        flag,
        False,
        "with --mpi: each process loads only its own part of the training data",
        group="data",
    ),
    Option(
        "val-split",
        real(0, 1),
        0.1,
        "the fraction of the training data to set aside for validation",
        "PART",
        group="data",
    ),
    Option("hidden", sizes, [128], "the sizes of the hidden layers, or none", "N,N,...", group="network"),
    Option(
        "activation",
        one_of(*ACTIVATIONS),
        "relu",
        f"the activation after each hidden layer: {', '.join(ACTIVATIONS)}",
        "NAME",
        group="network",
    ),
    Option("dropout", real(0, 1), 0.0, "the fraction of hidden units to drop", "PART", group="network"),
    Option("layer-norm", flag, False, "normalize each hidden layer", group="network"),
    Option("dtype", one_of("float32", "float64"), "float32", "float32 or float64", "NAME", group="network"),
    Option(
        "loss",
        one_of(*_LOSSES),
        "cross-entropy",
        f"the loss: {', '.join(_LOSSES)}; focal stresses hard rows",
        "NAME",
        group="training",
    ),
    Option(
        "label-smoothing",
        real(0, 1),
        0.0,
        "with cross-entropy: the fraction of each label to spread over all classes",
        "PART",
        group="training",
    ),
    Option(
        "class-weight",
        one_of("none", "balanced"),
        "none",
        "with cross-entropy and focal: balanced gives all classes the same total weight",
        "NAME",
        group="training",
    ),
    Option(
        "optimizer",
        one_of(*OPTIMIZERS),
        "adamw",
        f"the optimizer: {', '.join(OPTIMIZERS)}",
        "NAME",
        group="training",
    ),
    Option(
        "lr",
        real(0, above=True),
        None,
        "the largest learning rate of the schedule [0.003; sgd 0.1; rmsprop 0.001]",
        "RATE",
        group="training",
    ),
    Option(
        "momentum",
        real(0, 1),
        None,
        "the momentum of sgd and rmsprop [sgd 0.9; rmsprop 0]",
        "M",
        group="training",
    ),
    Option("weight-decay", real(0), None, "weight decay [adamw 0.01; others 0]", "D", group="training"),
    Option(
        "schedule",
        one_of(*_with_hyphens(SCHEDULES)),
        "cosine",
        f"the learning rate over time: {', '.join(_with_hyphens(SCHEDULES))}; warmup-cosine rises for 5 % of"
        " the steps, step divides by 10 after each third",
        "NAME",
        group="training",
    ),
    Option("epochs", whole(1), 30, "the number of passes through the data", "N", group="training"),
    Option("batch-size", whole(1), 64, "the number of rows in a step", "N", group="training"),
    Option(
        "clip-norm", real(0), 0.0, "the largest norm of a gradient; 0: no limit", "NORM", group="training"
    ),
    Option(
        "early-stop",
        whole(0),
        0,
        "stop after N epochs in a row without a better validation loss, and keep the best model; 0: never",
        "N",
        group="training",
    ),
    Option("seed", whole(0), 0, "the seed of all random numbers", "N", group="training"),
    Option(
        "threads",
        whole(0),
        0,
        "the number of threads; 0: chosen by the size of the matrices",
        "N",
        variable="FASTSM_NUM_THREADS",
        group="training",
    ),
    Option(
        "mpi",
        flag,
        False,
        "share the training with the other processes of mpirun",
        group="training",
    ),
    Option(
        "out",
        text,
        None,
        "a new or empty folder for the results [fastsm-runs/DATA-1, -2, ...]",
        "DIR",
        group="output",
    ),
    Option("plots", flag, True, "draw curves.png, confusion.png and mistakes.png", group="output"),
    *OUTPUT,
]

# The options that may change when a run is resumed.
CHANGEABLE = ("epochs", "threads", "mpi", "shard_data", "data_dir", "download", "plots", "json", "quiet")

_USUAL = {
    "adamw": {"lr": 3e-3, "momentum": 0.0, "weight_decay": 1e-2},
    "adam": {"lr": 3e-3, "momentum": 0.0, "weight_decay": 0.0},
    "sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0},
    "rmsprop": {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0},
}


def complete(settings: Settings) -> Settings:
    """Return settings with the optimizer's defaults where no value is given."""
    usual = _USUAL[settings["optimizer"]]
    return {key: usual[key] if key in usual and value is None else value for key, value in settings.items()}
