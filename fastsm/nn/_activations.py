"""Activations: functions of each element alone, so their Jacobian is diagonal."""

from __future__ import annotations

import numpy as np

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.nn._layer import Layer
from fastsm.typing import Array, Config

__all__ = ["GELU", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Tanh"]


class _FromOutput(Layer):
    """An activation whose derivative is a function of its output, so that it may overwrite its input."""

    keeps_output = True
    #: The number of the function in the kernels.
    kind: int
    slope = 0.0

    def _forward(self, x: Array, training: bool, reuse: bool) -> Array:
        y = x if reuse else self._output.like(x)
        kernels.activate(self.kind, x, y, self.slope)
        self._saved = y
        return y

    def _infer(self, x: Array, reuse: bool) -> Array:
        y = x if reuse else np.empty_like(x)
        kernels.activate(self.kind, x, y, self.slope)
        return y

    def _backward(self, dy: Array, input_grad: bool, reuse: bool) -> Array | None:
        # y_i depends on x_i alone: dL/dx_i = dL/dy_i f'(x_i)
        if not input_grad:
            return None
        dx = dy if reuse else self._input_gradient.like(dy)
        kernels.activate_vjp(self.kind, self._saved, dy, dx, self.slope)
        return dx


class _FromInput(_FromOutput):
    """An activation that is not monotonic: its derivative is a function of its input only."""

    keeps_output = False

    def _forward(self, x: Array, training: bool, reuse: bool) -> Array:
        y = self._output.like(x)
        kernels.activate(self.kind, x, y, self.slope)
        self._saved = x
        return y


class ReLU(_FromOutput):
    r"""Rectifier: ``y = max(x, 0)``, element by element.

    Input and output have the same shape.

    Notes
    -----
    ``dx = dy * (y > 0)``, from the *output* [1]_. At 0 the derivative is taken as 0. NaN stays NaN.

    References
    ----------
    .. [1] V. Nair and G. E. Hinton, "Rectified linear units improve restricted Boltzmann machines",
       ICML 2010.

    Examples
    --------
    >>> from fastsm import nn
    >>> layer = nn.ReLU()
    >>> layer.forward([[-1.0, 0.0, 2.0]])
    array([[0., 0., 2.]])
    >>> layer.backward([[10.0, 10.0, 10.0]])
    array([[ 0.,  0., 10.]])
    """

    kind = kernels.ACTIVATIONS["relu"]


class LeakyReLU(_FromOutput):
    r"""Rectifier that scales negative numbers down: ``y = x if x > 0 else slope * x``.

    Input and output have the same shape.

    Parameters
    ----------
    slope : float, default 0.01
        At least 0 and finite. (A negative slope would hide the sign of the input in the output.)

    Raises
    ------
    TypeError, ValueError
        If `slope` is not such a number.

    Notes
    -----
    ``dx = dy * (1 if y > 0 else slope)``, from the *output* [1]_.

    References
    ----------
    .. [1] A. L. Maas, A. Y. Hannun and A. Y. Ng, "Rectifier nonlinearities improve neural network acoustic
       models", ICML 2013.

    Examples
    --------
    >>> from fastsm import nn
    >>> layer = nn.LeakyReLU(0.1)
    >>> layer.forward([[-1.0, 2.0]])
    array([[-0.1,  2. ]])
    >>> layer.backward([[10.0, 10.0]])
    array([[ 1., 10.]])
    """

    kind = kernels.ACTIVATIONS["leaky_relu"]

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = _arguments.at_least_0("slope", slope)

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON."""
        return {"slope": self.slope}


class Tanh(_FromOutput):
    r"""Hyperbolic tangent, element by element.

    Input and output have the same shape.

    Notes
    -----
    ``dx = dy * (1 - y**2)``, from the *output* [1]_.

    References
    ----------
    .. [1] Y. LeCun, L. Bottou, G. B. Orr and K.-R. Mueller, "Efficient BackProp", 1998, section 4.4.

    Examples
    --------
    >>> from fastsm import nn
    >>> layer = nn.Tanh()
    >>> layer.forward([[0.0, 1.0]]).round(4)
    array([[0.    , 0.7616]])
    >>> layer.backward([[1.0, 1.0]]).round(4)
    array([[1.  , 0.42]])
    """

    kind = kernels.ACTIVATIONS["tanh"]


class Sigmoid(_FromOutput):
    r"""Logistic function, element by element: ``y = 1 / (1 + exp(-x))``.

    Input and output have the same shape. As the last layer it emits independent probabilities.

    Notes
    -----
    ``dx = dy * y * (1 - y)``, from the *output* [1]_: softmax's Jacobian reduced to its diagonal.

    References
    ----------
    .. [1] D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by back-propagating
       errors", Nature 323, 1986.

    Examples
    --------
    >>> from fastsm import nn
    >>> layer = nn.Sigmoid()
    >>> layer.forward([[0.0, 1.0]]).round(4)
    array([[0.5   , 0.7311]])
    >>> layer.backward([[1.0, 1.0]]).round(4)
    array([[0.25  , 0.1966]])
    """

    emits = "probs"
    kind = kernels.ACTIVATIONS["sigmoid"]


class GELU(_FromInput):
    r"""Gaussian error linear unit, exact: ``y = x * Phi(x)`` with the normal distribution's function Phi.

    Input and output have the same shape.

    Notes
    -----
    ``dx = dy * (Phi(x) + x * phi(x))``, with the normal density phi [1]_. The function falls before it
    rises, so its output does not determine its derivative: the *input* is kept.

    References
    ----------
    .. [1] D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.

    Examples
    --------
    >>> from fastsm import nn
    >>> layer = nn.GELU()
    >>> layer.forward([[-1.0, 1.0]]).round(4)
    array([[-0.1587,  0.8413]])
    >>> layer.backward([[1.0, 1.0]]).round(4)
    array([[-0.0833,  1.0833]])
    """

    kind = kernels.ACTIVATIONS["gelu"]


class SiLU(_FromInput):
    r"""Sigmoid-weighted linear unit, also called swish: ``y = x * sigmoid(x)``.

    Input and output have the same shape.

    Notes
    -----
    ``dx = dy * s * (1 + x * (1 - s))`` with ``s = sigmoid(x)`` [1]_. The function falls before it rises, so
    its output does not determine its derivative: the *input* is kept.

    References
    ----------
    .. [1] S. Elfwing, E. Uchibe and K. Doya, "Sigmoid-weighted linear units for neural network function
       approximation in reinforcement learning", Neural Networks 107, 2018, equations 6 and 7.

    Examples
    --------
    >>> from fastsm import nn
    >>> layer = nn.SiLU()
    >>> layer.forward([[-1.0, 1.0]]).round(4)
    array([[-0.2689,  0.7311]])
    >>> layer.backward([[1.0, 1.0]]).round(4)
    array([[0.0723, 0.9277]])
    """

    kind = kernels.ACTIVATIONS["silu"]


#: Activations by name, for `fastsm.nn.MLP`, the command and the estimators.
ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "gelu": GELU,
    "silu": SiLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
}
