"""PyTorch eager: the library's functions, the operators of its autograd, and the formulas by hand."""

import torch

from networks import LEARNING_RATE, Trainer
from timing import Call

from . import ways

CALLED = (
    "Eager, in inference mode, on tensors over the same memory: the library's function with `out=` and in"
    " place, the operators that its autograd runs (`_softmax_backward_data`), and the formulas by hand."
    " Training: `nn.Sequential`, `F.cross_entropy`, `backward()` and `optim.SGD`, both `foreach` and `fused`;"
    " images as float32. Inference: the module and `softmax` in `inference_mode`."
)


def setup(threads):
    """Set the number of threads, and return the version."""
    torch.set_num_threads(threads)
    return torch.__version__


def kernels(cell):
    """Return the library's functions and formulas by hand; any of them may be the fastest."""
    found = []
    for way, function in FUNCTIONS[cell.operation].items():
        if way != "aten operators" or cell.axis == -1:
            found += ways("torch", cell, _bound(cell, function), way, read=read, context=torch.inference_mode)
    return found


def _bound(cell, function):
    axis = cell.axis
    kept = [tensor(array) for array in cell.kept]

    def make(given, out):
        given, out = tensor(given), tensor(out)
        return lambda: function(given, *kept, axis, out)

    return make


def tensor(array):
    """Return an array as a tensor that shares its memory."""
    if array.dtype.name == "bfloat16":  # NumPy itself does not support it
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


def read(returned):
    """Return results as arrays."""
    if isinstance(returned, tuple):
        return tuple(read(value) for value in returned)
    return returned.float().numpy() if returned.dtype == torch.bfloat16 else returned.numpy()


# ---- the operations, into `out`, which may be the first argument


def softmax(x, axis, out):
    return torch.softmax(x, axis, out=out)


def softmax_by_hand(x, axis, out):
    torch.sub(x, torch.amax(x, axis, True), out=out)
    out.exp_()
    return out.mul_(out.sum(axis, True).reciprocal_())


def log_softmax(x, axis, out):
    return torch.log_softmax(x, axis, out=out)


def log_softmax_by_hand(x, axis, out):
    return torch.sub(x, torch.logsumexp(x, axis, True), out=out)


def softmax_vjp(dy, y, axis, out):
    return torch._softmax_backward_data(dy, y, axis, y.dtype, grad_input=out)


def softmax_vjp_by_hand(dy, y, axis, out):
    total = torch.mul(y, dy).sum(axis, True)
    torch.sub(dy, total, out=out)
    return out.mul_(y)


def log_softmax_vjp(dy, log_y, axis, out):
    return torch._log_softmax_backward_data(dy, log_y, axis, log_y.dtype, out=out)


def log_softmax_vjp_by_hand(dy, log_y, axis, out):
    return torch.sub(dy, log_y.exp().mul_(dy.sum(axis, True)), out=out)


def cross_entropy_by_hand(x, targets, axis, out):
    column, rows = targets.unsqueeze(axis), targets.numel()
    torch.log_softmax(x, axis, out=out)
    loss = out.gather(axis, column).mean().neg_()
    out.exp_()
    out.scatter_add_(axis, column, torch.full(column.shape, -1.0, dtype=x.dtype))
    return loss, out.mul_(1 / rows)


def cross_entropy_by_aten(x, targets, axis, out):
    """Call autograd's operators without its bookkeeping; reduction 1 is the mean, and -100 is ignored."""
    log_p = torch._log_softmax(x, -1, False)
    loss, weight = torch.ops.aten.nll_loss_forward(log_p, targets, None, 1, -100)
    one = torch.ones((), dtype=x.dtype)
    d_log_p = torch.ops.aten.nll_loss_backward(one, log_p, targets, None, 1, -100, weight)
    return loss, torch._log_softmax_backward_data(d_log_p, log_p, -1, x.dtype, out=out)


FUNCTIONS = {
    "softmax": {"": softmax, "by hand": softmax_by_hand},
    "log_softmax": {"": log_softmax, "by hand": log_softmax_by_hand},
    "softmax_vjp": {"backward": softmax_vjp, "by hand": softmax_vjp_by_hand},
    "log_softmax_vjp": {"backward": log_softmax_vjp, "by hand": log_softmax_vjp_by_hand},
    "cross_entropy_with_grad": {"by hand": cross_entropy_by_hand, "aten operators": cross_entropy_by_aten},
}


# ---- training


def network_in_torch(network):
    """Return an `nn.Sequential` with the initial weights; it ends in logits."""
    layers = []
    for w, b in network.weights():
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T.copy()))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.ReLU() if network.activation == "relu" else torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


class Eager(Trainer):
    """A loop over batches, as in PyTorch's tutorials."""

    candidate = "torch"

    def __init__(self, task, **options):
        self.way = f"SGD({next(iter(options))})"
        self.batch = task.batch_size
        self.model = network_in_torch(task.network)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE, **options)
        self.x, self.y = torch.from_numpy(task.data.scaled), torch.from_numpy(task.data.labels)

    def epoch(self, order):
        """Train once over all rows."""
        all_rows = torch.from_numpy(order)
        for start in range(0, len(order), self.batch):
            rows = all_rows[start : start + self.batch]
            self.optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(self.model(self.x[rows]), self.y[rows]).backward()
            self.optimizer.step()

    def weights(self):
        """Return the current weights."""
        linear = [layer for layer in self.model if isinstance(layer, torch.nn.Linear)]
        return [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in linear]


def trainers(task):
    """Return a trainer for each way in which the optimizer handles many arrays."""
    return [Eager(task, foreach=True), Eager(task, fused=True)]


def predictors(network, x):
    """Return the call of a module, in inference mode."""
    model, rows = network_in_torch(network), torch.from_numpy(x)
    run = lambda: torch.softmax(model(rows), -1)  # noqa: E731
    return [Call("torch", "inference_mode", run, context=torch.inference_mode)]
