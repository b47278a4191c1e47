"""Theorems of the book (`book/theorems.md`) on random instances; each fails where a condition is broken on purpose."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import expit

from mli_utils.core import theory
from mli_utils.core.networks import FCN
from mli_utils.core.parameters import output_bias, without_output_bias
from mli_utils.core.paths import interpolate_parameters

SEEDS = range(5)
CLASSES, EACH, PIXELS = 4, 6, 9


def instance(seed, depth=4, bias="output", width=12):
    """A random network in double precision, images, and as labels what it predicts: every image is right."""
    torch.manual_seed(seed)
    model = FCN(PIXELS, CLASSES, depth, width, bias).double()
    end = {name: torch.randn_like(value) * 0.5 for name, value in model.named_parameters()}
    images = torch.randn(20_000, PIXELS, 1, 1, dtype=torch.float64)
    best, labels = model.logits(end, images).detach().topk(2, dim=1)
    labels, clear = labels[:, 0], best[:, 0] > best[:, 1] + 1e-3
    some = torch.cat([((labels == label) & clear).nonzero()[:EACH, 0] for label in range(CLASSES)])
    if len(some) < CLASSES * EACH:
        return instance(seed + 1000, depth, bias, width)
    return model, end, images[some], labels[some]


def on_line(model, end, images, alphas, path="linear", start=None):
    start = {name: torch.zeros_like(value) for name, value in end.items()} if start is None else start
    with torch.no_grad():
        return model.logits(interpolate_parameters(model, start, end, alphas, path), images)


def loss(logits, labels):
    return (
        torch.nn.functional.cross_entropy(logits.mT, labels.expand(len(logits), -1), reduction="none").mean(1).numpy()
    )


def right(logits, labels):
    own = logits.gather(2, labels.expand(len(logits), -1).unsqueeze(2))
    return ((own > logits).sum(2) == logits.shape[2] - 1).numpy()


def turning_points(signal, bias, labels, depth):
    """α* of every image: of `thm-origin`, 2."""
    found = []
    for s, y in zip(signal.numpy(), labels.tolist(), strict=True):
        ahead = [j for j in range(CLASSES) if bias[j] > bias[y]]
        found.append(max([((bias[j] - bias[y]) / (s[y] - s[j])) ** (1 / (depth - 1)) for j in ahead], default=0.0))
    return np.array(found, float)


ALPHAS = np.linspace(0.01, 1, 100)


@pytest.mark.parametrize("depth", [2, 3, 6])
@pytest.mark.parametrize("seed", SEEDS)
def test_from_the_origin_the_trained_network_gives_the_curve_and_a_bound_of_its_plateau(seed, depth):
    model, end, images, labels = instance(seed, depth)
    bias = output_bias(end)
    signal = model.logits(without_output_bias(end), images).detach()
    there = on_line(model, end, images, ALPHAS)
    alphas = torch.tensor(ALPHAS)[:, None, None]
    assert torch.allclose(there, theory.closed_form(signal, bias, depth, alphas), atol=1e-10)
    turns = turning_points(signal, bias.numpy(), labels, depth)
    assert (turns < 1).all() and (turns[labels == bias.argmax()] == 0).all()
    told = right(there, labels)
    assert (told == (ALPHAS[:, None] > turns)).all()
    assert (np.diff(told.mean(1)) >= 0).all()
    least = turns[(labels != bias.argmax()).numpy()].min()
    assert (1 - told.mean(1)[least >= ALPHAS] == 1 - 1 / CLASSES).all()
    others, most = labels != bias.argmax(), bias.argmax()
    lead = signal.gather(1, labels.unsqueeze(1))[:, 0] - signal[:, most]
    share = ((bias[most] - bias[labels]) / lead)[others].min().item()
    assert 0 < share < 1 and least >= share ** (1 / (depth - 1)) - 1e-12


def test_the_plateau_from_the_origin_needs_an_output_bias_alone_and_the_origin():
    broken = {"all": False, "another start": False}
    for seed in SEEDS:
        model, end, images, labels = instance(seed, bias="all")
        own = {name: value * (not name.endswith("bias") or name == "layers.3.bias") for name, value in end.items()}
        signal = model.logits(without_output_bias(end), images).detach()
        form = theory.closed_form(signal, output_bias(end), 4, torch.tensor(ALPHAS)[:, None, None])
        broken["all"] |= not torch.allclose(on_line(model, end, images, ALPHAS), form, atol=0.1)
        start = {name: torch.randn_like(value) * 0.3 for name, value in end.items()}
        signal = model.logits(without_output_bias(own), images).detach()
        form = theory.closed_form(signal, output_bias(own), 4, torch.tensor(ALPHAS)[:, None, None])
        broken["another start"] |= not torch.allclose(on_line(model, own, images, ALPHAS, start=start), form, atol=0.1)
    assert all(broken.values())


@pytest.mark.parametrize("bias", ["none", "output", "all"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_homogeneous_path_keeps_predictions_and_has_a_loss_plateau(seed, bias):
    model, end, images, labels = instance(seed, 5, bias)
    there = on_line(model, end, images, ALPHAS, "homogeneous")
    assert torch.allclose(there, torch.tensor(ALPHAS)[:, None, None] ** 5 * there[-1], atol=1e-10)
    assert right(there, labels).all()
    curve = loss(there, labels)
    assert (np.diff(curve) < 0).all() and curve[0] < math.log(CLASSES)
    own = there[-1].gather(1, labels.unsqueeze(1))[:, 0]
    mean_margin = (own - there[-1].mean(1)).mean().item()
    assert (curve >= math.log(CLASSES) - ALPHAS**5 * mean_margin - 1e-12).all()


def test_the_linear_path_and_other_starts_do_not_keep_predictions():
    changed = {"linear": False, "another start": False}
    for seed in SEEDS:
        model, end, images, labels = instance(seed, 5, "output")
        end = {name: value * (3 if name.endswith("bias") else 1) for name, value in end.items()}
        labels = model.logits(end, images).argmax(1)
        changed["linear"] |= not right(on_line(model, end, images, ALPHAS), labels).all()
        start = {name: torch.randn_like(value) * 0.3 for name, value in end.items()}
        changed["another start"] |= not right(on_line(model, end, images, ALPHAS, "homogeneous", start), labels).all()
    assert all(changed.values())


def rise(seed, depth=4, balanced=True, bias="output"):
    """The loss's rise over α² Var(b)/2, at two small α; and whether it is above ln k at both."""
    model, end, images, labels = instance(seed, depth, bias)
    if not balanced:
        largest = output_bias(end).argmax()
        kept = torch.cat([(labels == largest).nonzero()[:, 0], (labels != largest).nonzero()[:2, 0]])
        images, labels = images[kept], labels[kept]
    alphas = np.array([1e-4, 1e-3])
    over = loss(on_line(model, end, images, alphas), labels) - math.log(CLASSES)
    return over / (alphas**2 * output_bias(end).var(correction=0).item() / 2), (over > 0).all()


