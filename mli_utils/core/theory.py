"""Theory: the r-homogeneous model, and the logits on a path predicted from a network's two ends.

The book derives them in sections 03 (weights and biases) and 04 (the bias gap); its page of theorems has the proofs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import scipy  # loads scipy.integrate and scipy.optimize when first asked for them
import torch

from mli_utils.core.config import InputError
from mli_utils.core.evaluation import plain_float32
from mli_utils.core.networks import weights_and_biases
from mli_utils.core.parameters import Params
from mli_utils.core.paths import SCHEDULES, alpha_grid, schedules

# ── The r-homogeneous model: one-hot inputs e_1 … e_k, logits z_j(e_i) = W_ij^r + b_j, gradient flow ──────────────


@dataclass(frozen=True)
class Flow:
    """A solution of the r-homogeneous model: gradient flow of the cross-entropy, from t = 0 to `times[-1]`.

    times : (points,), the solver's steps, in units of the flow
    weights : (points, k, k), W_ij for input i and class j
    biases : (points, k)
    losses : (points,) mean cross-entropy, nats
    """

    r: int
    times: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    losses: np.ndarray
    solution: "scipy.integrate.OdeSolution"

    @property
    def k(self) -> int:
        return self.biases.shape[1]

    def at(self, times) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (times, k, k) and biases (times, k) at any times within the solution."""
        return unpack(self.solution(np.atleast_1d(times)).T, self.k)

    def learned_at(self) -> np.ndarray:
        """Find the time (k,) from which each class's probability on its input stays above one half; NaN if never."""
        own = np.diagonal(probabilities(self.weights, self.biases, self.r), axis1=1, axis2=2)
        found = np.full(self.k, np.nan)
        for label in range(self.k):
            low = np.flatnonzero(own[:, label] < 0.5)
            after = low[-1] + 1 if len(low) else 0
            if after < len(self.times):
                found[label] = self.times[after] if after == 0 else self._crossing(label, after)
        return found

    def frame(self, points: int = 400) -> pd.DataFrame:
        """Return tidy rows of `time`, `class` (rank in the order of learning), `weight` W_ii and `bias` b_i.

        Times are equally spaced until a little after the last class is learned.
        """
        learned = self.learned_at()
        times = np.linspace(0, min(1.3 * np.nanmax(learned), self.times[-1]), points)
        weights, biases = self.at(times)
        return pd.concat(
            pd.DataFrame(
                {
                    "time": times,
                    "class": f"{place} of {self.k}",
                    "weight": weights[:, label, label],
                    "bias": biases[:, label],
                }
            )
            for place, label in enumerate(np.argsort(learned), start=1)
        )

    def _crossing(self, label: int, after: int) -> float:
        """Find the time between two solver steps at which a class's probability passes one half."""

        def above(time):
            weights, biases = self.at(time)
            return probabilities(weights, biases, self.r)[0, label, label] - 0.5

        return scipy.optimize.brentq(above, self.times[after - 1], self.times[after])


