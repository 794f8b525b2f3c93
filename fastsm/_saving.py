"""Models in files: `save` and `load`."""

import os
from collections.abc import Sequence

from fastsm import _saved, nn
from fastsm.optim import Optimizer

__all__ = ["load", "save"]


def save(
    path: str | os.PathLike[str],
    model: nn.Sequential,
    *,
    optimizer: Optimizer | None = None,
    history: dict[str, list[float]] | None = None,
) -> None:
    """Save a model: one .npz file, without pickle, that `load` reads.

    The file is written beside its place, brought to the disk, and renamed: whatever happens, there is a
    complete file, the old one or the new one. A process that is killed meanwhile may leave a file that ends
    in ``.tmp``, too.

    Parameters
    ----------
    path : path
        Where to save it; nothing is appended to the name.
    model : Sequential
        Layers of your own are saved by the name of their class, by their ``config()`` (a dict of arguments)
        if they need arguments, by their parameters, and by their ``state()`` if they have one.
    optimizer : Optimizer, optional
        Saved with its state.
    history : History, optional
        Saved too.

    Raises
    ------
    TypeError, ValueError
        If something cannot be saved; nothing is written.
    OSError
        If the file cannot be written; what was there is as before.

    See Also
    --------
    fastsm.callbacks.Checkpoint : saves a training as it goes, such that it can be resumed.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastsm
    >>> from fastsm import nn
    >>> model = nn.MLP([2, 8, 3], rng=0)
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "model.npz")
    >>> fastsm.save(path, model)
    >>> again = fastsm.load(path)
    >>> bool((again([[1.0, 2.0]]) == model([[1.0, 2.0]])).all())
    True
    >>> folder.cleanup()
    """
    _saved.write(path, model, optimizer, history, None)


def load(
    path: str | os.PathLike[str],
    *,
    layers: Sequence[type] = (),
    optimizer: Optimizer | None = None,
    history: dict[str, list[float]] | None = None,
) -> nn.Sequential:
    """Load a model that `save`, or the callback `Checkpoint`, wrote.

    Safe with files from others: no code is run but the constructors of `fastsm.nn` and of `layers`.

    Parameters
    ----------
    path : path
        The file.
    layers : sequence of classes
        Your own layers that the model may contain.
    optimizer : Optimizer, optional
        One of the class in the file: it continues from the state that was saved.
    history : History, optional
        Takes the columns that were saved.

    Returns
    -------
    Sequential
        The model.

    Raises
    ------
    ValueError
        If the file is truncated, corrupt or foreign, or does not fit the other arguments. Then nothing has
        been changed.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastsm
    >>> from fastsm import nn
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "model.npz")
    >>> fastsm.save(path, nn.Sequential(nn.Linear(2, 3), nn.Softmax(), rng=0), history={"loss": [0.5]})
    >>> history = fastsm.History()
    >>> fastsm.load(path, history=history).layers
    (Linear(2, 3), Softmax(temperature=1.0))
    >>> history
    {'loss': [0.5]}
    >>> folder.cleanup()
    """
    saved = _saved.read(path, layers)
    if optimizer is not None:
        saved.check_optimizer(optimizer)
        saved.restore_optimizer(optimizer)
    if history is not None:
        history.clear()
        history.update(saved.history or {})
    return saved.model
