from typing import Any

from numpy.typing import NDArray

def quick(
    operation: int, x: object, y: object, out: object, axis: object, temperature: object, limit: int
) -> Any: ...
def quick_cross_entropy(
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
    limit: int,
) -> Any: ...
def apply(
    operation: int,
    x: NDArray[Any],
    y: NDArray[Any] | None,
    out: NDArray[Any],
    axis: int,
    scale: float,
    first: int,
    last: int,
) -> bool: ...
def cross_entropy(
    logits: NDArray[Any],
    targets: NDArray[Any],
    is_index: bool,
    grad: NDArray[Any] | None,
    losses: NDArray[Any],
    axis: int,
    class_weight: NDArray[Any] | None,
    sample_weight: NDArray[Any] | None,
    ignore_index: int | None,
    smoothing: float,
    scale: float,
    gradient_scale: float,
    first: int,
    last: int,
) -> int | None: ...
def check_labels(
    labels: NDArray[Any],
    classes: int,
    ignore_index: int | None,
    class_weight: NDArray[Any] | None,
    sample_weight: NDArray[Any] | None,
) -> tuple[int, float]: ...
def total(values: NDArray[Any]) -> float: ...
def cpu_instruction_sets() -> tuple[str, ...]: ...