def unpack(state: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Split flat states (…, k² + k) into weights (…, k, k) and biases (…, k)."""
    return state[..., : k * k].reshape(*state.shape[:-1], k, k), state[..., k * k :]


def probabilities(weights: np.ndarray, biases: np.ndarray, r: int) -> np.ndarray:
    """Compute the class probabilities p_j(e_i), (…, k, k)."""
    return _shares(weights**r + biases[..., None, :])


def mean_loss(weights: np.ndarray, biases: np.ndarray, r: int) -> np.ndarray:
    """Compute the mean cross-entropy over the k inputs, nats."""
    logits = _below_the_largest(weights**r + biases[..., None, :])
    total = np.log(np.add.reduce(np.exp(logits), -1))
    return np.add.reduce(total - np.diagonal(logits, axis1=-2, axis2=-1), -1) / logits.shape[-1]


def _shares(logits: np.ndarray) -> np.ndarray:
    """Compute the softmax over the last dimension, in place; scipy's takes four times as long on such small arrays."""
    shares = np.exp(_below_the_largest(logits), out=logits)
    shares /= np.add.reduce(shares, -1, keepdims=True)
    return shares


def _below_the_largest(logits: np.ndarray) -> np.ndarray:
    """Subtract each input's largest logit, in place."""
    logits -= np.maximum.reduce(logits, -1, keepdims=True)
    return logits


@cache
def _one_hot(k: int) -> np.ndarray:
    """Return the labels (k, k), cached because every step of a flow needs them."""
    labels = np.eye(k)
    labels.flags.writeable = False
    return labels


def initial_weights(k: int, delta: float, seed: int = 0, noise: float = 0.1) -> np.ndarray:
    """Draw W_ij(0) = δ (1 + noise u), (k, k), with u uniform on (−1, 1)."""
    return delta * (1 + noise * np.random.default_rng(seed).uniform(-1, 1, (k, k)))


def velocity(state: np.ndarray, r: int, k: int) -> np.ndarray:
    """Compute the time derivative of flat states (…, k² + k): minus the gradient of the mean cross-entropy."""
    weights, biases = unpack(state, k)
    slopes = weights ** (r - 1)
    residual = _one_hot(k) - _shares(slopes * weights + biases[..., None, :])
    of_weights = (r / k * slopes * residual).reshape(*state.shape[:-1], k * k)
    return np.concatenate([of_weights, np.add.reduce(residual, -2) / k], axis=-1)


def jacobian(state: np.ndarray, r: int, k: int) -> np.ndarray:
    """Compute the derivative of `velocity`, (k² + k, k² + k); mostly zero, since inputs share only the biases."""
    weights, biases = unpack(state, k)
    p = probabilities(weights, biases, r)
    slope = r * weights ** (r - 1)  # ∂z_ij / ∂W_ij
    mixing = p[:, :, None] * (_one_hot(k) - p[:, None, :])  # ∂p_ij / ∂z_il, by input
    own = r * (r - 1) * weights ** (r - 2) * (_one_hot(k) - p)
    of_weights = np.zeros((k, k, k, k))
    inputs = np.arange(k)
    of_weights[inputs, :, inputs, :] = own[:, :, None] * _one_hot(k) - slope[:, :, None] * mixing * slope[:, None, :]
    return (
        np.block(
            [
                [of_weights.reshape(k * k, k * k), -(slope[:, :, None] * mixing).reshape(k * k, k)],
                [-(mixing * slope[:, None, :]).transpose(1, 0, 2).reshape(k, k * k), -mixing.sum(0)],
            ]
        )
        / k
    )


LATEST = 1e10  # time of the last escape up to which float64 resolves its steps


def solve_flow(r: int, delta: float, k: int = 4, seed: int = 0, noise: float = 0.1, final_loss: float = 1e-2) -> Flow:
    """Solve the r-homogeneous model from `initial_weights` and b(0) = 0 until the loss is `final_loss`.

    Uses LSODA with the analytic Jacobian and relative tolerance 1e-8. InputError for an argument outside its range (for
    r below 2 the origin is no saddle), a flow that is too slow for float64, or one that does not pass `final_loss`.
    """
    for name, whole, low, high in (("r", r, 2, 50), ("k", k, 2, 100)):
        if not (isinstance(whole, (int, np.integer)) and low <= whole <= high):
            raise InputError(f"{name}={whole!r} is not allowed; allowed: whole numbers from {low} to {high}")
    for name, value, low, high in (("delta", delta, 0, 1), ("noise", noise, 0, 1), ("final_loss", final_loss, 0, 1)):
        if not low <= value < high or (value == 0 and name != "noise"):
            raise InputError(f"{name}={value!r} is not allowed; allowed: between {low} and {high}")

    weights = initial_weights(k, delta, seed, noise)
    if (escape := escape_time(r, weights.diagonal().min(), k)) > LATEST:
        late = f"its slowest class would escape at time {escape:.2g}"
        raise InputError(f"delta={delta:g} is too small for r={r}: {late}; allowed: before {LATEST:g}")

    def fitted(_, state):
        return math.log(mean_loss(*unpack(state, k), r) / final_loss)

    fitted.terminal = True  # type: ignore[attr-defined]
    solved = scipy.integrate.solve_ivp(
        lambda _, state: velocity(state, r, k),
        (0, 1e6 * (1 + escape_time(r, delta * (1 - noise), k))),
        np.concatenate([weights.ravel(), np.zeros(k)]),
        method="LSODA",
        jac=lambda _, state: jacobian(state, r, k),
        dense_output=True,
        events=fitted,
        rtol=1e-8,
        atol=1e-12,
    )
    weights, biases = unpack(solved.y.T, k)
    if solved.status != 1:
        first, last = mean_loss(weights[[0, -1]], biases[[0, -1]], r)
        raise InputError(
            f"final_loss={final_loss:g} is not allowed; allowed: one that is passed from {first:.3g} to {last:.3g}"
        )
    return Flow(r, solved.t, weights, biases, mean_loss(weights, biases, r), solved.sol)


def escape_time(r: int, delta: float, k: int) -> float:
    """Compute when a diagonal weight from δ reaches ∞ (1 for r = 2), while all classes are equally likely."""
    if r == 2:
        return k * math.log(1 / delta) / (2 * (1 - 1 / k))
    return k / (r * (r - 2) * (1 - 1 / k) * delta ** (r - 2))


def biases_from_weights(weights: np.ndarray, start: np.ndarray, r: int) -> np.ndarray:
    """Compute the biases (…, k) that gradient flow reaches together with the weights (…, k, k).

    The equation for W_ij, divided by r W_ij^(r−1) and summed over i, has the right-hand side of the equation for b_j.
    So b_j = Σ_i [W_ij(0)^(2−r) − W_ij^(2−r)] / (r (r−2)), or ½ Σ_i ln(W_ij / W_ij(0)) for r = 2, at all times.
    """
    if r == 2:
        return np.log(weights / start).sum(-2) / 2
    return (start ** (2.0 - r) - weights ** (2.0 - r)).sum(-2) / (r * (r - 2))


def flow_curve(flow: Flow, alphas: np.ndarray) -> np.ndarray:
    """Compute the loss (alphas,) on the straight line between the ends of a flow, nats."""
    share = np.asarray(alphas)[:, None, None]
    weights = (1 - share) * flow.weights[0] + share * flow.weights[-1]
    biases = (1 - share[..., 0]) * flow.biases[0] + share[..., 0] * flow.biases[-1]
    return mean_loss(weights, biases, flow.r)


# ── Curves from one forward pass: depth-r ReLU networks with a bias on the output only, and θ(0) = 0 ──────────────


def closed_form(signal, bias, depth: int, alphas):
    """Compute z(α) = α^r s + α b for arrays or tensors, r being `depth` and s (samples, classes) the logits without b.

    `alphas` is (alphas, 1, 1).
    """
    return alphas**depth * signal + alphas * bias


# ── The law: the two ends of a path predict its logits, by a recursion in two scalars a layer ─────────────────────

FITTED_ON = 300  # images that scalars and class means are fitted on, as many of each class
AT_ONCE = 2**19  # activations to compute together; about the cache size
ROUNDING = 1e-5  # of a layer's outputs; nothing smaller differs within classes


@dataclass(frozen=True)
class Law:
    """Logits predicted on a path, and what the law keeps of each hidden layer.

    A layer's outputs are h ≈ m + k (hᵀ − mᵀ) + c (h⁰ − m⁰), where hᵀ and h⁰ are its outputs at θ(T) and θ(0), and m, mᵀ
    and m⁰ the means over each class that θ(T) predicts, or zero in the law without class means.

    logits : (alphas, samples, classes)
    signal, floor : (alphas, hidden layers), k and c
    parts : (alphas, 3), sizes of what k, c and the output bias bring to the logits: root mean squares over images and
        classes, less each image's mean over classes, which decides nothing
    """

    logits: torch.Tensor
    signal: np.ndarray
    floor: np.ndarray
    parts: np.ndarray


def predicted_logits(
    start: Params,
    end: Params,
    images: torch.Tensor,
    alphas: int | Sequence[float] | np.ndarray,
    path: str | Mapping[str, str] = "linear",
    class_means: bool = True,
) -> torch.Tensor:
    """Predict the logits of a fully-connected ReLU network on a path from its two ends, by the law of section 03.

    Parameters
    ----------
    start, end : dict of torch.Tensor
        θ(0) and θ(T) of an `FCN`, by parameter name.
    images : torch.Tensor
        (samples, channels, height, width) or (samples, pixels).
    alphas : int or sequence of float
        Number of equally spaced points from 0 to 1, or the points.
    path : str or dict
        Name in `core.paths.PATHS`, or {group: schedule}.
    class_means : bool
        Whether the mean of each class passes the layers as it is, so that the two scalars carry only what differs
        within classes; classes are those that θ(T) predicts.

    Returns
    -------
    torch.Tensor
        (alphas, samples, classes)

    Raises
    ------
    InputError
        The parameters are not those of a fully-connected network without normalization, or the path or the points are
        not allowed.
    """
    return law(start, end, images, alphas, path, class_means).logits


@torch.no_grad()
def law(
    start: Params, end: Params, images: torch.Tensor, alphas, path="linear", class_means=True, fitted_on=FITTED_ON
) -> Law:
    """Return the `Law` of a path, for the arguments of `predicted_logits`, fitted on `fitted_on` of the images.

    With the inputs h that the law keeps, a layer's outputs at α are ReLU[W(α) h + b(α)]; their least-squares fit by the
    outputs at θ(T) and θ(0) gives the k and c of this layer. Products of both ends' weights and both ends' inputs serve
    every α, so the network is not run in between. The fit is exact at the ends of the path, and from θ(0) = 0 without
    hidden biases on all of it.
    """
    points, schedule_of = alpha_grid(alphas), schedules(path)
    layers = list(zip(_layers(end), _layers(start), strict=True))
    late = early = images.flatten(1)  # outputs of the layer before at θ(T) and θ(0)
    signal, floor = late.new_ones(len(points)), late.new_zeros(len(points))
    scalars = []
    with plain_float32():
        labels = _predicted_classes(layers, late)
        chosen = _of_each_class(labels, fitted_on)
        groups = labels if class_means else torch.zeros_like(labels)
        members = torch.nn.functional.one_hot(groups[chosen]).T.to(late)
        average = members / members.sum(1, keepdim=True) if class_means else torch.zeros_like(members)
        means = (average @ late[chosen]).expand(len(points), -1, -1)
        for number, ((w_end, b_end), (w_start, b_start)) in enumerate(layers, start=1):
            last = number == len(layers)
            share, of_bias = (
                torch.tensor(SCHEDULES[schedule_of[group]](points, number), dtype=late.dtype, device=late.device)
                for group in ("weights", "output_bias" if last else "hidden_biases")
            )
            some = slice(None) if last else chosen
            of_end, of_start = late @ w_end.T, early @ w_start.T
            products = torch.stack([of_end[some], early[some] @ w_end.T, late[some] @ w_start.T, of_start[some]])
            products -= (average @ (products[:, chosen] if last else products))[:, groups[some]]
            factors = torch.stack([share * signal, share * floor, (1 - share) * signal, (1 - share) * floor], 1)
            common = torch.lerp(means @ w_start.T, means @ w_end.T, share.view(-1, 1, 1))
            common += torch.lerp(b_start, b_end, of_bias.unsqueeze(1)).unsqueeze(1)
            late, early = (of_end + b_end).relu_(), (of_start + b_start).relu_()
            whole = torch.stack([late[chosen], early[chosen]])
            targets = whole - (average @ whole)[:, groups[chosen]]
            parts = []
            for at in torch.arange(len(points)).split(max(1, AT_ONCE // products[0].numel())):
                outputs = (factors[at] @ products.flatten(1)).view(-1, *products.shape[1:])
                outputs += common[at][:, groups[some]]
                parts.append([outputs] if last else _summary(outputs.relu_(), targets, average))
            if last:
                continue
            dots, means = (torch.cat(part) for part in zip(*parts, strict=True))
            signal, floor = _two_by_two(targets, dots, ROUNDING * whole.flatten(1).norm(dim=1))
            scalars.append(torch.stack([signal, floor]))
        sizes = [_size(factors[:, part], products[part]) for part in ([0, 2], [1, 3])]
        sizes.append(_size(of_bias.unsqueeze(1), b_end.view(1, 1, -1)))
    k, c = torch.stack(scalars, 2).cpu().numpy() if scalars else np.empty((2, len(points), 0))
    return Law(torch.cat([outputs for (outputs,) in parts]), k, c, torch.stack(sizes, 1).cpu().numpy())


def _size(factors: torch.Tensor, products: torch.Tensor) -> torch.Tensor:
    """Return root mean squares, (alphas,), of sums of logits (terms, samples, classes) by factors (alphas, terms)."""
    logits = (products - products.mean(-1, keepdim=True)).flatten(1)
    return ((factors @ (logits @ logits.T / logits.shape[1])) * factors).sum(1).clamp(min=0).sqrt()


def _layers(params: Params) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return weight and bias of each layer, zeros for a missing bias; InputError unless they are those of an `FCN`."""
    depth = sum(name.endswith("weight") for name in params)
    names = [f"layers.{i}.{kind}" for i in range(depth) for kind in ("weight", "bias")]
    if wrong := [name for name in params if name not in names] or [name for name in names[::2] if name not in params]:
        raise InputError(
            f"no law for a network with {', '.join(wrong)}; allowed: fully-connected, without normalization"
        )
    return [
        (weight, weight.new_zeros(len(weight)) if bias is None else bias) for weight, bias in weights_and_biases(params)
    ]


def _predicted_classes(layers, outputs: torch.Tensor) -> torch.Tensor:
    """Return the class that θ(T) predicts for each image, numbered without those that it never predicts."""
    for (weight, bias), _ in layers[:-1]:
        outputs = torch.addmm(bias, outputs, weight.T).relu_()
    (weight, bias), _ = layers[-1]
    return torch.addmm(bias, outputs, weight.T).argmax(1).unique(return_inverse=True)[1]


def _of_each_class(labels: torch.Tensor, number: int) -> torch.Tensor:
    """Return the indices of the first images of each class, `number` in all if there are as many of each."""
    each = math.ceil(number / (int(labels.max()) + 1))
    place = torch.nn.functional.one_hot(labels).cumsum(0).gather(1, labels.unsqueeze(1))[:, 0]
    return (place <= each).nonzero()[:, 0]


def _summary(outputs: torch.Tensor, targets: torch.Tensor, average: torch.Tensor) -> list[torch.Tensor]:
    """Return outputs' inner products with the targets, (alphas, 2), and their class means."""
    return [outputs.flatten(1) @ targets.flatten(1).T, average @ outputs]


def _two_by_two(targets: torch.Tensor, dots: torch.Tensor, least: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve the normal equations of the two targets for every α: k and c, (alphas,).

    Targets are scaled to norm 1. One with a norm up to `least` is not used; of two that point the same way, only the
    first.
    """
    both = targets.flatten(1).double()
    norms = both.norm(dim=1)
    scale = torch.where(norms > least, 1 / norms, 0)
    cosine = (both[0] @ both[1]) * scale.prod()
    first, second = (dots.double() * scale).T
    left = 1 - cosine**2
    c = (second - cosine * first) / left if left > 1e-9 else torch.zeros_like(second)
    k = first - cosine * c
    return (k * scale[0]).to(dots), (c * scale[1]).to(dots)
