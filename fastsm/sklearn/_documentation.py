"""What the docstrings of the two estimators share, written once."""

import inspect
from typing import TypeVar

__all__ = ["documented"]

Class = TypeVar("Class", bound=type)

_SCIKIT_LEARNS = """
hidden_layer_sizes : int or sequence of int, default=(100,)
    How many units each hidden layer has. An empty sequence makes a linear model.
activation : str, default="relu"
    What follows each hidden layer: "identity", "logistic", "tanh" and "relu" as in scikit-learn, or
    "leaky_relu", "gelu" or "silu".
solver : {"adam", "sgd", "lbfgs", "adamw", "rmsprop"}, default="adam"
    "sgd" is gradient descent with momentum, "adam" [2]_ adapts its steps to the size of the gradients,
    "adamw" [3]_ is Adam with a weight decay of its own (see `alpha`), and "rmsprop" divides each step by a
    running root mean square of the gradient: all on mini-batches. "lbfgs" [4]_ is a quasi-Newton method on
    all rows, in float64: for small data it often needs less time and finds better weights.
alpha : float, default=0.0001
    Strength of the penalty ``alpha / 2 * |W|^2 / n`` that is added to the mean loss of n rows: of a batch, or
    of all with "lbfgs". W are the weights without the intercepts. With "adamw" each step takes the part
    ``learning_rate * alpha`` off the weights instead.
batch_size : int or "auto", default="auto"
    Rows of a mini-batch; "auto" is ``min(200, n_samples)``.
learning_rate : str or callable, default="constant"
    How the learning rate changes, with any solver but "lbfgs".

    - "constant": it is `learning_rate_init`.
    - "invscaling": ``learning_rate_init / (t_ + 1) ** power_t``, set after each epoch.
    - "adaptive": it is divided by 5 where training would otherwise stop (see `tol`), until it is 1e-6.
    - "cosine": from `learning_rate_init` down to 0 along half a wave of a cosine, over `max_iter` epochs.
    - "warmup_cosine": the same after the first tenth of the steps, which lead up in a straight line.
    - "one_cycle": up to `learning_rate_init` in the first 30 % of the steps, and down again.
    - "step": divided by 10 after each third of the steps.
    - A function of the number of steps done so far, such as the schedules in `fastsm.optim.schedules`, which
      returns the learning rate of the next step; `learning_rate_init` is not used then.
learning_rate_init : float, default=0.001
    The learning rate at the start, or where it is highest.
power_t : float, default=0.5
    The exponent of "invscaling".
max_iter : int, default=200
    The largest number of epochs, or of iterations with "lbfgs".
shuffle : bool, default=True
    Whether each epoch takes the rows in a new random order.
random_state : int, RandomState instance or None, default=None
    Where the initial weights, the order of the rows, the split for early stopping and the masks of dropout
    come from. An int makes every fit give the same result.
tol : float, default=1e-4
    Training ends after more than `n_iter_no_change` epochs in a row without an improvement of the loss by so
    much, or with early stopping of the validation score. For "lbfgs" it is the largest entry of the gradient
    at which to end.
verbose : bool, default=False
    Whether to print the loss of each iteration.
warm_start : bool, default=False
    Whether `fit` goes on from the weights that it came to the last time.
momentum : float, default=0.9
    Of "sgd": how much of a step goes into the next one.
nesterovs_momentum : bool, default=True
    Of "sgd": whether its momentum looks ahead.
early_stopping : bool, default=False
    Whether the validation score decides when to stop, instead of the loss, and which weights to keep: those
    with the best score. The validation data are `X_val` and `y_val` of `fit`, or else a part of the training
    data, which is set aside.
validation_fraction : float, default=0.1
    How large that part is.
beta_1 : float, default=0.9
    Of "adam" and "adamw": how much of the running mean of the gradient is kept from step to step.
beta_2 : float, default=0.999
    Of "adam" and "adamw": the same for the mean of its square, of which "rmsprop" keeps 0.99.
epsilon : float, default=1e-8
    Of "adam", "adamw" and "rmsprop": keeps divisions finite.
n_iter_no_change : int, default=10
    How many epochs without an improvement by `tol` are accepted.
max_fun : int, default=15000
    Of "lbfgs": the largest number of evaluations of the loss.
"""

