import numpy as np
import pytest
import torch
from scipy.special import log_softmax

import mli_utils as mli
from mli_utils import data, interpolation, models, theory
from mli_utils.config import InputError

CASES = [(2, 0.1, 4), (3, 0.1, 4), (4, 0.2, 3), (5, 0.4, 5)]


@pytest.mark.parametrize(("r", "delta", "k"), CASES)
def test_velocity_is_minus_the_gradient_of_the_loss(r, delta, k):
    generator = np.random.default_rng(r)
    state = np.concatenate([generator.uniform(0.1, 1.5, k * k), generator.normal(size=k)])
    tensor = torch.tensor(state, dtype=torch.float64, requires_grad=True)
    logits = tensor[: k * k].view(k, k) ** r + tensor[k * k :]
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(k))
    (gradient,) = torch.autograd.grad(loss, tensor)
    assert np.abs(theory.velocity(state, r, k) + gradient.numpy()).max() <= 1e-10
    assert abs(theory.mean_loss(*theory.unpack(state, k), r) - loss.item()) <= 1e-12
    rows = torch.autograd.functional.hessian(
        lambda t: torch.nn.functional.cross_entropy(t[: k * k].view(k, k) ** r + t[k * k :], torch.arange(k)), tensor
    )
    assert np.abs(theory.jacobian(state, r, k) + rows.detach().numpy()).max() <= 1e-10


@pytest.mark.parametrize(("r", "delta", "k"), CASES)
def test_biases_sum_to_zero_and_follow_from_the_weights(r, delta, k):
    flow = theory.solve_flow(r, delta, k)
    assert np.abs(flow.biases.sum(1)).max() <= 1e-8
    exact = theory.biases_from_weights(flow.weights, flow.weights[0], r)
    assert np.abs(flow.biases - exact).max() <= 1e-4 * np.abs(exact).max()
    assert flow.losses[-1] == pytest.approx(1e-2) and (np.diff(flow.losses) < 1e-9).all()


@pytest.mark.parametrize(("r", "delta", "k"), [(2, 0.2, 4), (3, 0.3, 4), (4, 0.4, 3)])
def test_flow_agrees_with_small_explicit_euler_steps(r, delta, k):
    """Euler's error is proportional to its step, so two steps extrapolate; each alone is close, too."""
    flow = theory.solve_flow(r, delta, k, final_loss=0.1)
    end = flow.times[-1]

    def euler(steps):
        state = np.concatenate([flow.weights[0].ravel(), flow.biases[0]])
        for _ in range(steps):
            state = state + end / steps * theory.velocity(state, r, k)
        return state

    coarse, fine = euler(20_000), euler(40_000)
    mine = np.concatenate([flow.weights[-1].ravel(), flow.biases[-1]])
    for part in (slice(0, k * k), slice(k * k, None)):
        scale = np.abs(mine[part]).max()
        assert np.abs(fine[part] - mine[part]).max() <= 1e-4 * scale
        assert np.abs(2 * fine[part] - coarse[part] - mine[part]).max() <= 1e-6 * scale


@pytest.mark.parametrize(("r", "delta"), [(2, 1e-4), (3, 1e-3), (4, 1e-2), (5, 0.02)])
def test_early_weights_and_escape_times_are_those_of_the_closed_form(r, delta):
    flow = theory.solve_flow(r, delta, 4)
    first = theory.escape_time(r, flow.weights[0].diagonal().max(), 4)
    times = np.linspace(0, (0.4 if r == 2 else 0.9) * first, 20)
    closed = theory.early_weights(times, flow.weights[0], r)
    assert np.abs(flow.at(times)[0] / closed - 1).max() <= 1e-4
    assert np.nanmin(flow.learned_at()) == pytest.approx(first, rel=0.3 if r == 2 else 0.05)


def test_flow_refuses_what_has_no_answer():
    for wrong, said in (
        (dict(r=1, delta=0.1), "r=1 is not allowed; allowed: whole numbers from 2 to 50"),
        (dict(r=2.5, delta=0.1), "r=2.5"),
        (dict(r=3, delta=0), "delta=0 is not allowed; allowed: between 0 and 1"),
        (dict(r=3, delta=0.1, k=1), "k=1"),
        (dict(r=3, delta=0.1, noise=-1), "noise=-1"),
    ):
        with pytest.raises(InputError, match=said.replace("(", r"\(")):
            theory.solve_flow(**wrong)


