from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOFTMAX: int
LOG_SOFTMAX: int
LOGSUMEXP: int
SOFTMAX_VJP: int
LOG_SOFTMAX_VJP: int
LEAST_WEIGHT: float
LARGE_PRODUCT: int

def try_plain(
    operation: int,
    x: object,
    y: object,
    out: object,
    axis: object,
    temperature: object,
    keepdims: bool,
    num_threads: object,
) -> Any: ...
def try_plain_cross_entropy(
    logits: object,
    targets: object,
    out: object,
    with_grad: bool,
    axis: object,
    class_weight: object,
    sample_weight: object,
    ignore_index: object,
    label_smoothing: object,
    temperature: object,
    reduction: object,
    num_threads: object,
) -> Any: ...
def takes_layout(x: NDArray[Any], axis: int) -> bool: ...
def compute_rows(
    operation: int,
    x: NDArray[Any],
    y: NDArray[Any] | None,
    out: NDArray[Any],
    axis: int,
    scale: float,
    threads: int,
) -> bool: ...
def cross_entropy(
    logits: NDArray[Any],
    targets: NDArray[Any],
    grad: NDArray[Any] | None,
    losses: NDArray[Any],
    axis: int,
    class_weight: NDArray[Any] | None,
    sample_weight: NDArray[Any] | None,
    ignore_index: int | None,
    smoothing: float,
    scale: float,
    gradient_scale: float,
    threads: int,
) -> int | None: ...
def check_labels(
    labels: NDArray[Any],
    classes: int,
    ignore_index: int | None,
    class_weight: NDArray[Any] | None,
    sample_weight: NDArray[Any] | None,
) -> tuple[int, float]: ...
def sum_of(values: NDArray[Any]) -> float: ...
def cpu_instruction_sets() -> tuple[str, ...]: ...

FAST_DENSE: bool
ACTIVATIONS: dict[str, int]

def add_bias(z: NDArray[Any], bias: NDArray[Any]) -> None: ...
def column_sums(x: NDArray[Any], out: NDArray[Any]) -> None: ...
def activate(kind: int, x: NDArray[Any], out: NDArray[Any], slope: float) -> None: ...
def activate_vjp(
    kind: int, saved: NDArray[Any], dy: NDArray[Any], out: NDArray[Any], slope: float
) -> None: ...
def dropout(x: NDArray[Any], out: NDArray[Any], probability: float, seed: int, first: int) -> None: ...
def layer_norm(
    x: NDArray[Any],
    gain: NDArray[Any],
    bias: NDArray[Any],
    epsilon: float,
    out: NDArray[Any],
    mean: NDArray[Any],
    inverse_deviation: NDArray[Any],
) -> None: ...
def layer_norm_vjp(
    x: NDArray[Any],
    gain: NDArray[Any],
    mean: NDArray[Any],
    inverse_deviation: NDArray[Any],
    dy: NDArray[Any],
    dx: NDArray[Any],
    d_gain: NDArray[Any],
    d_bias: NDArray[Any],
) -> None: ...
def sgd(
    params: NDArray[Any],
    grads: NDArray[Any],
    velocity: NDArray[Any] | None,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    scale: float,
) -> None: ...
def rmsprop(
    params: NDArray[Any],
    grads: NDArray[Any],
    square: NDArray[Any],
    velocity: NDArray[Any] | None,
    learning_rate: float,
    decay: float,
    momentum: float,
    epsilon: float,
    weight_decay: float,
    scale: float,
) -> None: ...
def adam(
    params: NDArray[Any],
    grads: NDArray[Any],
    mean: NDArray[Any],
    square: NDArray[Any],
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    decoupled: bool,
    step: float,
    scale: float,
) -> None: ...
def fill_where_not(x: NDArray[Any], kept: NDArray[np.bool_], value: float) -> None: ...
def sum_of_squares(x: NDArray[Any]) -> float: ...
def widen_halves(halves: NDArray[np.uint16], out: NDArray[np.float32], bfloat: bool) -> None: ...
def narrow_halves(x: NDArray[np.float32], out: NDArray[np.uint16], bfloat: bool) -> None: ...
def gather(x: NDArray[Any], indices: NDArray[np.int64], out: NDArray[Any], scale: float) -> None: ...
def dense(
    left: NDArray[Any],
    right: NDArray[Any],
    bias: NDArray[Any] | None,
    out: NDArray[Any],
    left_transposed: bool = False,
    right_transposed: bool = False,
) -> None: ...
def help_team(ready: Callable[[], object]) -> None: ...
def set_team(threads: int, start: Callable[[int], bool] | None, least_work: int = ...) -> None: ...
def forget_team() -> None: ...
def team_size() -> int: ...
