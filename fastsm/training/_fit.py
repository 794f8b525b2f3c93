"""`fit`: from a model and data to a trained model."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments, nn
from fastsm.nn._objective import Objective
from fastsm.nn._structure import output_shapes
from fastsm.optim import Optimizer
from fastsm.training import _blas_threads, _checkpoint
from fastsm.training._batches import Rows
from fastsm.training._evaluation import BLOCK, Evaluation
from fastsm.training._history import History
from fastsm.training._names import resolve_loss, resolve_optimizer, resolve_schedule, takes_labels
from fastsm.training._ranks import ALONE, Alone, Ranks
from fastsm.training._run import HOOKS, Plan, Run
from fastsm.training.callbacks._best import Ordered
from fastsm.training.metrics import resolve
from fastsm.training.metrics._metric import Metric

__all__ = ["evaluate", "fit"]


def fit(
    model: nn.Sequential,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: Any = None,
    optimizer: Optimizer | str | None = None,
    schedule: str | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    sample_weight: ArrayLike | None = None,
    validation_data: tuple[ArrayLike, ...] | None = None,
    metrics: Sequence[str | Metric | Callable[..., ArrayLike]] = ("accuracy",),
    callbacks: Sequence[Any] = (),
    clip_norm: float | None = None,
    rng: int | np.random.Generator | None = None,
    num_threads: int | None = None,
    resume_from: str | os.PathLike[str] | None = None,
    shuffle: bool = True,
    comm: Any = None,
    sharded: bool = False,
) -> History:
    r"""Train a model on mini-batches.

    Parameters
    ----------
    model : Sequential
        Trained in place.
    X : array_like
        Inputs, shape (N, features). Images may stay uint8: they are gathered as ``X / 255``, as a model that
        is called does with uint8 too, and take a quarter of the memory of float32. float32 and float64 are
        read as they are, other dtypes and frames of numbers and bools are converted once.
    y : array_like
        Integer labels, shape (N,), or floating values or probabilities, shape (N, outputs). Losses that take
        no labels, as `BCELoss`, take integers and bools of both shapes.
    loss : loss or str, optional
        What is minimised: a loss of `fastsm.nn`, or the name of one with its defaults on what the model ends
        in: ``"cross_entropy"``, ``"nll"``, ``"focal"``, ``"brier"``, ``"mse"``, ``"mae"``, ``"kl_div"``,
        ``"bce"``. By default cross-entropy, for labels only.
    optimizer : Optimizer or str, optional
        By default ``Adam(1e-3)``. It goes on from the steps it has done. A name, ``"sgd"``, ``"rmsprop"``,
        ``"adam"`` or ``"adamw"``, makes a new one with its defaults.
    schedule : str, optional
        How the learning rate changes over the steps of all epochs: ``"constant"``, ``"cosine"``,
        ``"warmup_cosine"`` (after 5 % of the steps), ``"one_cycle"`` or ``"step"`` (a tenth after each
        third). Its highest rate is the `lr` of the optimizer, which must have done no steps, and whose `lr`
        it becomes.
    epochs : int, default 10
        How often to go through the data; with `resume_from`, the epochs before included.
    batch_size : int, default 128
        Rows of a mini-batch; the last one of an epoch has the rows that are left.
    sample_weight : array_like, optional
        A factor for each row, shape (N,), at least 0: in the loss and in the metrics.
    validation_data : tuple, optional
        ``(X, y)`` or ``(X, y, sample_weight)``: evaluated after each epoch, without dropout.
    metrics : sequence, default ("accuracy",)
        Names, objects or functions: see `fastsm.training.metrics`. Those of the training data are of the
        outputs in the epoch's batches as they were when they came, while the model changed (and with
        dropout).
    callbacks : sequence, default ()
        Objects with any of the methods ``on_train_begin(run)``, ``on_epoch_begin(run)``,
        ``on_batch_end(run)``, ``on_epoch_end(run)`` and ``on_train_end(run)``: see `fastsm.callbacks`. They
        are called in this order, but `Average` first, and checkpoints and progress bars last.
    clip_norm : float, optional
        The largest norm of the whole gradient; a longer one is shortened to it.
    rng : None, int or numpy.random.Generator
        Where the order of the rows comes from. With one seed for it and one for the model a training gives
        the same bits, with any number of threads; where products are NumPy's (in layers of your own, and on
        processors without AVX2) only with the same number.
    num_threads : int, optional
        The most threads that work is shared by; by default `fastsm.get_num_threads`. A kernel takes as many
        as its work is worth. Products of NumPy's get as many, too; by default one, unless they are large
        enough to gain from more (this needs the package threadpoolctl). The limits hold for the process: of
        trainings that run at the same time in several threads, those of the first.
    resume_from : path, optional
        What the callback `Checkpoint` wrote: the training goes on from there, with the same bits as if it had
        never stopped. The other arguments are given again, `epochs` possibly larger; model, optimizer,
        callbacks, history and the order of the rows take up what is in the file. An argument of the
        optimizer that a callback changed does too, unless another one is given than at the start.
    shuffle : bool, default True
        Whether each epoch takes the rows in a new random order.
    comm : mpi4py.MPI.Comm, optional
        Share the training with the other processes of this communicator, all of which call `fit` with the
        same arguments (``mpirun -n 4 python script.py``). Each takes its part of every mini-batch; the
        gradients are added up. The model comes out the same as from one process, up to rounding, and the same
        bits on all ranks. Callbacks that write or print do so on the first rank only.
    sharded : bool, default False
        With `comm`: each rank has other rows in `X`, `y`, `sample_weight` and `validation_data`, its own. The
        batches are then made of a part of each rank's, as many as `batch_size` in all, in an order that
        depends on the number of ranks.

    Returns
    -------
    History
        Loss, metrics, learning rate and seconds of each epoch. After an interruption from the keyboard, the
        history so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the loss does not take what the model gives.
    TrainingDiverged
        If the loss, the gradient or the parameters become NaN or infinite.
    RuntimeError
        With `comm`, if an argument is wrong on another rank. An error later on, on any rank, ends all
        processes with a message and the exit code 1.

    Notes
    -----
    The loss of an epoch is the sum of the batches' losses, each times the weight of its rows, over the sum of
    these weights: exact for a smaller last batch, too, and for the parts of ranks. Clipping multiplies the
    gradient :math:`g` by :math:`\min(1, c / |g|)` [1]_.

    References
    ----------
    .. [1] R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks",
       ICML 2013, algorithm 1.

    Examples
    --------
    >>> import fastsm
    >>> from fastsm import data, nn, optim
    >>> X, y = data.load_digits()
    >>> model = nn.MLP([64, 32, 10], rng=0)
    >>> history = fastsm.fit(model, X[:1500], y[:1500], optimizer=optim.Adam(0.01), epochs=5, rng=0,
    ...                      validation_data=(X[1500:], y[1500:]))
    >>> history["val_accuracy"][-1] > 0.85
    True
    """
    ranks = _ranks(comm, sharded)
    with ranks.agreeing():
        if not isinstance(model, nn.Sequential):
            raise TypeError(f"`model` must be a Sequential, got {type(model).__name__}")
        rows = Rows(X, y, sample_weight, model.dtype, takes_labels=takes_labels(loss))
        if len(rows) == 0:
            raise ValueError("`X` must have at least one row, got none")
    count = ranks.count_rows(len(rows))
    with ranks.agreeing():
        loss = resolve_loss(loss, model, rows.y.ndim == 1)
        optimizer = resolve_optimizer(optimizer)
        batch_size = min(_arguments.positive_integer("batch_size", batch_size), count)
        objective = Objective(model, loss)
        validation = _validation(validation_data, model, rows)
        _check_labels("y", rows, model, loss)
        if validation is not None:
            _check_labels("validation_data[1]", validation, model, loss)
        evaluation = Evaluation(objective, resolve(metrics))
        evaluation.check_metrics(rows)
        called = check_callbacks(callbacks)
        plan = Plan(
            rows=count,
            batch_size=batch_size,
            epochs=_arguments.positive_integer("epochs", epochs),
            clip_norm=math.inf if clip_norm is None else _arguments.above_0("clip_norm", clip_norm),
            shuffle=_arguments.flag("shuffle", shuffle),
            seed=int(_arguments.generator(rng).integers(1 << 63)),
            evaluated_rows=max(batch_size, BLOCK),
        )
        threads, rate = _arguments.num_threads(num_threads), optimizer.lr
        if schedule is not None:
            steps = plan.epochs * -(-count // batch_size)
            optimizer.lr = resolve_schedule(schedule, optimizer, steps)
        run = Run(evaluation, optimizer, rows, validation, called, plan, ranks)
        if resume_from is not None:
            try:
                _checkpoint.resume(resume_from, run)
            except BaseException:
                optimizer.lr = rate
                raise
    threads = ranks.threads() if threads is None else threads
    ranks.begin(run)
    try:
        with (
            ranks.ending_together(lambda error: error is run.diverged),
            _blas_threads.limited(threads, _blas_threads.largest_product(model, batch_size)),
        ):
            run.train()
    finally:
        ranks.end()
    return run.history


def evaluate(
    model: nn.Sequential,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: Any = None,
    metrics: Sequence[str | Metric | Callable[..., ArrayLike]] = ("accuracy",),
    sample_weight: ArrayLike | None = None,
    batch_size: int = 1024,
) -> dict[str, float]:
    """Return the loss and metrics of a model on data, as `fastsm.fit` does for its validation data.

    Parameters
    ----------
    model : Sequential
        Run without dropout.
    X, y, sample_weight, loss, metrics
        As for `fastsm.fit`; uint8 is divided by 255 here too.
    batch_size : int, default 1024
        Rows that go through the model together.

    Returns
    -------
    dict
        ``"loss"`` and the metrics by name.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or the loss does not take what the model gives.

    Examples
    --------
    >>> from fastsm import data, nn, training
    >>> X, y = data.load_digits()
    >>> results = training.evaluate(nn.MLP([64, 10], init="zeros"), X, y)
    >>> results  # log(10), and the part of zeros
    {'loss': 2.302585..., 'accuracy': 0.0990...}
    """
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"`model` must be a Sequential, got {type(model).__name__}")
    rows = Rows(X, y, sample_weight, model.dtype, takes_labels=takes_labels(loss))
    loss = resolve_loss(loss, model, rows.y.ndim == 1)
    evaluation = Evaluation(Objective(model, loss), resolve(metrics))
    _check_labels("y", rows, model, loss)
    results = evaluation(rows, _arguments.positive_integer("batch_size", batch_size))
    evaluation.check(rows, results)
    return results


def _ranks(comm: Any, sharded: object) -> Alone:
    """Return the ranks that share a training."""
    shards = _arguments.flag("sharded", sharded)
    if comm is None:
        if shards:
            raise ValueError("`sharded` must be False without `comm`")
        return ALONE
    return ALONE if _arguments.communicator(comm).Get_size() == 1 else Ranks(comm, shards)


def _validation(data: object, model: nn.Sequential, rows: Rows) -> Rows | None:
    if data is None:
        return None
    if not isinstance(data, (tuple, list)):
        raise TypeError(
            f"`validation_data` must be (X, y) or (X, y, sample_weight), got {type(data).__name__}"
        )
    if len(data) not in (2, 3):
        raise ValueError(
            f"`validation_data` must be (X, y) or (X, y, sample_weight), got {len(data)} entries"
        )
    names = ("validation_data[0]", "validation_data[1]", "validation_data[2]")
    weight = data[2] if len(data) == 3 else None
    result = Rows(data[0], data[1], weight, model.dtype, names, rows.takes_labels)
    if result.x.shape[1] != rows.x.shape[1]:
        raise ValueError(f"`{names[0]}` must have {rows.x.shape[1]} features as `X`, got {result.x.shape[1]}")
    if (result.x.dtype == np.uint8) != (rows.x.dtype == np.uint8):
        raise TypeError(
            f"`{names[0]}` must be uint8 if `X` is, and only then, as uint8 is divided by 255, got"
            f" {result.x.dtype} with {rows.x.dtype}"
        )
    return result


def _check_labels(name: str, rows: Rows, model: nn.Sequential, loss: Any) -> None:
    """Check labels where the number of classes is known: a position in a batch would say nothing."""
    shape = output_shapes(model.layers)[-1]
    if rows.y.ndim == 1 and isinstance(loss, nn.MSELoss | nn.MAELoss | nn.KLDivLoss):
        outputs = shape[0] if shape else 1
        advice = f"np.eye({outputs})[{name}]" if outputs > 1 else f"{name}.reshape(-1, 1)"
        wanted = f"({len(rows)}, {outputs}) for {type(loss).__name__}"
        _arguments.check_shape(name, rows.y, False, wanted, f": give {advice}")
    if rows.y.ndim != 1 or not shape or not getattr(loss, "takes_labels", False):
        return
    try:
        _arguments.usable_labels(name, rows.y, shape[0], getattr(loss, "ignore_index", None))
    except ValueError as error:
        advice = ": for one yes-or-no output take nn.BCELoss" if shape == (1,) else ""
        raise ValueError(f"{error}{advice}") from None


def check_callbacks(callbacks: object) -> list[Any]:
    """Return the callbacks, checkpoints last: they save what the others remember."""
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"`callbacks` must be a list of objects, got {type(callbacks).__name__}")
    for callback in callbacks:
        if isinstance(callback, type):
            name = callback.__name__
            raise TypeError(f"`callbacks` must hold objects, got the class {name}: add parentheses")
        if not any(callable(getattr(callback, hook, None)) for hook in HOOKS):
            raise TypeError(f"`callbacks` must have methods as on_epoch_end(run), got {callback!r}")
    return sorted(callbacks, key=lambda c: c.order if isinstance(c, Ordered) else 0)
