"""Theory: the r-homogeneous model, and curves from one forward pass of a trained network.

The book derives both in sections 03 (weights and biases) and 04 (the bias gap).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.integrate import OdeSolution, solve_ivp

from mli_utils.core.config import InputError

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
    solution: OdeSolution

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
        order = np.argsort(self.learned_at())
        end = min(1.3 * np.nanmax(self.learned_at()), self.times[-1])
        times = np.linspace(0, end, points)
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
            for place, label in enumerate(order, start=1)
        )

    def _crossing(self, label: int, after: int) -> float:
        """Find the time between two solver steps at which a class's probability passes one half."""
        from scipy.optimize import brentq

        def above(time):
            weights, biases = self.at(time)
            return probabilities(weights, biases, self.r)[0, label, label] - 0.5

        return brentq(above, self.times[after - 1], self.times[after])


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
    own = r * (r - 1) * weights ** max(r - 2, 0) * (_one_hot(k) - p)
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


def solve_flow(r: int, delta: float, k: int = 4, seed: int = 0, noise: float = 0.1, final_loss: float = 1e-2) -> Flow:
    """Solve the r-homogeneous model from `initial_weights` and b(0) = 0 until the loss is `final_loss`.

    Uses LSODA with the analytic Jacobian and relative tolerance 1e-8.

    Raises
    ------
    InputError
        r below 2 (the origin is then no saddle), k below 2, or any argument outside its range.
    """
    for name, whole, low, high in (("r", r, 2, 50), ("k", k, 2, 100)):
        if not (isinstance(whole, (int, np.integer)) and low <= whole <= high):
            raise InputError(f"{name}={whole!r} is not allowed; allowed: whole numbers from {low} to {high}")
    for name, value, low, high in (("delta", delta, 0, 1), ("noise", noise, 0, 1), ("final_loss", final_loss, 0, 1)):
        if not low <= value < high or (value == 0 and name != "noise"):
            raise InputError(f"{name}={value!r} is not allowed; allowed: between {low} and {high}")

    def fitted(_, state):
        return math.log(mean_loss(*unpack(state, k), r) / final_loss)

    fitted.terminal = True  # type: ignore[attr-defined]
    start = np.concatenate([initial_weights(k, delta, seed, noise).ravel(), np.zeros(k)])
    solved = solve_ivp(
        lambda _, state: velocity(state, r, k),
        (0, 1e6 * (1 + escape_time(r, delta * (1 - noise) if noise < 1 else delta, k))),
        start,
        method="LSODA",
        jac=lambda _, state: jacobian(state, r, k),
        dense_output=True,
        events=fitted,
        rtol=1e-8,
        atol=1e-12,
    )
    weights, biases = unpack(solved.y.T, k)
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


def closed_form(signal, bias, depth: int, alphas, path: str = "linear"):
    """Compute z(α) = α^r s + c(α) b, with c = α on the linear path and α^r on the homogeneous one.

    Parameters
    ----------
    signal : (…, samples, classes) s, the trained network's logits without its output bias
    bias : (classes,) b
    depth : r, the number of weight layers
    alphas : (alphas, 1, 1), an array or a tensor, as `signal` and `bias`
    """
    return alphas**depth * signal + (alphas if path == "linear" else alphas**depth) * bias
