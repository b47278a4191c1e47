"""The model's flow against its gradient, Euler's steps and closed forms; one forward pass against the network."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

import mli_utils as mli
from mli_utils.core import theory
from mli_utils.core.config import InputError
from mli_utils.core.networks import FCN, weights_and_biases
from mli_utils.core.parameters import output_bias, without_output_bias
from mli_utils.core.paths import interpolate_parameters

CASES = [(2, 0.1, 4), (3, 0.1, 4), (4, 0.2, 3), (5, 0.4, 5)]


@pytest.mark.parametrize(("r", "delta", "k"), CASES)
def test_velocity_is_minus_the_gradient_of_the_loss(r, delta, k):
    def loss_of(state):
        return torch.nn.functional.cross_entropy(state[: k * k].view(k, k) ** r + state[k * k :], torch.arange(k))

    generator = np.random.default_rng(r)
    state = np.concatenate([generator.uniform(0.1, 1.5, k * k), generator.normal(size=k)])
    tensor = torch.tensor(state, dtype=torch.float64, requires_grad=True)
    loss = loss_of(tensor)
    (gradient,) = torch.autograd.grad(loss, tensor)
    assert np.abs(theory.velocity(state, r, k) + gradient.numpy()).max() <= 1e-10
    assert abs(theory.mean_loss(*theory.unpack(state, k), r) - loss.item()) <= 1e-12
    hessian = torch.autograd.functional.hessian(loss_of, tensor)
    assert np.abs(theory.jacobian(state, r, k) + hessian.detach().numpy()).max() <= 1e-10


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

    coarse, fine = euler(10_000), euler(20_000)
    mine = np.concatenate([flow.weights[-1].ravel(), flow.biases[-1]])
    for part in (slice(0, k * k), slice(k * k, None)):
        scale = np.abs(mine[part]).max()
        assert np.abs(fine[part] - mine[part]).max() <= 1e-4 * scale
        assert np.abs(2 * fine[part] - coarse[part] - mine[part]).max() <= 1e-6 * scale


@pytest.mark.parametrize(("r", "delta"), [(2, 1e-4), (3, 1e-3), (4, 1e-2), (5, 0.02)])
def test_early_weights_and_escape_times_are_those_of_the_closed_form(r, delta):
    """As long as all classes are equally likely, W^(2−r) is linear in time, ln W for r = 2."""
    flow = theory.solve_flow(r, delta, 4)
    start = flow.weights[0]
    first = theory.escape_time(r, start.diagonal().max(), 4)
    times = np.linspace(0, (0.4 if r == 2 else 0.9) * first, 20)
    push = r / 4 * (np.eye(4) - 1 / 4) * times[:, None, None]
    closed = start * np.exp(push) if r == 2 else (start ** (2.0 - r) - (r - 2) * push) ** (-1 / (r - 2))
    assert np.abs(flow.at(times)[0] / closed - 1).max() <= 1e-4
    assert np.nanmin(flow.learned_at()) == pytest.approx(first, rel=0.3 if r == 2 else 0.05)


def test_flow_refuses_what_has_no_answer():
    for wrong, said in (
        (dict(r=1, delta=0.1), "r=1 is not allowed; allowed: whole numbers from 2 to 50"),
        (dict(r=2.5, delta=0.1), "r=2.5"),
        (dict(r=3, delta=0), "delta=0 is not allowed; allowed: between 0 and 1"),
        (dict(r=3, delta=0.1, k=1), "k=1"),
        (dict(r=3, delta=0.1, noise=-1), "noise=-1"),
        (dict(r=11, delta=0.05), "delta=0.05 is too small for r=11: its slowest class would escape at time"),
        (dict(r=3, delta=0.1, k=2, final_loss=0.9), "final_loss=0.9 is not allowed; allowed: one that is passed from"),
    ):
        with pytest.raises(InputError, match=said):
            theory.solve_flow(**wrong)


def test_a_flow_as_a_frame_is_in_the_order_of_learning():
    frame = theory.solve_flow(4, 0.1, 4).frame(50)
    assert list(dict.fromkeys(frame["class"])) == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
    assert frame.groupby("class").size().eq(50).all()
    last = frame.groupby("class").bias.last()
    assert last.idxmax() == "4 of 4" and last.idxmin() == "1 of 4"


def random_network(depth, seed=0):
    """A network with an output bias, random parameters, and its logits without that bias, in float64."""
    model = mli.build(mli.RunConfig(depth=depth, width=20, bias="output", init_scale=1.0, seed=seed)).double()
    end = {name: value.detach() for name, value in model.named_parameters()}
    output_bias(end).copy_(torch.randn(10, generator=torch.Generator().manual_seed(seed)))
    images = mli.load_data("digits").first(200)
    pixels, labels = images.images.double(), images.labels.numpy()
    with torch.no_grad():
        signal = model.logits(without_output_bias(end), pixels).numpy()
    return model, end, signal, output_bias(end).numpy(), pixels, labels


@pytest.mark.parametrize("depth", range(2, 13))
def test_closed_form_logits_are_those_of_the_network_from_zero(depth):
    model, end, signal, bias, pixels, labels = random_network(depth)
    start = {name: torch.zeros_like(value) for name, value in end.items()}
    alphas = np.linspace(0, 1, 11)
    closed = theory.closed_form(signal, bias, depth, alphas[:, None, None])
    assert closed.shape == (11, 200, 10)
    for alpha, expected in zip(alphas, closed, strict=True):
        there = mli.interpolate_parameters(model, start, end, float(alpha))
        with torch.no_grad():
            direct = model.logits(there, pixels).numpy()
        assert np.abs(direct - expected).max() <= 1e-10 * np.abs(closed).max()
        losses = [-log_softmax(z, axis=1)[np.arange(200), labels].mean() for z in (direct, expected)]
        errors = [(z.argmax(1) != labels).mean() for z in (direct, expected)]
        assert abs(losses[0] - losses[1]) <= 1e-5 and abs(errors[0] - errors[1]) <= 1e-5


@pytest.mark.parametrize("depth", [2, 3, 7, 12])
def test_images_turn_right_where_section_03_says(depth):
    """At the largest of ((b_j − b_y) / (s_y − s_j))^(1/(r−1)) over classes j with a larger bias than their own y."""
    _, _, signal, bias, _, _ = random_network(depth, seed=1)
    labels = (signal + bias).argmax(1)  # right at the end
    lead = np.take_along_axis(signal, labels[:, None], 1) - signal
    debt = bias - bias[labels][:, None]
    ratio = np.divide(debt, lead, out=np.zeros_like(debt), where=debt > 0)
    turning = ratio.max(1, keepdims=True) ** (1 / (depth - 1))
    late = (turning[:, 0] > 1e-3) & (turning[:, 0] < 0.999)
    assert late.sum() > 20
    for share, right in ((1 - 1e-6, False), (1 + 1e-6, True)):
        logits = theory.closed_form(signal, bias, depth, turning * share)
        assert ((logits.argmax(1) == labels)[late] == right).all()


LAWS = pytest.mark.parametrize("class_means", [True, False], ids=["class means", "two scalars"])


def ends_of(bias, depth=4, width=24, seed=0):
    """Two random networks of one shape, and images."""
    torch.manual_seed(seed)
    model = FCN(20, 5, depth, width, bias)
    ends = [{name: torch.randn_like(value) * 0.3 for name, value in model.named_parameters()} for _ in range(2)]
    return model, *ends, torch.rand(150, 20, 1, 1)


@LAWS
@pytest.mark.parametrize("path", ["linear", "homogeneous"])
@pytest.mark.parametrize("bias", ["none", "output", "all"])
@pytest.mark.parametrize("depth", [1, 2, 7])
def test_the_law_is_exact_at_both_ends(depth, bias, path, class_means):
    model, start, end, images = ends_of(bias, depth)
    predicted = theory.predicted_logits(start, end, images, [0, 0.5, 1], path, class_means)
    assert predicted.shape == (3, 150, 5)
    for there, params in ((predicted[0], start), (predicted[-1], end)):
        exact = model.logits(params, images)
        assert (there - exact).abs().max() <= 1e-5 * exact.abs().max()


@LAWS
def test_the_law_is_exact_from_the_origin(class_means):
    model, _, end, images = ends_of("output")
    zero = {name: torch.zeros_like(value) for name, value in end.items()}
    predicted = theory.predicted_logits(zero, end, images, 11, class_means=class_means)
    exact = model.logits(interpolate_parameters(model, zero, end, np.linspace(0, 1, 11)), images)
    assert (predicted - exact).abs().max() <= 1e-5 * exact.abs().max()


@pytest.mark.parametrize("bias", ["output", "all"])
def test_the_law_is_the_recursion_of_the_page_written_out(bias):
    """Least squares of each layer on all images, without shortcuts."""
    _, start, end, images = ends_of(bias)
    alpha, inputs = 0.4, images.flatten(1).double()
    params = [{name: value.double() for name, value in side.items()} for side in (end, start)]
    late = early = inputs
    k, c = 1.0, 0.0
    for (w_end, b_end), (w_start, b_start) in zip(*map(weights_and_biases, params), strict=True):
        b_end, b_start = (0.0 if some is None else some for some in (b_end, b_start))
        weight, shift = alpha * w_end + (1 - alpha) * w_start, alpha * b_end + (1 - alpha) * b_start
        logits = (k * late + c * early) @ weight.T + shift
        late, early = ((late @ w_end.T + b_end).relu(), (early @ w_start.T + b_start).relu())
        pair = torch.stack([late.flatten(), early.flatten()], 1)
        k, c = torch.linalg.lstsq(pair, logits.relu().flatten().unsqueeze(1)).solution[:, 0].tolist()
    found = theory.law(start, end, images, [alpha], class_means=False, fitted_on=10_000)
    assert (found.logits[0] - logits).abs().max() <= 1e-5 * logits.abs().max()
    assert found.signal.shape == found.floor.shape == (1, 3)


def test_the_parts_of_the_law_are_signal_floor_and_bias():
    """At θ(T) the floor is gone and the signal whole, at θ(0) the other way round."""
    model, start, end, images = ends_of("output")
    start = without_output_bias(start)
    found = theory.law(start, end, images, 3, class_means=False)

    def size(logits):
        return (logits - logits.mean(1, keepdim=True)).square().mean().sqrt().item()

    ends = [size(model.logits(side, images)) for side in (start, without_output_bias(end))]
    bias = size(output_bias(end).unsqueeze(0))
    assert found.parts[0] == pytest.approx([0, ends[0], 0], abs=1e-4)
    assert found.parts[-1] == pytest.approx([ends[1], 0, bias], abs=1e-4)
    assert found.signal[[0, -1]] == pytest.approx(np.array([[0] * 3, [1] * 3]), abs=1e-4)
    assert found.floor[[0, -1]] == pytest.approx(np.array([[1] * 3, [0] * 3]), abs=1e-4)


def test_class_means_pass_the_layers_as_they_are():
    """Where images of a class are one image, nothing differs within classes, and the law is exact on the whole path."""
    model, start, end, images = ends_of("all")
    labels = model.logits(end, images).argmax(1)
    first = [(labels == label).nonzero()[0, 0] for label in labels.unique()]
    same = images[torch.stack(first).repeat(20)]
    exact = model.logits(interpolate_parameters(model, start, end, [0.3, 0.6]), same)
    assert (theory.predicted_logits(start, end, same, [0.3, 0.6]) - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_the_law_refuses_networks_with_normalization(small_config):
    params = dict(mli.build(small_config.replace(normalization="layer")).named_parameters())
    with pytest.raises(InputError, match="no law for a network with .*; allowed: fully-connected, without norm"):
        theory.predicted_logits(params, params, torch.zeros(2, 1, 8, 8), 3)
    _, start, end, images = ends_of("output")
    with pytest.raises(InputError, match="unknown path 'curved'"):
        theory.predicted_logits(start, end, images, 3, "curved")
