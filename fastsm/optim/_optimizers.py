"""The optimizers, whose steps are one pass of a kernel over parameters, gradient and state."""

from __future__ import annotations

from typing import ClassVar

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.optim._base import LearningRate, Optimizer
from fastsm.typing import Array

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]


class _WithMomentum(Optimizer):
    """An optimizer that keeps a velocity while its momentum is above 0."""

    @property
    def momentum(self) -> float:
        """The part of the velocity that is kept from step to step."""
        return self._momentum

    @momentum.setter
    def momentum(self, value: float) -> None:
        # The estimators set 1, as scikit-learn allows it.
        self._momentum = _arguments.at_least_0("momentum", value)
        if self.state:  # at once, as it may be saved before the next step
            self._complete_state(next(iter(self.state.values())))
        self._params = None  # the next step checks the arrays again


class SGD(_WithMomentum):
    r"""Stochastic gradient descent, with optional momentum.

    With the gradient :math:`g`, the learning rate :math:`\eta`, the momentum :math:`\mu` and the weight decay
    :math:`\lambda`, as in ``torch.optim.SGD`` [1]_ [2]_:

    .. math:: g \leftarrow g + \lambda w, \quad v \leftarrow \mu v + g, \quad w \leftarrow w - \eta v

    and with Nesterov's momentum :math:`w \leftarrow w - \eta (g + \mu v)`.

    Parameters
    ----------
    lr : float or callable, default 0.01
        The learning rate, or a schedule of it: see `fastsm.optim.schedules`.
    momentum : float, default 0.0
        At least 0 and below 1.
    nesterov : bool, default False
        Whether to use Nesterov's momentum; `momentum` must be above 0.
    weight_decay : float, default 0.0
        The factor of the parameters that is added to their gradient (the penalty :math:`\lambda |w|^2 / 2`).
    decay_biases : bool, default True
        False: only weights decay, not biases and gains.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    References
    ----------
    .. [1] H. Robbins and S. Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22,
       1951.
    .. [2] I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of initialization and momentum
       in deep learning", ICML 2013, equations 1 to 4 (with the learning rate taken out of the velocity).

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import optim
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = optim.SGD(0.1, momentum=0.9)
    >>> for _ in range(200):
    ...     optimizer.step(w, 2 * w)  # the gradient of w @ w
    >>> bool(abs(w).max() < 1e-3)
    True
    """

    _options: ClassVar[tuple[str, ...]] = ("lr", "momentum", "nesterov", "weight_decay", "decay_biases")

    def __init__(
        self,
        lr: LearningRate = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_biases: bool = True,
    ) -> None:
        super().__init__(lr, weight_decay, decay_biases)
        self.momentum = _arguments.below_1("momentum", momentum)
        self.nesterov = _arguments.flag("nesterov", nesterov)
        if self.nesterov and self.momentum == 0:
            raise ValueError("`momentum` must be above 0 with nesterov=True, got 0")

    def state_names(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    def update(self, *arrays: Array, rate: float, decay: float, scale: float) -> None:
        params, grads, *state = arrays
        velocity = state[0] if state else None
        kernels.sgd(params, grads, velocity, rate, self.momentum, self.nesterov, decay, scale)


class RMSprop(_WithMomentum):
    r"""Gradient descent divided by a running root mean square of the gradient.

    With the decay :math:`\alpha`, as in ``torch.optim.RMSprop`` [1]_:

    .. math:: g \leftarrow g + \lambda w, \quad s \leftarrow \alpha s + (1 - \alpha) g^2, \quad
              u = g / (\sqrt{s} + \epsilon), \quad v \leftarrow \mu v + u, \quad w \leftarrow w - \eta v

    Parameters
    ----------
    lr : float or callable, default 1e-3
        The learning rate, or a schedule of it.
    decay : float, default 0.99
        The part of the mean square that is kept from step to step, at least 0 and below 1.
    momentum : float, default 0.0
        At least 0 and below 1.
    epsilon : float, default 1e-8
        Keeps the division finite.
    weight_decay : float, default 0.0
        The factor of the parameters that is added to their gradient.
    decay_biases : bool, default True
        False: only weights decay, not biases and gains.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    References
    ----------
    .. [1] T. Tieleman and G. Hinton, "Lecture 6.5 - RMSProp", COURSERA: Neural Networks for Machine Learning,
       2012.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import optim
    >>> w = np.array([1.0, -2.0])
    >>> optim.RMSprop(0.1, decay=0.75).step(w, 2 * w)
    >>> w  # each moves by lr / sqrt(1 - decay), for a gradient of any size
    array([ 0.8, -1.8])
    """

    _options: ClassVar[tuple[str, ...]] = (
        "lr", "decay", "momentum", "epsilon", "weight_decay", "decay_biases",
    )  # fmt: skip

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        *,
        decay: float = 0.99,
        momentum: float = 0.0,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decay_biases: bool = True,
    ) -> None:
        super().__init__(lr, weight_decay, decay_biases)
        self.decay = _arguments.below_1("decay", decay)
        self.momentum = _arguments.below_1("momentum", momentum)
        self.epsilon = _arguments.above_0("epsilon", epsilon)

    def state_names(self) -> tuple[str, ...]:
        return ("square", "velocity") if self.momentum else ("square",)

    def update(self, *arrays: Array, rate: float, decay: float, scale: float) -> None:
        params, grads, square, *rest = arrays
        velocity = rest[0] if rest else None
        kernels.rmsprop(
            params, grads, square, velocity, rate, self.decay, self.momentum, self.epsilon, decay, scale
        )


