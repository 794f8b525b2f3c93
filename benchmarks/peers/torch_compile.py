"""PyTorch compiled: the functions and formulas through ``torch.compile``, for each shape separately."""

import torch
import torch.nn.functional as F

from networks import LEARNING_RATE, Trainer
from timing import Call

from .torch import network_in_torch, read, tensor

CALLED = (
    "`torch.compile(dynamic=False)` of the function or formula, compiled for each shape before it is timed,"
    " in inference mode; allocating its result, and copying it into an output, which the compiler may fuse."
    " As each takes seconds to compile, only for rows of float32 logits of the usual kind, on one thread."
    " Training: the whole step with `fullgraph=True`: gathering, forward, loss, gradients (`torch.func`) and"
    " the update in place; whole batches only. Inference: network and softmax in `inference_mode`, also with"
    " `freezing`. It needs a C++ compiler."
)
_is_single = True


def setup(threads):
    """Set the number of threads, when computing and when compiling, and return the version."""
    import torch._inductor.config as inductor

    global _is_single
    _is_single = threads == 1
    torch.set_num_threads(threads)
    inductor.compile_threads = 1
    return torch.__version__


def kernels(cell):
    """Return the compiled ways; they are compiled by their first call."""
    if not _is_single or (cell.dtype, cell.axis, cell.logits) != ("float32", -1, "usual"):
        return []
    torch.compiler.reset()  # functions compiled for other cells would count against a limit
    function = FUNCTIONS[cell.operation]
    given, out, *kept = (tensor(array) for array in (cell.given, cell.out, *cell.kept))
    compiled = torch.compile(function, dynamic=False)
    found = [_call("allocating", lambda: compiled(given, *kept))]
    if cell.operation != "cross_entropy_with_grad":
        into = torch.compile(lambda out, *arguments: out.copy_(function(*arguments)), dynamic=False)
        found.append(_call("out.copy_", lambda: into(out, given, *kept)))
    return found


def _call(way, run):
    return Call("torch.compile", way, run, read=read, context=torch.inference_mode)


def softmax_vjp(dy, y):
    return y * (dy - (y * dy).sum(-1, True))


def log_softmax_vjp(dy, log_y):
    return dy - log_y.exp() * dy.sum(-1, True)


def cross_entropy_with_grad(x, targets):
    log_p = torch.log_softmax(x, -1)
    is_target = F.one_hot(targets, x.shape[-1])
    loss = -log_p.gather(-1, targets.unsqueeze(-1)).mean()
    return loss, (log_p.exp() - is_target) * (1 / targets.numel())


FUNCTIONS = {
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "softmax_vjp": softmax_vjp,
    "log_softmax_vjp": log_softmax_vjp,
    "cross_entropy_with_grad": cross_entropy_with_grad,
}


class Compiled(Trainer):
    """One compiled function per batch."""

    candidate, way = "torch.compile", "whole step"

    def __init__(self, task):
        self.batch = task.batch_size
        self.x, self.y = torch.from_numpy(task.data.scaled), torch.from_numpy(task.data.labels)
        self.layers = [(torch.from_numpy(w.T.copy()), torch.from_numpy(b)) for w, b in task.network.weights()]
        activation = torch.relu if task.network.activation == "relu" else torch.tanh

        def loss(layers, x, y):
            for w, b in layers[:-1]:
                x = activation(F.linear(x, w, b))
            return F.cross_entropy(F.linear(x, *layers[-1]), y)

        def step(layers, x, y, rows):
            grads = torch.func.grad(loss)(layers, x[rows], y[rows])
            for values, changes in zip(layers, grads, strict=True):
                for value, change in zip(values, changes, strict=True):
                    value.sub_(change, alpha=LEARNING_RATE)

        self.step = torch.compile(step, fullgraph=True, dynamic=False)

    def epoch(self, order):
        """Train once over all rows except a last, smaller batch."""
        all_rows = torch.from_numpy(order)
        with torch.no_grad():
            for start in range(0, len(order) - self.batch + 1, self.batch):
                self.step(self.layers, self.x, self.y, all_rows[start : start + self.batch])

    def weights(self):
        """Return the current weights."""
        return [(w.numpy().T, b.numpy()) for w, b in self.layers]


def trainers(task):
    """Return the compiled step."""
    # Each task compiles functions of the same code: without this the compiler would give up after some.
    torch.compiler.reset()
    return [Compiled(task)]


def predictors(network, x):
    """Return the compiled network, with its weights as arguments and as constants."""
    torch.compiler.reset()
    model = torch.nn.Sequential(network_in_torch(network), torch.nn.Softmax(-1)).eval()
    rows = torch.from_numpy(x)
    compiled = torch.compile(model, fullgraph=True, dynamic=False)
    frozen = torch.compile(model, fullgraph=True, dynamic=False, options={"freezing": True})
    return [_call("compiled", lambda: compiled(rows)), _call("frozen", lambda: frozen(rows))]
