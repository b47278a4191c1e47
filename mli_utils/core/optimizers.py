"""Gradients and optimizers of many networks at once.

A gradient takes stacked `params`, one batch per network, buffers `into` shaped like the parameters, and a factor
`keep`. It sets `into` to keep · into + ∂loss/∂params, where loss is each network's mean cross-entropy. SGD passes its
velocity as `into` and its momentum as `keep`, which saves a buffer for weight gradients; so an optimizer calls
`gradient(into, keep)` itself. Learning rate and weight decay may differ between networks. A gradient's `errors`
(stack, samples, classes) are ∂loss/∂logits of its last batch.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch.nn.functional import cross_entropy

from mli_utils.core.config import RunConfig
from mli_utils.core.networks import Network, Scratch, affine, weights_and_biases
from mli_utils.core.parameters import Params

threshold_backward = torch.ops.aten.threshold_backward  # ReLU gradient: zero where the activation is zero
Gradient = Callable[[Params, torch.Tensor, torch.Tensor, Sequence[torch.Tensor], float], None]


def gradient_of(model: Network, smoothing: float = 0.0) -> "ByHand | Autograd":
    """Return the gradient of a network's loss: manual backpropagation for a `dense` network, else autograd.

    `smoothing` is the label smoothing, as in `cross_entropy`.
    """
    return ByHand(smoothing) if model.dense else Autograd(model, smoothing)


def freezing_output_bias(gradient: Gradient, networks: torch.Tensor) -> Gradient:
    """Wrap a gradient to zero the output bias's buffer, momentum included, where `networks` (stack,) is true."""

    def of_the_rest(params, images, labels, into, keep):
        gradient(params, images, labels, into, keep)
        into[-1][networks] = 0

    return of_the_rest


class Autograd:
    """PyTorch's gradient; on a GPU with matrix products in bfloat16, parameters and sums in float32."""

    precision = {"cuda": torch.bfloat16}

    def __init__(self, model: Network, smoothing: float = 0.0):
        self.model, self.smoothing = model, smoothing
        self.errors = torch.empty(0)

    def __call__(self, params, images, labels, into, keep):
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        reduced = self.precision.get(images.device.type)
        with torch.autocast(images.device.type, reduced, enabled=reduced is not None):
            logits = self.model.logits(leaves, images).to(images.dtype)
        # Summing over networks keeps each network's gradient independent of the others.
        loss = cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="sum", label_smoothing=self.smoothing
        ) / len(labels.T)
        *gradients, self.errors = torch.autograd.grad(loss, [*leaves.values(), logits])
        for kept, gradient in zip(into, gradients, strict=True):
            kept.mul_(keep).add_(gradient) if keep else kept.copy_(gradient)


class ByHand:
    """Backpropagation through an `FCN`: three matrix products per layer, in buffers reused at every step.

    Autograd takes twice the time: it writes every weight gradient transposed, and into new memory.
    """

    def __init__(self, smoothing: float = 0.0):
        self.scratch, self.smoothing = Scratch(), smoothing
        self.errors = torch.empty(0)

    @torch.no_grad()
    def __call__(self, params, images, labels, into, keep):
        into = dict(zip(params, into, strict=True))
        layers = weights_and_biases(params)
        signals = [images.flatten(2)]  # inputs of each layer, then the logits: (stack, samples, units)
        for i, (weight, bias) in enumerate(layers):
            out = self.scratch(i, weight, *signals[i].shape[:2], weight.shape[1])
            affine(signals[i], weight, bias, out)
            signals.append(out.relu_() if i < len(layers) - 1 else out)
        self.errors = errors = _logit_errors(signals.pop(), labels, self.smoothing)
        for i in reversed(range(len(layers))):
            weight, bias = f"layers.{i}.weight", f"layers.{i}.bias"
            if i < len(layers) - 1:
                into[weight].baddbmm_(errors.mT, signals[i], beta=keep)
            else:  # transposed, into memory in order: otherwise, with so few classes, last bits depend on the threads
                product = self.scratch("transposed", errors, len(errors), signals[i].shape[2], errors.shape[2])
                torch.bmm(signals[i].mT, errors, out=product)
                into[weight].mul_(keep).add_(product.mT) if keep else into[weight].copy_(product.mT)
            if bias in into:
                into[bias].mul_(keep).add_(errors.sum(1)) if keep else torch.sum(errors, 1, out=into[bias])
            if i:
                below = self.scratch(("error", i % 2), errors, *signals[i].shape)
                torch.bmm(errors, params[weight], out=below)
                errors = threshold_backward.grad_input(below, signals[i], 0, grad_input=below)