@pytest.mark.parametrize("depth", [3, 6])
@pytest.mark.parametrize("seed", SEEDS)
def test_from_the_origin_the_loss_rises_first(seed, depth):
    ratios, rises = rise(seed, depth)
    near, far = np.abs(ratios - 1)  # what is left out is in proportion to α
    assert rises and near < 0.02 and near < far < 12 * near + 1e-3


def test_the_rise_needs_three_layers_and_a_balanced_set():
    assert not any(abs(rise(seed, depth=2)[0][0] - 1) < 0.02 for seed in SEEDS)
    assert not any(rise(seed, balanced=False)[1] for seed in SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cumulant_bound(seed):
    draw = np.random.default_rng(seed)
    for size in (0.1, 1.0, 10.0):
        u = draw.normal(size=CLASSES) * size
        exact = np.log(np.exp(u).sum()) - math.log(CLASSES) - u.mean() - u.var() / 2
        assert abs(exact) <= np.ptp(u) ** 3 / 6


def flow(weights, biases, r, time, shares=1.0):
    """Solve the model of section 04 from any weights and biases; `shares`, (k,), weighs the inputs."""
    k = len(biases)

    def velocity(_, state):
        w, b = theory.unpack(state, k)
        pull = (np.eye(k) - theory.probabilities(w, b, r)) * np.broadcast_to(shares, k)[:, None]
        return np.concatenate([(r / k * w ** (r - 1) * pull).ravel(), pull.sum(0) / k])

    start = np.concatenate([weights.ravel(), biases])
    solved = solve_ivp(velocity, (0, time), start, method="LSODA", rtol=1e-10, atol=1e-12)
    return (*theory.unpack(solved.y.T, k), solved.t)


def positive(seed, k, off):
    """Random positive weights, larger on the diagonal, in falling order there; off the diagonal of size `off`."""
    draw = np.random.default_rng(seed)
    weights = off * draw.uniform(0.5, 1, (k, k))
    np.fill_diagonal(weights, np.sort(draw.uniform(0.2, 0.6, k))[::-1])
    return weights


@pytest.mark.parametrize("r", [2, 3, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_biases_are_a_function_of_the_weights_and_their_gap_is_bounded(seed, r):
    start = positive(seed, 4, 0.3)
    weights, biases, _ = flow(start, np.zeros(4), r, 1e4)
    assert (weights > 0).all() and np.abs(biases.sum(1)).max() <= 1e-6
    off = ~np.eye(4, dtype=bool)
    assert (np.diff(weights[:, off], axis=0) <= 1e-9).all()
    scale = max(np.abs(biases).max(), 1)
    assert np.abs(biases - theory.biases_from_weights(weights, start, r)).max() <= 1e-4 * scale
    if r > 2:
        assert np.ptp(biases, axis=1).max() <= 4 / (r * (r - 2)) * np.diagonal(start).min() ** (2 - r)


def test_other_losses_or_starts_of_the_bias_break_the_function_of_the_weights():
    start = positive(0, 4, 0.3)
    weights, biases, _ = flow(start, np.array([1.0, 0, 0, -1]), 3, 1e3)
    assert np.abs(biases - theory.biases_from_weights(weights, start, 3)).max() > 0.5


@pytest.mark.parametrize("r", [2, 3, 5])
@pytest.mark.parametrize("k", [2, 3, 6])
@pytest.mark.parametrize("seed", SEEDS)
def test_biases_stand_in_the_reverse_order_of_the_signals(seed, k, r):
    weights, biases, times = flow(positive(seed, k, 0.0), np.zeros(k), r, 1e4)
    own, later = np.diagonal(weights, axis1=1, axis2=2), times > 1e-3
    assert (np.diff(own, axis=1) < 0).all() and (np.diff(biases[later], axis=1) > 0).all()


@pytest.mark.parametrize("r", [2, 3, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_classes_the_one_ahead_stays_ahead_and_the_gap_grows(seed, r):
    start = positive(seed, 2, 0.0) + 0.5 * (1 - np.eye(2)) * np.random.default_rng(seed).uniform(0.2, 1)
    weights, biases, times = flow(start, np.zeros(2), r, 1e4)
    own = np.diagonal(theory.probabilities(weights, biases, r), axis1=1, axis2=2)
    assert (own[:, 0] > own[:, 1]).all() and (np.diff(biases[:, 1] - biases[:, 0]) > -1e-9).all()
    assert (weights[times > 0, 0, 0] > weights[times > 0, 1, 1]).all()


def test_the_order_needs_equal_weights_off_the_diagonal_biases_at_zero_and_a_balanced_set():
    start = np.diag([0.5, 0.49])
    unequal = start + np.array([[0, 0.45], [0.0, 0]])
    for weights, bias, shares in (
        (unequal, np.zeros(2), 1.0),
        (start, np.array([0.5, -0.5]), 1.0),
        (start, np.zeros(2), np.array([0.5, 1.5])),
    ):
        w, b, _ = flow(weights, bias, 3, 200, shares)
        own = np.diagonal(w, axis1=1, axis2=2)
        assert not ((own[1:, 0] > own[1:, 1]).all() and (b[1:, 0] < b[1:, 1]).all())


def test_gap_needs_a_late_class():
    """Equal weights have no order, and biases stay at zero."""
    _, biases, _ = flow(np.diag([0.4, 0.4, 0.4]), np.zeros(3), 3, 1e3)
    assert np.abs(biases).max() <= 1e-9


def trained(seed, momentum=0.9, decay=0.0, adam=False, start=0.0):
    """Train a small network by torch's own optimizer; its output bias, and the budget A − C."""
    torch.manual_seed(seed)
    model = FCN(PIXELS, CLASSES, 3, 8, "all").double()
    bias = model.layers[-1].bias
    torch.nn.init.constant_(bias, start)
    bias.data[0] += start
    images, labels = torch.randn(40, PIXELS, 1, 1, dtype=torch.float64), torch.randint(CLASSES, (40,))
    rates = [0.1, 0.05] * 15
    optimizer = (
        torch.optim.Adam(model.parameters())
        if adam
        else torch.optim.SGD(model.parameters(), 1.0, momentum=momentum, weight_decay=decay)
    )
    pulls, intrusions = [], []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        some = torch.randperm(40)[:10]
        logits = model(images[some])
        p, own = logits.softmax(1).detach(), torch.nn.functional.one_hot(labels[some], CLASSES)
        pulls.append(((1 - p) * own).mean(0))
        intrusions.append((p * (1 - own)).mean(0))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels[some]).backward()
        optimizer.step()
    last = len(rates)
    weight = [sum(rates[u] * momentum ** (u - t) for u in range(t, last)) for t in range(last)]
    pull, intrusion = (sum(w * one for w, one in zip(weight, some, strict=True)) for some in (pulls, intrusions))
    return bias.detach(), pull, intrusion


@pytest.mark.parametrize("seed", SEEDS)
def test_the_budget_of_a_bias_is_exact_for_sgd(seed):
    bias, pull, intrusion = trained(seed)
    assert torch.allclose(bias, pull - intrusion, atol=1e-12) and bias.sum().abs() < 1e-12
    assert (pull >= 0).all() and (intrusion >= 0).all()
    constant = [0.1 * (1 - 0.9 ** (30 - t)) / (1 - 0.9) for t in range(30)]
    assert np.allclose(constant, [sum(0.1 * 0.9 ** (u - t) for u in range(t, 30)) for t in range(30)])


@pytest.mark.parametrize("broken", [{"decay": 0.1}, {"adam": True}, {"start": 0.5}], ids=str)
def test_the_budget_needs_plain_sgd_from_zero(broken):
    bias, pull, intrusion = trained(0, **broken)
    assert not torch.allclose(bias, pull - intrusion, atol=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_linearised_network_has_a_convex_curve(seed):
    draw = np.random.default_rng(seed)
    first, change = 0.1 * draw.normal(size=(2, 30, CLASSES))
    labels = np.arange(30) % CLASSES
    change[np.arange(30), labels] += 4
    alphas = np.linspace(0, 1, 101)
    logits = first + alphas[:, None, None] * change
    curve = loss(torch.tensor(logits), torch.tensor(labels))
    assert (np.diff(curve, 2) >= -1e-12).all() and (np.diff(curve) < 0).all()
    level = 0.9 * math.log(CLASSES)
    bound = (curve[0] - level) / (curve[0] - curve[-1])
    assert curve[0] >= level > curve[-1] and (curve[alphas > bound] < level).all()


def test_a_network_of_more_layers_is_not_convex_on_the_line():
    model, end, images, labels = instance(0, 6)
    curve = loss(on_line(model, end, images, np.linspace(0.01, 1, 50)), labels)
    assert (np.diff(curve, 2) < -1e-6).any()


def test_sigmoid_form_of_two_classes():
    """The proof for two classes writes probabilities as σ(u)."""
    weights, biases, _ = flow(positive(1, 2, 0.2), np.zeros(2), 3, 50)
    p = theory.probabilities(weights, biases, 3)
    u = weights[:, 0, 0] ** 3 - weights[:, 0, 1] ** 3 + biases[:, 0] - biases[:, 1]
    assert np.allclose(p[:, 0, 0], expit(u))
