"""VGG-16 and ResNet-18 against torchvision's, and batch norm against plain evaluations."""

import pytest
import torch
import torchvision
from torch import nn
from torch.func import functional_call
from torchvision.models import vgg

import mli_utils as mli
from mli_utils.core.config import InputError
from mli_utils.core.curves import STATISTICS, curve
from mli_utils.core.evaluation import statistics_of
from mli_utils.core.initialization import build
from mli_utils.core.parameters import Group, parameter_groups, stack
from mli_utils.core.paths import interpolate_parameters
from mli_utils.core.training import train_group
from mli_utils.runs.images import load_data, of_run

TINY = dict(dataset="digits32", width=4, init_scale=1.0, n_train=60, batch_size=20, epochs=2)


def network(model, **fields):
    return build(mli.RunConfig(model=model, **{**TINY, **fields}))


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "normalization", "bias", "dataset", "published"),
    [
        ("vgg16", "batch", "all", "cifar10", 14_728_266),
        ("resnet18", "batch", "output", "cifar10", 11_173_962),
        ("resnet18", "batch", "output", "cifar100", 11_220_132),
    ],
)
def test_parameters_are_as_many_as_published(model, normalization, bias, dataset, published):
    assert size(network(model, normalization=normalization, bias=bias, dataset=dataset, width=64)) == published


def torchvision_twin(model, normalization):
    """torchvision's network, changed to the CIFAR form."""
    if model == "resnet18":
        twin = torchvision.models.resnet18(num_classes=10)
        twin.conv1, twin.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        return twin
    twin = nn.Sequential()  # without the hidden layers of its classifier, which take 123 million parameters
    twin.features = vgg.make_layers(vgg.cfgs["D"], batch_norm=normalization == "batch")
    twin.flatten, twin.classifier = nn.Flatten(), nn.Linear(512, 10)
    return twin


@pytest.mark.parametrize(
    ("model", "normalization", "bias"),
    [("vgg16", "none", "all"), ("vgg16", "batch", "all"), ("resnet18", "batch", "output")],
)
def test_the_same_weights_give_torchvision_s_logits(model, normalization, bias):
    ours = network(model, normalization=normalization, bias=bias, width=64)
    twin = torchvision_twin(model, normalization).train()
    params = dict(ours.named_parameters())
    twin.load_state_dict(params, strict=False)
    images = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        expected = twin(images)
    assert torch.allclose(ours.logits(params, images), expected, rtol=1e-4, atol=1e-4)
    assert {name for name, _ in twin.named_parameters()} == params.keys()


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("model", ["vgg16", "resnet18"])
def test_biases_are_where_the_configuration_says(model, normalization):
    convolutions = {"vgg16": 13, "resnet18": 20}[model]
    for bias, hidden in (("none", 0), ("output", 0), ("all", convolutions)):
        groups = parameter_groups(network(model, bias=bias, normalization=normalization)).values()
        names = [group.name for group in groups]
        assert names.count("weights") == convolutions + 1
        assert names.count("hidden_biases") == hidden and names.count("output_bias") == (bias != "none")
        assert names.count("normalization") == (2 * convolutions if normalization == "batch" else 0)


def test_layers_are_counted_along_the_longest_way():
    groups = parameter_groups(network("resnet18", normalization="batch"))
    assert groups["conv1.weight"].layer == groups["bn1.weight"].layer == 1
    assert groups["layer2.0.conv1.weight"].layer == groups["layer2.0.downsample.0.weight"].layer == 6
    assert groups["layer2.0.downsample.1.bias"] == Group("normalization", 6)
    assert groups["layer2.1.conv1.weight"].layer == 8
    assert groups["fc.bias"] == Group("output_bias", 18)
    assert parameter_groups(network("vgg16"))["classifier.bias"] == Group("output_bias", 14)


def test_vgg_without_biases_is_homogeneous_in_its_weights():
    model = network("vgg16", bias="none").double()
    params, images = dict(model.named_parameters()), torch.rand(5, 3, 32, 32, dtype=torch.float64)
    whole = model.logits(params, images)
    half = model.logits({name: 0.5 * value for name, value in params.items()}, images)
    assert (half - 0.5**14 * whole).abs().max() <= 1e-12 * whole.abs().max()


def test_a_stack_gives_what_its_networks_give():
    members = [network("vgg16", bias="all", seed=seed) for seed in range(3)]
    stacked = stack([dict(member.named_parameters()) for member in members])
    images = torch.randn(3, 5, 3, 32, 32)
    together = members[0].logits(stacked, images)
    shared = members[0].logits(stacked, images[0])
    for i, member in enumerate(members):
        assert torch.allclose(together[i], member(images[i]), rtol=1e-4, atol=1e-5)
        assert torch.allclose(shared[i], member(images[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            dict(model="vgg16", dataset="mnist"),
            "vgg16 does not take the images of 'mnist'; datasets it takes: digits32,",
        ),
        (dict(model="vgg16", dataset="digits32", depth=3), "depth=3 is not allowed for vgg16; allowed: 14, or None"),
        (dict(normalization="batch"), "unknown normalization of fcn: 'batch'; known: none"),
    ],
)
def test_what_does_not_fit_a_model_is_refused(fields, said):
    with pytest.raises(InputError) as raised:
        mli.grid(**fields)
    assert said in str(raised.value)