def _logit_errors(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Compute ∂loss/∂logits, (stack, samples, classes).

    Classes come before samples in memory, since softmax along such short rows takes ten times as long. Softmax is
    written out because the last bits of PyTorch's depend on the stack size.
    """
    errors = logits.mT.contiguous()
    errors.sub_(errors.amax(1, keepdim=True)).exp_()
    errors.div_(errors.sum(1, keepdim=True))
    answer = errors.new_full((1, 1, 1), smoothing - 1).expand(len(labels), 1, labels.shape[1])
    errors.scatter_add_(1, labels.unsqueeze(1), answer)
    if smoothing:
        errors.sub_(smoothing / errors.shape[1])
    return errors.mT.contiguous().div_(labels.shape[1])


class Momentum:
    """SGD with momentum and weight decay, as `torch.optim.SGD`."""

    buffers = ("velocity",)  # attributes to checkpoint: lists of tensors shaped like the parameters

    def __init__(self, params: Params, configs: Sequence[RunConfig]):
        self.rate, self.decay = _settings(params, configs, "lr", "weight_decay")
        self.decays = bool(self.decay.any())
        self.momentum, self.longest = _shared(configs, "momentum"), _shared(configs, "clip")
        self.steps = 0
        self.velocity = _zeros(params)
        self.gradients = _zeros(params) if self.longest else []
        self.scale: torch.Tensor | None = None  # (stack,), factors of the last clipping

    def step(self, params: Params, gradient: Callable, of_lr: float = 1.0) -> None:
        """Update `params` in place with `of_lr` times each network's learning rate."""
        self.steps += 1
        if self.longest:
            gradient(self.gradients, 0.0)
            self.scale = clip(self.gradients, self.longest)
            for velocity, clipped in zip(self.velocity, self.gradients, strict=True):
                velocity.mul_(self.momentum).add_(clipped)
        else:
            gradient(self.velocity, self.momentum)
        for value, velocity in zip(params.values(), self.velocity, strict=True):
            if self.decays:
                velocity.addcmul_(value, _along(self.decay, value))
            value.addcmul_(velocity, _along(self.rate, value), value=-of_lr)

    def select(self, runs: list[int]) -> None:
        """Drop all runs of the stack but these."""
        self.rate, self.decay = self.rate[runs], self.decay[runs]
        self.velocity = [velocity[runs] for velocity in self.velocity]
        self.gradients = [gradient[: len(runs)] for gradient in self.gradients]


class Adam:
    """Adam with weight decay added to the gradient, as `torch.optim.Adam`."""

    betas, epsilon = (0.9, 0.999), 1e-8
    buffers = ("means", "squares")

    def __init__(self, params: Params, configs: Sequence[RunConfig]):
        self.rate, self.decay = _settings(params, configs, "lr", "weight_decay")
        self.decays = bool(self.decay.any())
        self.longest = _shared(configs, "clip")
        self.gradients, self.means, self.squares = _zeros(params), _zeros(params), _zeros(params)
        self.steps = 0
        self.scale: torch.Tensor | None = None  # (stack,), factors of the last clipping

    def step(self, params: Params, gradient: Callable, of_lr: float = 1.0) -> None:
        """Update `params` in place with `of_lr` times each network's learning rate."""
        gradient(self.gradients, 0.0)
        if self.longest:
            self.scale = clip(self.gradients, self.longest)
        self.steps += 1
        unbias_mean, unbias_square = (1 - beta**self.steps for beta in self.betas)
        for value, slope, mean, square in zip(params.values(), self.gradients, self.means, self.squares, strict=True):
            if self.decays:
                slope.addcmul_(value, _along(self.decay, value))
            mean.lerp_(slope, 1 - self.betas[0])
            square.mul_(self.betas[1]).addcmul_(slope, slope, value=1 - self.betas[1])
            scale = (square / unbias_square).sqrt_().add_(self.epsilon)
            value.addcdiv_(mean * _along(self.rate, value), scale, value=-of_lr / unbias_mean)

    def select(self, runs: list[int]) -> None:
        """Drop all runs of the stack but these."""
        self.rate, self.decay = self.rate[runs], self.decay[runs]
        self.means = [mean[runs] for mean in self.means]
        self.squares = [square[runs] for square in self.squares]
        self.gradients = [gradient[: len(runs)] for gradient in self.gradients]


class Replayed:
    """Steps of SGD for one network on a GPU, replayed from a CUDA graph, because launching kernel after kernel is slow.

    The first steps run as usual and warm up; then one is recorded. A batch of another size, an epoch's last, runs as
    usual, too.
    """

    warm_up = 3

    def __init__(self, optimizer: Momentum, params: Params, gradient: Gradient, images, labels):
        self.optimizer, self.params, self.gradient = optimizer, params, gradient
        self.images, self.labels = images, labels
        self.rate, self.aside = optimizer.rate.clone(), torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch = torch.empty(0)
        self.taken = 0  # steps in this process, in which a resumed run has to warm up, too

    def __call__(self, batch: torch.Tensor, of_lr: float) -> None:
        """Take a step on these images (1, samples) with `of_lr` times the learning rate."""
        torch.mul(self.rate, of_lr, out=self.optimizer.rate)
        if self.graph is None and self.taken >= self.warm_up:
            self._record(batch)
        if self.graph is not None and batch.shape == self.batch.shape:
            self.batch.copy_(batch)
            self.graph.replay()
            self.optimizer.steps += 1
            return
        self.taken += 1
        self.aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.aside):
            self._step(batch)
        torch.cuda.current_stream().wait_stream(self.aside)

    def _record(self, batch: torch.Tensor) -> None:
        """Record a step, without taking it."""
        self.batch, self.graph = batch.clone(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self._step(self.batch)
        self.optimizer.steps -= 1

    def _step(self, batch: torch.Tensor) -> None:
        gradient = partial(self.gradient, self.params, self.images[batch], self.labels[batch])
        self.optimizer.step(self.params, gradient)


OPTIMIZERS: dict[str, type[Momentum | Adam]] = {"sgd": Momentum, "adam": Adam}

# Learning-rate factors, where `done` is the fraction of training done.
SCHEDULES = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


def clip(gradients: Sequence[torch.Tensor], longest: float) -> torch.Tensor:
    """Scale each network's whole gradient down to norm `longest` where it exceeds it, as `clip_grad_norm_`.

    Returns the factors (stack,).
    """
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    scale = (longest / (norms + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(_along(scale, gradient))
    return scale


def _settings(params: Params, configs: Sequence[RunConfig], *names: str) -> list[torch.Tensor]:
    like = next(iter(params.values()))
    return [like.new_tensor([getattr(config, name) for config in configs]) for name in names]


def _shared(configs: Sequence[RunConfig], name: str) -> float:
    (value,) = {getattr(config, name) for config in configs}
    return value


def _zeros(params: Params) -> list[torch.Tensor]:
    return [torch.zeros_like(value) for value in params.values()]


def _along(setting: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Reshape a per-network setting (stack,) to broadcast against `value` (stack, …)."""
    return setting.view(-1, *[1] * (value.ndim - 1))