class Adam(Optimizer):
    r"""Gradient descent by running means of the gradient and of its square, corrected for their start at 0.

    At step :math:`t`, counted from 1, as in ``torch.optim.Adam`` [1]_:

    .. math:: g \leftarrow g + \lambda w, \quad m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
              s \leftarrow \beta_2 s + (1 - \beta_2) g^2

    .. math:: w \leftarrow w - \eta \, \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr : float or callable, default 1e-3
        The learning rate, or a schedule of it.
    betas : tuple of two floats, default (0.9, 0.999)
        The parts of the two means that are kept from step to step, each at least 0 and below 1.
    epsilon : float, default 1e-8
        Keeps the division finite.
    weight_decay : float, default 0.0
        The factor of the parameters that is added to their gradient. `AdamW` shrinks them instead.
    decay_biases : bool, default True
        False: only weights decay, not biases and gains.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: A method for stochastic optimization", ICLR 2015, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import optim
    >>> w = np.array([1.0, -2.0])
    >>> optim.Adam(0.1).step(w, 2 * w)
    >>> w.round(6)  # the first step moves each by lr, for a gradient of any size
    array([ 0.9, -1.9])
    """

    _options: ClassVar[tuple[str, ...]] = ("lr", "betas", "epsilon", "weight_decay", "decay_biases")
    _decoupled: ClassVar[bool] = False

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decay_biases: bool = True,
    ) -> None:
        super().__init__(lr, weight_decay, decay_biases)
        if not isinstance(betas, (tuple, list)):
            raise TypeError(f"`betas` must be two numbers, got {_arguments.shown(betas)}")
        if len(betas) != 2:
            raise ValueError(f"`betas` must be two numbers, got {len(betas)}")
        self.betas = _arguments.below_1("betas[0]", betas[0]), _arguments.below_1("betas[1]", betas[1])
        self.epsilon = _arguments.above_0("epsilon", epsilon)

    def state_names(self) -> tuple[str, ...]:
        return ("mean", "square")

    def update(self, *arrays: Array, rate: float, decay: float, scale: float) -> None:
        params, grads, mean, square = arrays
        beta1, beta2 = self.betas
        kernels.adam(
            params, grads, mean, square, rate, beta1, beta2, self.epsilon, decay, self._decoupled,
            self.steps + 1, scale,
        )  # fmt: skip


class AdamW(Adam):
    r"""Adam with decoupled weight decay: parameters shrink directly, not through the gradient.

    The step is that of `Adam` with :math:`\lambda = 0`, after :math:`w \leftarrow w - \eta \lambda w` (as in
    ``torch.optim.AdamW``) [1]_.

    Parameters
    ----------
    lr : float or callable, default 1e-3
        The learning rate, or a schedule of it.
    betas : tuple of two floats, default (0.9, 0.999)
        The parts of the two means that are kept from step to step, each at least 0 and below 1.
    epsilon : float, default 1e-8
        Keeps the division finite.
    weight_decay : float, default 1e-2
        Each step subtracts this factor, times the learning rate, times the parameters.
    decay_biases : bool, default True
        False: only weights decay, not biases and gains.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import optim
    >>> w = np.array([1.0, -2.0])
    >>> optim.AdamW(0.1, weight_decay=0.5).step(w, np.zeros(2))
    >>> w  # the decay alone
    array([ 0.95, -1.9 ])
    """

    _decoupled: ClassVar[bool] = True

    def __init__(
        self,
        lr: LearningRate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 1e-2,
        decay_biases: bool = True,
    ) -> None:
        super().__init__(
            lr, betas=betas, epsilon=epsilon, weight_decay=weight_decay, decay_biases=decay_biases
        )


#: Optimizers by name, for `fit`, the command and the estimators.
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": AdamW}
