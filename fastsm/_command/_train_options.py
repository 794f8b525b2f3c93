"""The options of ``fastsm train``, and those that it shares with other commands."""

from collections.abc import Iterable
from typing import Any

from fastsm._command._options import Option, flag, one_of, real, sizes, text, whole
from fastsm.nn._activations import ACTIVATIONS
from fastsm.nn.losses import LOSSES
from fastsm.optim._optimizers import OPTIMIZERS
from fastsm.optim.schedules import SCHEDULES

__all__ = ["CHANGEABLE", "DATA", "NAMED", "OUTPUT", "THREADS", "TRAIN", "complete"]

# What is no path, whatever lies in the current folder.
NAMED = ("digits", "fashion-mnist", "mnist", "kmnist")


def words(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of the library as the command writes them."""
    return tuple(name.replace("_", "-") for name in names)


# A network that ends in softmax and learns from labels has no use for the others.
_LOSSES = words(name for name in LOSSES if name not in ("nll", "kl_div"))

DATA = [
    Option(
        "data",
        text,
        "digits",
        "what to learn: digits (comes with fastsm), fashion-mnist, mnist, kmnist, or a PATH: a folder with"
        " the four files of MNIST, a .npz, a .csv",
        "NAME|PATH",
        group="data",
    ),
    Option("data-dir", text, None, "a folder to look for the named data sets in", "DIR", group="data"),
    Option("label", text, "label", "the column of a .csv that holds the classes", "COLUMN", group="data"),
    Option("download", flag, True, "fetch a named data set that is not found", group="data"),
]
OUTPUT = [
    Option("json", flag, False, "print one JSON object a line", group="output"),
    Option("quiet", flag, False, "nothing on the standard error but errors", group="output"),
]
THREADS = Option(
    "threads",
    whole(0),
    0,
    "threads; 0 chooses by the size of the matrices",
    "N",
    variable="FASTSM_NUM_THREADS",
    group="training",
)

TRAIN = [
    *DATA,
    Option(
        "shard-data",
        flag,
        False,
        "with --mpi: each process loads its own part of the training data only",
        group="data",
    ),
    Option(
        "val-split",
        real(0, 1),
        0.1,
        "the part of the training data that is set aside, to watch the training by",
        "PART",
        group="data",
    ),
    Option("hidden", sizes, [128], "sizes of the hidden layers, or none", "N,N,...", group="network"),
    Option(
        "activation",
        one_of(*ACTIVATIONS),
        "relu",
        f"after each hidden layer: {', '.join(ACTIVATIONS)}",
        "NAME",
        group="network",
    ),
    Option("dropout", real(0, 1), 0.0, "part of the hidden units to drop: 0.2", "PART", group="network"),
    Option("layer-norm", flag, False, "normalize each hidden layer", group="network"),
    Option("dtype", one_of("float32", "float64"), "float32", "float32 or float64", "NAME", group="network"),
    Option(
        "loss",
        one_of(*_LOSSES),
        "cross-entropy",
        "cross-entropy, focal (hard rows count more), brier, mse or mae (all of the probabilities)",
        "NAME",
        group="training",
    ),
    Option(
        "label-smoothing",
        real(0, 1),
        0.0,
        "part of each label that is spread over all classes, with cross-entropy: 0.1",
        "PART",
        group="training",
    ),
    Option(
        "class-weight",
        one_of("none", "balanced"),
        "none",
        "balanced: rare classes count as much as frequent ones; with cross-entropy and focal",
        "NAME",
        group="training",
    ),
    Option(
        "optimizer",
        one_of(*OPTIMIZERS),
        "adamw",
        "adamw, adam, sgd (with momentum) or rmsprop",
        "NAME",
        group="training",
    ),
    Option(
        "lr",
        real(0, above=True),
        None,
        "the learning rate, the highest of the schedule [0.003; sgd 0.1; rmsprop 0.001]",
        "RATE",
        group="training",
    ),
    Option("momentum", real(0, 1), None, "of sgd and rmsprop [sgd 0.9; rmsprop 0]", "M", group="training"),
    Option("weight-decay", real(0), None, "how weights shrink [adamw 0.01; others 0]", "D", group="training"),
    Option(
        "schedule",
        one_of(*words(SCHEDULES)),
        "cosine",
        "the learning rate over the epochs: constant, cosine (down to 0), warmup-cosine (up for a twentieth"
        " first), one-cycle, step (a tenth after each third)",
        "NAME",
        group="training",
    ),
    Option("epochs", whole(1), 30, "how often to go through the data", "N", group="training"),
    Option("batch-size", whole(1), 64, "rows of a step", "N", group="training"),
    Option("clip-norm", real(0), 0.0, "longest gradient; 0 is no limit", "NORM", group="training"),
    Option(
        "early-stop",
        whole(0),
        0,
        "end after N epochs in a row in which the validation loss was no better, with the best"
        " model; 0: never",
        "N",
        group="training",
    ),
    Option("seed", whole(0), 0, "where all that is random comes from", "N", group="training"),
    THREADS,
    Option(
        "mpi",
        flag,
        False,
        "share the training with the other processes of mpirun: mpirun -n 4 fastsm train --mpi",
        group="training",
    ),
    Option(
        "out",
        text,
        None,
        "the folder for the results, which must not hold a run yet [fastsm-runs/DATA-1, -2, ...]",
        "DIR",
        group="output",
    ),
    Option("plots", flag, True, "draw curves.png, confusion.png and mistakes.png", group="output"),
    *OUTPUT,
]

# What may differ when a run is taken up again.
CHANGEABLE = ("epochs", "threads", "mpi", "shard_data", "data_dir", "download", "plots", "json", "quiet")

_USUAL = {
    "adamw": {"lr": 3e-3, "momentum": 0.0, "weight_decay": 1e-2},
    "adam": {"lr": 3e-3, "momentum": 0.0, "weight_decay": 0.0},
    "sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0},
    "rmsprop": {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0},
}


def complete(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings in which what depends on the optimizer has a value."""
    usual = _USUAL[settings["optimizer"]]
    return {key: usual[key] if key in usual and value is None else value for key, value in settings.items()}
