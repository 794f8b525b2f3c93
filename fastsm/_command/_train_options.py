"""The options of ``fastsm train``, and those that other commands share."""

from __future__ import annotations

from collections.abc import Iterable

from fastsm._command._options import Option, Settings, flag, names, one_of, real, sizes, text, whole
from fastsm.nn._activations import ACTIVATIONS
from fastsm.nn.losses import LOSSES
from fastsm.optim._optimizers import OPTIMIZERS
from fastsm.optim.schedules import SCHEDULES

__all__ = ["CHANGEABLE", "DATA", "NAMED", "OUTPUT", "TRAIN", "complete", "fitting"]

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
        "the data set: digits (included), fashion-mnist, mnist, kmnist, or a PATH: a table such as .csv, a"
        " folder of pictures for each class, a folder with the four files of MNIST, a .npz",
        "NAME|PATH",
        group="data",
    ),
    Option("data-dir", text, None, "a folder with named data sets", "DIR", group="data"),
    Option("download", flag, True, "download a named data set that is not found", group="data"),
]
OUTPUT = [
    Option("json", flag, False, "print a JSON object per line", group="output"),
    Option("quiet", flag, False, "print no progress, only results and errors", group="output"),
]

TRAIN = [
    *DATA,
    Option(
        "label",
        text,
        None,
        "the column of a table with the labels, in any capitals [one called label, target, class, y, species"
        " and the like, or the last one]",
        "COLUMN",
        group="data",
    ),
    Option(
        "task",
        one_of("classification", "regression"),
        "classification",
        "whether the labels of a table are classes, or numbers: classification or regression",
        "NAME",
        group="data",
    ),
    Option("drop", names, [], "columns of a table to leave out", "COLUMN,...", group="data"),
    Option(
        "keep", names, [], "columns of a table to keep that would be left out", "COLUMN,...", group="data"
    ),
    Option("val", text, None, "a file with validation data [--val-split]", "FILE", group="data"),
    Option("test", text, None, "a file with test data [a fifth of the rows]", "FILE", group="data"),
    Option(
        "size",
        whole(1),
        None,
        "the height and width of pictures in folders [their own, if the same and up to 64, else 28]",
        "N",
        group="data",
    ),
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
        None,
        f"the loss: {', '.join(_LOSSES)}; focal stresses hard rows [cross-entropy; regression mse]",
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
    Option(
        "weight-decay",
        real(0),
        None,
        "weight decay [adamw 0.01, 100 / N for N < 1,000 rows; others 0]",
        "D",
        group="training",
    ),
    Option(
        "schedule",
        one_of(*_with_hyphens(SCHEDULES)),
        "cosine",
        f"the learning rate over time: {', '.join(_with_hyphens(SCHEDULES))}; warmup-cosine rises for 5 % of"
        " the steps, step divides by 10 after each third",
        "NAME",
        group="training",
    ),
    Option(
        "epochs",
        whole(1),
        None,
        "the number of passes through the data [30, or as many as make 600 steps]",
        "N",
        group="training",
    ),
    Option(
        "batch-size",
        whole(1),
        None,
        "the number of rows in a step [64; 32 for fewer than 1,000 rows]",
        "N",
        group="training",
    ),
    Option(
        "clip-norm", real(0), 0.0, "the largest norm of a gradient; 0: no limit", "NORM", group="training"
    ),
    Option(
        "early-stop",
        whole(0),
        0,
        "stop after N epochs in a row without a better validation loss; 0: never",
        "N",
        group="training",
    ),
    Option(
        "last",
        flag,
        False,
        "keep the weights of the last epoch, as with fewer than 50 validation rows, not those of the epoch"
        " with the smallest validation loss",
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
CHANGEABLE = (
    "epochs", "threads", "mpi", "shard_data", "data", "val", "test", "data_dir", "download", "plots", "json",
    "quiet",
)  # fmt: skip

_EPOCHS, _STEPS, _FEW = 30, 600, 1000

_USUAL: dict[str, dict[str, object]] = {
    "adamw": {"lr": 3e-3, "momentum": 0.0, "weight_decay": None},  # chosen by `fitting`
    "adam": {"lr": 3e-3, "momentum": 0.0, "weight_decay": 0.0},
    "sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0},
    "rmsprop": {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0},
}


def complete(settings: Settings) -> Settings:
    """Return settings with the defaults of the optimizer and the task where no value is given."""
    usual = _USUAL[settings["optimizer"]] | {
        "loss": "mse" if settings["task"] == "regression" else "cross-entropy"
    }
    return {key: usual[key] if key in usual and value is None else value for key, value in settings.items()}


def fitting(settings: Settings, rows: int) -> Settings:
    """Return settings with the defaults for this number of rows where no value is given."""
    size = settings["batch_size"] or (64 if rows >= _FEW else 32)
    epochs = settings["epochs"] or max(_EPOCHS, -(-_STEPS * size // rows))
    decay = settings["weight_decay"]
    if decay is None:
        decay = min(100 / rows, 1.0) if rows < _FEW else 0.01
    return {**settings, "batch_size": size, "epochs": epochs, "weight_decay": decay}