def random_network(depth, seed=0):
    """A network with an output bias, random parameters, and its bias-free logits on some digits, in float64."""
    config = mli.RunConfig(depth=depth, width=20, bias="output", init_scale=1.0, n_train=200, seed=seed)
    model = models.build(config).double()
    end = {name: value.detach().double() for name, value in model.named_parameters()}
    bias = f"layers.{depth - 1}.bias"
    end[bias] = torch.randn(10, generator=torch.Generator().manual_seed(seed)).double()
    images = data.load("digits").first(200)
    with torch.no_grad():
        signal = models.logits(model, {**end, bias: torch.zeros(10).double()}, images.images.double()).numpy()
    return model, end, signal, end[bias].numpy(), images


@pytest.mark.parametrize("depth", range(2, 13))
@pytest.mark.parametrize("path", ["linear", "homogeneous"])
def test_closed_form_logits_are_those_of_the_network_from_zero(depth, path):
    model, end, signal, bias, images = random_network(depth)
    start = {name: torch.zeros_like(value) for name, value in end.items()}
    alphas = np.linspace(0, 1, 11)
    closed = theory.closed_form_logits(signal, bias, depth, alphas, path)
    labels = images.labels.numpy()
    for i, alpha in enumerate(alphas):
        there = interpolation.interpolate_parameters(model, start, end, alpha, path)
        with torch.no_grad():
            direct = models.logits(model, there, images.images.double()).numpy()
        assert np.abs(direct - closed[i]).max() <= 1e-10 * np.abs(closed).max()
        losses = [-log_softmax(z, axis=1)[np.arange(200), labels].mean() for z in (direct, closed[i])]
        errors = [(z.argmax(1) != labels).mean() for z in (direct, closed[i])]
        assert abs(losses[0] - losses[1]) <= 1e-5 and abs(errors[0] - errors[1]) <= 1e-5


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 12])
def test_samples_turn_right_where_theory_says(depth):
    _, _, signal, bias, images = random_network(depth, seed=1)
    labels = (signal + bias).argmax(1)  # what it predicts at the end, but for some
    labels[:20] = images.labels.numpy()[:20]
    turning = theory.turning_points(signal, bias, labels, depth)
    right_at_end = (signal + bias).argmax(1) == labels
    assert np.array_equal(~np.isnan(turning), right_at_end) and right_at_end.sum() > 150
    for share, expected in ((1 - 1e-6, False), (1 + 1e-6, True)):
        for i in np.flatnonzero(right_at_end & (turning > 1e-3) & (turning < 0.999)):
            z = theory.closed_form_logits(signal[i : i + 1], bias, depth, [turning[i] * share])
            assert (z[0, 0].argmax() == labels[i]) == expected
    for alpha in (0.2, 0.6, 0.95):
        z = theory.closed_form_logits(signal, bias, depth, [alpha])[0]
        late = right_at_end & (np.abs(turning - alpha) > 1e-9)
        assert np.array_equal((z.argmax(1) == labels)[late], (turning < alpha)[late])


def test_the_class_learned_last_has_the_largest_bias():
    rows = theory.survey([3, 4], [0.1, 0.2], [3, 4], 6)
    distinct = rows[rows.margin >= 0.05]
    assert len(rows) == 48 and len(distinct) > 20
    assert (distinct["last learned"] == distinct["largest bias"]).all()
    assert rows.deviation.max() <= 1e-4


def test_gaps_follow_the_predicted_power_of_the_initial_scale():
    gaps = theory.survey([2, 3, 4], [0.2, 0.4], [4], 4).groupby(["r", "delta"]).gap.mean().unstack()
    for r in (2, 3, 4):
        assert np.log2(gaps.loc[r, 0.4] / gaps.loc[r, 0.2]) == pytest.approx(-(r - 2), abs=0.15)


def test_a_flow_as_a_frame_is_in_the_order_of_learning():
    frame = theory.solve_flow(4, 0.1, 4).frame(50)
    assert list(dict.fromkeys(frame["class"])) == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
    assert frame.groupby("class").size().eq(50).all()
    last = frame.groupby("class").bias.last()
    assert last.idxmax() == "4 of 4" and last.idxmin() == "1 of 4"
