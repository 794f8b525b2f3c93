"""The parameters of all layers as one array, and their gradients as another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.typing import Array, DType

__all__: list[str] = []


class ParameterViews(dict[str, Array]):
    """The arrays of a layer by name, each a view of the model's flat array.

    Assigning to a name copies into the view, so that the model sees ``layer.grads["weight"] = x.T @ dy``. A
    copy of the dictionary is a plain one, with arrays of its own.
    """

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        if name not in self:
            raise KeyError(f"the model has no parameter {name!r} for this layer, only {', '.join(self)}")
        self[name][...] = _arguments.same_shape(name, np.asarray(value), self[name].shape)

    def update(self, *others: Mapping[str, ArrayLike], **named: ArrayLike) -> None:  # type: ignore[override]
        """Copy each value into its view."""
        for name, value in dict(*others, **named).items():
            self[name] = value

    def __ior__(self, others: Mapping[str, ArrayLike]) -> ParameterViews:  # type: ignore[override,misc]
        self.update(others)
        return self

    def __reduce__(self) -> tuple[type[dict[str, Array]], tuple[dict[str, Array]]]:
        return dict, (dict(self),)


class _HasParameters(Protocol):
    """A layer with parameters."""

    params: Mapping[str, ArrayLike]
    grads: Mapping[str, ArrayLike]


def flatten_parameters(layers: Iterable[object], dtype: DType) -> tuple[Array, Array, int]:
    """Move the parameters and gradients of the layers into two flat arrays, and give the layers views.

    Parameters that weight decay may leave out come last. The third result is the number of elements before
    them.
    """
    owners = [cast(_HasParameters, layer) for layer in layers if getattr(layer, "params", None)]
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
        # In the order of the layer's own dictionary.
        owner.params = ParameterViews({name: param_view[name] for name in arrays})
        owner.grads = ParameterViews({name: grad_view[name] for name in arrays})
    return params, grads, decayed


def _arrays(layer: _HasParameters) -> dict[str, Array]:
    params = layer.params
    where = f"`params` of {type(layer).__name__}"
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise TypeError(f"{where} must be a dict of names and arrays, got {type(params).__name__}")
    return {
        name: _arguments.array(f"params[{name!r}] of {type(layer).__name__}", params[name]) for name in params
    }
