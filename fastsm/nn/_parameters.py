"""The parameters of all layers as one array, and their gradients as another."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.typing import Array, DType

__all__: list[str] = []


class Views(dict[str, Array]):
    """The arrays of a layer by name, each of them a part of the model's flat array.

    Assigning to a name copies into that part, so that ``layer.grads["weight"] = x.T @ dy`` does what it
    says and the model still sees it. A copy of the dictionary has arrays of its own.
    """

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        if name not in self:
            raise KeyError(f"the model has no parameter {name!r} for this layer, only {', '.join(self)}")
        self[name][...] = _arguments.same_shape(name, np.asarray(value), self[name].shape)

    def update(self, *others: Any, **named: Any) -> None:
        """Copy each of the values into its part."""
        for name, value in dict(*others, **named).items():
            self[name] = value

    def __ior__(self, others: Any) -> "Views":  # type: ignore[override,misc]
        self.update(others)
        return self

    def __reduce__(self) -> tuple[type[dict[str, Array]], tuple[dict[str, Array]]]:
        return dict, (dict(self),)


def gather(layers: Iterable[object], dtype: DType) -> tuple[Array, Array, int]:
    """Move the parameters and gradients of the layers into two flat arrays and leave views behind.

    Parameters that weight decay may leave out stand at the end. The third result is how many elements
    stand before them.
    """
    owners = [layer for layer in layers if getattr(layer, "params", None)]
    values = [_arrays(layer) for layer in owners]
    places = [
        (i, name, name in getattr(owner, "undecayed", ()))
        for i, owner in enumerate(owners)
        for name in values[i]
    ]
    places.sort(key=lambda place: place[2])
    size = sum(array.size for arrays in values for array in arrays.values())
    params, grads = np.empty(size, dtype), np.zeros(size, dtype)
    param_views: list[dict[str, Array]] = [{} for _ in owners]
    grad_views: list[dict[str, Array]] = [{} for _ in owners]
    stop = decayed = 0
    for i, name, undecayed in places:
        value = values[i][name]
        start, stop = stop, stop + value.size
        decayed = decayed if undecayed else stop
        param_views[i][name] = params[start:stop].reshape(value.shape)
        param_views[i][name][...] = value
        grad_views[i][name] = grads[start:stop].reshape(value.shape)
        earlier = (getattr(owners[i], "grads", None) or {}).get(name)
        if earlier is not None and np.shape(earlier) == value.shape:
            grad_views[i][name][...] = earlier
    for owner, arrays, param_view, grad_view in zip(owners, values, param_views, grad_views, strict=True):
        # In the order in which the layer has them.
        cast(Any, owner).params = Views({name: param_view[name] for name in arrays})
        cast(Any, owner).grads = Views({name: grad_view[name] for name in arrays})
    return params, grads, decayed


def _arrays(layer: object) -> dict[str, Array]:
    params = cast(Any, layer).params
    where = f"`params` of {type(layer).__name__}"
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise TypeError(f"{where} must be a dict of names and arrays, got {type(params).__name__}")
    return {
        name: _arguments.array(f"params[{name!r}] of {type(layer).__name__}", params[name]) for name in params
    }