@pytest.fixture(scope="module")
def normalized():
    """A network with batch norm after a little training: its config, endpoints and images."""
    config = mli.RunConfig(model="resnet18", normalization="batch", **{**TINY, "n_train": 300})
    (trained,) = train_group([config], *of_run(config))
    return config, trained, load_data("digits32").first(300)


def plain_loss(config, params, images):
    """Loss with the statistics of the full batch, in torch's own training mode and float64."""
    model = build(config).double().train()
    outputs = functional_call(model, {name: value.double() for name, value in params.items()}, images.images.double())
    return nn.functional.cross_entropy(outputs, images.labels).item()


def test_recomputed_statistics_are_those_of_the_full_batch(normalized):
    config, trained, images = normalized
    model = build(config)
    measured = curve(model, trained.start, trained.end, [0, 0.5, 1], "linear", images)
    half = interpolate_parameters(model, trained.start, trained.end, 0.5, "linear")
    for loss, params in zip(measured["loss"], (trained.start, half, trained.end), strict=True):
        assert loss == pytest.approx(plain_loss(config, params, images), abs=1e-6)
    assert trained.summary["train_loss"] == pytest.approx(measured["loss"][-1], abs=1e-6)


def test_statistics_kept_give_the_same_logits_on_other_images(normalized):
    config, trained, images = normalized
    model = build(config)
    kept = statistics_of(model, trained.end, images.images)
    whole = model.logits(trained.end, images.images, kept)
    part = model.logits(trained.end, images.images[:7], kept)
    assert torch.allclose(whole[:7], part, rtol=1e-4, atol=1e-5)
    own = model.logits(trained.end, images.images[:7])
    assert not torch.allclose(own, part, rtol=1e-2)


def test_three_treatments_of_statistics(normalized):
    config, trained, images = normalized
    model = build(config)
    curves = {
        treatment: curve(model, trained.start, trained.end, [0, 0.5, 1], "linear", images, treatment)
        for treatment in STATISTICS
    }
    start, _, end = (curves["recomputed"]["loss"][i] for i in range(3))
    assert [curves[name]["loss"][-1] for name in STATISTICS] == pytest.approx([end] * 3, rel=1e-4)
    assert curves["interpolated"]["loss"][0] == pytest.approx(start, rel=1e-4)
    assert abs(curves["frozen"]["loss"][0] - start) > 1e-3
    assert len({round(measured["loss"][1], 4) for measured in curves.values()}) == 3


def test_runs_come_out_the_same_alone_or_side_by_side_on_any_number_of_threads(tmp_path, monkeypatch):
    configs = mli.grid(model="vgg16", **TINY, clip=0.1, schedule="cosine", seed=range(3))
    threads = torch.get_num_threads()
    ends = {}
    try:
        for count, some in ((1, configs), (2, configs), (2, configs[1:2])):
            monkeypatch.setenv("MLI_STORE", str(tmp_path / f"{count}-{len(some)}"))
            torch.set_num_threads(count)
            ends[count, len(some)] = {run.config.seed: run.end for run in mli.train(some)}
    finally:
        torch.set_num_threads(threads)
    for other in ((2, 3), (2, 1)):
        for name, value in ends[other][1].items():
            assert torch.equal(value, ends[1, 3][1][name])
    assert not torch.equal(ends[1, 3][0]["classifier.weight"], ends[1, 3][1]["classifier.weight"])


def test_interpolation_leaves_the_endpoints_alone():
    config = mli.RunConfig(model="vgg16", **TINY)
    training_set, test_set = of_run(config)
    (trained,) = train_group([config], training_set, test_set)
    copies = [{name: value.clone() for name, value in side.items()} for side in (trained.start, trained.end)]
    built = dict(build(config).named_parameters())
    assert all(torch.equal(built[name], value) for name, value in trained.start.items())
    measured = curve(build(config), trained.start, trained.end, 3, "linear", training_set)
    assert measured["loss"][0] == pytest.approx(trained.history.loss.iloc[0], rel=1e-5)
    assert measured["loss"][-1] == pytest.approx(trained.summary["train_loss"], rel=1e-6)
    for side, copy in zip((trained.start, trained.end), copies, strict=True):
        assert all(torch.equal(side[name], copy[name]) for name in copy)