_FASTSMS = """
dropout : float, default=0.0
    Probability to drop each unit of the hidden layers in training [5]_. Not for "lbfgs".
layer_norm : bool, default=False
    Whether the values of each hidden layer are normalized before its activation [6]_.
clip_norm : float or None, default=None
    The largest norm of the gradient of the loss of a batch, without the penalty; a longer one is shortened to
    it. Not for "lbfgs".
dtype : {"float32", "float64"}, numpy.float32, numpy.float64 or None, default=None
    What is computed in; None is the dtype of `X` if that is float32, otherwise float64.
n_threads : int or None, default=None
    How many threads to use. By default as many as ``OMP_NUM_THREADS`` says in the environment, where joblib
    tells its processes their share; if it says nocls, products of matrices get more than one thread only
    where they are large enough to gain from it.
callbacks : sequence of objects or None, default=None
    Objects with any of the methods ``on_train_begin(run)``, ``on_epoch_begin(run)``, ``on_batch_end(run)``,
    ``on_epoch_end(run)`` and ``on_train_end(run)``: see `fastsm.callbacks`. `run` has ``model``,
    ``optimizer``, ``epoch``, ``step``, ``logs``, ``history`` and ``stop()``. With "lbfgs" an iteration is an
    epoch.
"""

_ATTRIBUTES = """
coefs_ : list of ndarray
    The weights of each layer, shape (n_in, n_out).
intercepts_ : list of ndarray
    The intercepts of each layer, shape (n_out,).
loss_ : float
    The loss of the last epoch, penalty included.
loss_curve_ : list of float
    The loss of each epoch.
best_loss_ : float or None
    The smallest of them; None with early stopping.
validation_loss_curve_ : list of float or None
    The loss on the validation data after each epoch, without penalty and dropout; None without such data.
validation_scores_ : list of float or None
    The score on them, as `score` has it; None without such data.
best_validation_score_ : float or None
    The best of these scores; None without early stopping.
n_iter_ : int
    The number of epochs of the last fit.
t_ : int
    How many rows were trained on, each as often as it was.
n_features_in_ : int
    The number of features.
feature_names_in_ : ndarray of shape (features,)
    Their names, if `X` was a data frame whose columns all have strings as names.
n_layers_ : int
    The number of layers, input and output included.
n_outputs_ : int
    The number of outputs.
"""

_REFERENCES = """
.. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks",
   AISTATS 2010.
.. [2] D. P. Kingma and J. Ba, "Adam: A method for stochastic optimization", ICLR 2015.
.. [3] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
.. [4] R. H. Byrd, P. Lu, J. Nocedal and C. Zhu, "A limited memory algorithm for bound constrained
   optimization", SIAM Journal on Scientific Computing 16, 1995.
.. [5] N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov, "Dropout: a simple way to
   prevent neural networks from overfitting", JMLR 15, 2014.
.. [6] J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016.
"""

_PARTS = {
    "[parameters of scikit-learn's]": _SCIKIT_LEARNS,
    "[parameters of fastsm's own]": _FASTSMS,
    "[attributes]": _ATTRIBUTES,
    "[references]": _REFERENCES,
}


def documented(cls: Class) -> Class:
    """Put the shared parts into the docstring of a class, where their names stand in brackets."""
    if cls.__doc__ is not None:  # as it is with python -OO
        text = inspect.cleandoc(cls.__doc__)
        for name, part in _PARTS.items():
            text = text.replace(name, part.strip())
        cls.__doc__ = f"{text}\n"
    return cls
