"""Any module between two checkpoints: exact, untouched, like others' tools where these are right, and strict."""

import copy
import math
import re
import warnings
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils import data as loading

import mli_utils as mli
from mli_utils.core import modules
from mli_utils.core.modules import Widened
from mli_utils.core.parameters import parameter_groups
from mli_utils.core.paths import interpolate_groups
from mli_utils.runs import own


def plain():
    """A plain network of three layers for 6 numbers and 3 classes."""
    return nn.Sequential(OrderedDict(a=nn.Linear(6, 5), r=nn.ReLU(), b=nn.Linear(5, 5), s=nn.ReLU(), c=nn.Linear(5, 3)))


def normed():
    """A convolutional network with batch norm and dropout, for images of 6 × 6 pixels."""
    first = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*first, nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3))


def moved(model, seed=1, by=0.3):
    """A state dict beside the model's own, as training would leave it."""
    generator = torch.Generator().manual_seed(seed)
    state = copy.deepcopy(model.state_dict())
    for value in state.values():
        if value.is_floating_point():
            value += by * torch.rand(value.shape, generator=generator)
    return state


def samples(n=40, shape=(6,), classes=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, *shape, generator=generator), torch.arange(n) % classes


def by_hand(model, start, end, inputs, targets, alphas, loss=nn.functional.cross_entropy):
    """The textbook's loop, over everything at once, in float64, with batch norm by the set's own statistics."""
    found, again = [], copy.deepcopy(model).double()
    for alpha in alphas:
        mixed = {name: (1 - alpha) * start[name].double() + alpha * end[name].double() for name in start}
        again.load_state_dict(mixed)
        again.train()
        for module in again.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        found.append(loss(again(inputs.double()), targets).item())
    return found


@pytest.fixture(autouse=True)
def same_network():
    torch.manual_seed(0)


@pytest.mark.parametrize("make", [plain, normed])
@pytest.mark.parametrize("batch_size", [7, 512])
def test_it_is_the_textbook_s_and_exact_at_the_ends(make, batch_size, monkeypatch):
    monkeypatch.setattr(modules, "BATCH_BYTES", 0)  # statistics of batch norm come from batches of this size, too
    model = make()
    inputs, targets = samples(shape=(6,) if make is plain else (1, 6, 6))
    start, end = copy.deepcopy(model.state_dict()), moved(model)
    found = mli.interpolate_model(model, start, end, (inputs, targets), alphas=5, batch_size=batch_size)
    assert found.columns.tolist() == ["path", "classes", "alpha", "loss", "error"]
    expected = by_hand(model, start, end, inputs, targets, found.alpha)
    assert found.loss.to_numpy() == pytest.approx(expected, abs=1e-6)
    for alpha, state in ((0, start), (1, end)):
        there = mli.interpolate_model(model, start, end, (inputs, targets), alphas=[0.0, 1.0]).loss[alpha]
        frozen = mli.interpolate_model(model, start, end, (inputs, targets), "linear", 2, statistics="interpolated")
        model.load_state_dict(state)
        logits = model.eval()(inputs)
        if make is plain:
            assert there == pytest.approx(nn.functional.cross_entropy(logits, targets).item(), abs=2e-7)
            at = interpolate_groups(parameter_groups(model), start, end, float(alpha), "homogeneous")
            assert all(torch.equal(at[name], value) for name, value in state.items())  # to the last bit
        assert frozen.loss[alpha] == pytest.approx(nn.functional.cross_entropy(logits, targets).item(), abs=1e-6)
        assert frozen.error[alpha] == pytest.approx((logits.argmax(1) != targets).float().mean().item())


def test_nothing_is_changed():
    model, first, second = normed(), normed(), normed()
    second.load_state_dict(moved(first))
    model.train()
    model[2].eval()
    inputs, targets = samples(shape=(1, 6, 6))
    before = [copy.deepcopy(some.state_dict()) for some in (model, first, second)]
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    kept = inputs.clone()
    for statistics in ("recomputed", "interpolated", "frozen"):
        mli.interpolate_model(model, first, second, (inputs, targets), alphas=3, statistics=statistics)
    mli.diagnose(model, first, second, (inputs, targets), 3)
    mli.parameter_table(model, (inputs, targets))
    for some, state in zip((model, first, second), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in some.state_dict().items())
        assert all(parameter.grad is None for parameter in some.parameters())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(random, torch.get_rng_state()) and torch.equal(inputs, kept)


@pytest.mark.filterwarnings("ignore")
def test_loss_landscapes_says_the_same_where_both_are_right():
    from loss_landscapes import linear_interpolation
    from loss_landscapes.metrics import Loss

    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10)
    )
    digits = mli.load_data("digits")
    start, end = copy.deepcopy(model), copy.deepcopy(model)
    end.load_state_dict(moved(model))
    ours = mli.interpolate_model(model, start, end, digits, alphas=11).loss[1:]  # theirs leave out α = 0
    with torch.no_grad():
        metric = Loss(nn.CrossEntropyLoss(), digits.images, digits.labels)
        theirs = linear_interpolation(start, end, metric, 10, deepcopy_model=True)
    assert ours.to_numpy() == pytest.approx(np.asarray(theirs, float), abs=1e-6)


OWN = {
    "fcn": {"depth": 3, "width": 16, "bias": "all", "init_scale": 1.0},
    "vgg16": {"width": 4, "dataset": "digits32", "init_scale": 1.0},
    "resnet18": {"width": 2, "dataset": "digits32", "init_scale": 1.0, "normalization": "batch", "bias": "all"},
    "vit": {"width": 8, "normalization": "layer", "bias": "all", "init_scale": 1.0},
}


@pytest.mark.parametrize("model", OWN)
def test_it_is_interpolate_for_the_book_s_own_runs(model):
    (run,) = mli.train(mli.RunConfig(model=model, n_train=30, epochs=2, batch_size=10, lr=0.02, **OWN[model]))
    paths = ["linear", "homogeneous"]
    some = mli.load_data(run.config.dataset).first(30)
    for statistics in ("recomputed", "interpolated") if model == "resnet18" else ("recomputed",):
        theirs = mli.interpolate(run, paths, 3, by_class=True, statistics=statistics)
        ours = mli.interpolate_model(
            mli.build(run.config),
            run.start,
            run.end,
            some,
            paths,
            3,
            by_class=True,
            statistics=statistics,
            train_data=some,
        )
        assert ours.path.tolist() == theirs.path.tolist()
        for name, off in {"loss": 1e-6, "error": 0, "class_error": 0, "predicted_share": 0, "mean_logit": 1e-5}.items():
            assert ours[name].to_numpy() == pytest.approx(theirs[name].to_numpy(), abs=off + 1e-9, rel=1e-5), name


def test_every_kind_of_data_gives_every_sample_once():
    model, (inputs, targets) = plain(), samples(23)
    ends = copy.deepcopy(model.state_dict()), moved(model)
    expected = mli.interpolate_model(model, *ends, (inputs, targets), alphas=3).loss.to_numpy()
    dataset = loading.TensorDataset(inputs, targets)
    named = [{"input": one, "labels": label} for one, label in zip(inputs, targets, strict=True)]
    for data in (
        dataset,
        loading.DataLoader(dataset, 4, shuffle=True),
        loading.DataLoader(dataset, 5, sampler=loading.SubsetRandomSampler(range(23))),
        [inputs.numpy(), targets.numpy()],
        (inputs, targets.to(torch.uint8)),
        loading.DataLoader(named, 7),
        {"input": inputs, "labels": targets},
    ):
        found = mli.interpolate_model(model, *ends, data, alphas=3, batch_size=8)
        assert found.loss.to_numpy() == pytest.approx(expected, abs=1e-7), data


class Sequences(loading.IterableDataset):
    """Batches of token sequences, padded by batch."""

    def __iter__(self):
        for length in (3, 5, 4):
            yield torch.ones(2, length, dtype=torch.int64), torch.tensor([0, 1])


class Bag(nn.Module):
    """A classifier of token sequences of any length."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(4, 5), nn.Linear(5, 3)

    def forward(self, tokens):
        return {"logits": self.head(self.words(tokens).mean(1))}


def test_batches_of_other_shapes_stay_batches():
    model = Bag()
    found = mli.interpolate_model(model, model, moved(model), loading.DataLoader(Sequences(), None), alphas=2)
    assert np.isfinite(found.loss).all()
    assert mli.parameter_table(model).group.tolist() == ["embeddings", "weights", "output_bias"]


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_checkpoints_are_read_without_their_prefixes(tmp_path, suffix):
    model, (inputs, targets) = plain(), samples()
    start, end = copy.deepcopy(model.state_dict()), moved(model)
    expected = mli.interpolate_model(model, start, end, (inputs, targets), alphas=3)
    paths = []
    for name, state in (("start", start), ("end", end)):
        state = {f"module._orig_mod.{key}": value for key, value in state.items()}
        paths.append(tmp_path / f"{name}{suffix}")
        if suffix == ".safetensors":
            save_file(state, paths[-1])
        else:
            torch.save(state if suffix == ".pt" else {"epoch": 3, "state_dict": state}, paths[-1])
    for given in (paths, [str(path) for path in paths]):
        again = mli.interpolate_model(nn.DataParallel(model), *given, (inputs, targets), alphas=3)
        pd.testing.assert_frame_equal(again, expected)


def test_other_precisions_are_widened_with_a_word():
    model, (inputs, targets) = plain(), samples()
    start, end = copy.deepcopy(model.state_dict()), moved(model)
    half = {name: value.half() for name, value in end.items()}
    with pytest.warns(Widened, match="end: float16 is brought to float32"):
        found = mli.interpolate_model(model, start, half, (inputs, targets), alphas=2)
    exact = mli.interpolate_model(
        model.half(), start, {name: value.float() for name, value in half.items()}, (inputs, targets), alphas=2
    )
    assert found.equals(exact)  # a model in half precision is evaluated in float32, too
    with pytest.warns(Widened, match="data: inputs: float64"):
        mli.interpolate_model(model, start, end, (inputs.double(), targets), alphas=2)


def test_regressions_and_losses_of_one_s_own():
    model, (inputs, _) = nn.Linear(6, 2), samples()
    targets = torch.randn(40, 2)
    start, end = copy.deepcopy(model.state_dict()), moved(model)
    squares = mli.interpolate_model(model, start, end, (inputs, targets), alphas=3, loss="mse", batch_size=7)
    assert squares.loss.to_numpy() == pytest.approx(
        by_hand(model, start, end, inputs, targets, squares.alpha, nn.functional.mse_loss), abs=1e-6
    )
    assert squares.error.isna().all() and squares.classes.isna().all()
    absolute = mli.interpolate_model(
        model, start, end, (inputs, targets), alphas=3, loss=lambda out, to: (out - to).abs().mean(1)
    )
    assert (absolute.loss != squares.loss).all()
    assert mli.plateau(squares).error_plateau.isna().all() and mli.plateau(squares).bump.notna().all()
    assert len(mli.curve_figure(squares).axes) == 1


def test_statistics_of_batch_norm():
    model = normed()
    inputs, targets = samples(60, (1, 6, 6))
    start, end = copy.deepcopy(model.state_dict()), moved(model)

    def loss(**given):
        return mli.interpolate_model(model, start, end, (inputs[:20], targets[:20]), alphas=3, **given).loss.to_numpy()

    everything = {"train_data": (inputs, targets)}
    assert loss() == pytest.approx(loss(train_data=(inputs[:20], targets[:20])), abs=1e-7)
    assert abs(loss() - loss(**everything)).max() > 1e-4
    assert loss(**everything, batch_size=9) == pytest.approx(loss(**everything), abs=1e-6)
    assert loss(statistics="frozen", **everything)[2] == pytest.approx(loss(**everything)[2], abs=1e-6)
    assert loss(statistics="interpolated", **everything)[0] == pytest.approx(loss(**everything)[0], abs=1e-6)
    assert loss(statistics="frozen")[2] == loss(statistics="interpolated")[2]  # the checkpoint's own
    assert abs(loss(statistics="frozen") - loss(statistics="interpolated"))[:2].min() > 0


def test_curves_go_on_to_plateaus_figures_and_the_book(shown):
    model, (inputs, targets) = plain(), samples()
    found = mli.interpolate_model(model, model, moved(model), (inputs, targets), ["linear", "homogeneous"], 5)
    lengths = mli.plateau(found.assign(network="mine"))
    assert lengths.columns.tolist() == ["path", "classes", "network", "error_plateau", "loss_plateau", "bump"]
    assert len(lengths) == 2 and (found.classes == 3).all()
    mli.show(mli.curve_figure(found), "my-curves", found)
    assert len(shown) == 2


def test_paths_of_one_s_own_and_groups_corrected():
    model, (inputs, targets) = plain(), samples()
    start, end = copy.deepcopy(model.state_dict()), moved(model)
    parts = dict.fromkeys(["weights", "hidden_biases", "normalization"], "linear")
    frozen = mli.interpolate_model(model, start, end, (inputs, targets), {"late": {**parts, "output_bias": "end"}}, 3)
    assert frozen.path.unique().tolist() == ["late"]
    again = mli.interpolate_model(
        model, start, {**end, "c.bias": start["c.bias"]}, (inputs, targets), alphas=3, groups={"a.*": "embeddings"}
    )
    same = mli.interpolate_model(model, start, {**end, "c.bias": start["c.bias"]}, (inputs, targets), alphas=3)
    pd.testing.assert_frame_equal(again, same)  # embeddings move as weights do
    path = {"still": {**parts, "output_bias": "linear", "embeddings": "start"}}
    still = mli.interpolate_model(model, start, end, (inputs, targets), path, 3, groups={"*": "embeddings"})
    assert still.loss.nunique() == 1


class Residual(nn.Module):
    """A block with a shortcut, and a head."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(x + self.b(self.a(x).relu()))


class Recurrent(nn.Module):
    """Two numbers a step."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.cell(x.unflatten(1, (3, 2)))[0][:, -1])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Residual, "no homogeneous path: 1 or 3 weight layers lie on the ways to head.bias"),
        (Recurrent, "no homogeneous path: cell passes its weights once a step"),
    ],
)
def test_no_homogeneous_path_without_layer_numbers(make, said):
    model = make()
    with pytest.raises(mli.InputError, match=said):
        mli.interpolate_model(model, model, moved(model), samples(), "homogeneous", 3)
    found = mli.diagnose(model, model, moved(model), samples(), 3)
    assert "homogeneous" not in found.table.path.tolist() and said.partition(": ")[2] in str(found)


def test_diagnosis():
    model, (inputs, targets) = plain(), samples()
    start = copy.deepcopy(model.state_dict())
    end = {**moved(model), "c.bias": torch.tensor([0.0, 9.0, 1.0])}
    found = mli.diagnose(model, start, end, (inputs, targets), 11)
    walked = mli.interpolate_model(model, start, end, (inputs, targets), ["linear", "homogeneous"], 11, by_class=True)
    assert (found.bias_gap, found.largest) == (9.0, 1)
    own_curves = found.curves.set_index(["path", "alpha"])
    for path, curve in walked.groupby("path"):
        measured = own_curves.loc[path]
        assert measured.loss.to_numpy() == pytest.approx(curve[curve.label == 0].loss.to_numpy(), abs=1e-6)
        share = curve[curve.label == 1].predicted_share
        assert measured.as_largest.to_numpy() == pytest.approx(share.to_numpy())
    without = mli.interpolate_model(model, start, {**end, "c.bias": torch.zeros(3)}, (inputs, targets), alphas=11)
    assert own_curves.loc["zeroed"].loss.to_numpy() == pytest.approx(without.loss.to_numpy(), abs=1e-6)
    assert own_curves.loc["centred"].loss.to_numpy() == pytest.approx(
        own_curves.loc["linear"].loss.to_numpy(), abs=1e-6
    )
    first = walked[(walked.alpha == 0) & (walked.path == "linear")].predicted_share
    assert found.first_share == first.max() and found.first_guess == first.argmax()
    assert {"linear", "zeroed", "centred", "common logits away", "homogeneous"} <= set(found.table.path)
    assert re.fullmatch(r"[^\n]+\. [^\n]+\.", str(found))
    law, linear = (own_curves.loc[path].loss.loc[[0.0, 1.0]].to_numpy() for path in ("law", "linear"))
    assert law == pytest.approx(linear, abs=1e-5)  # the law is exact at both ends


def test_the_law_takes_plain_networks_alone():
    inputs = samples()
    flat = nn.Sequential(nn.Flatten(), *plain())
    for model, plainly in (
        (plain(), True),
        (flat, True),
        (Residual(), False),
        (nn.Sequential(*plain(), nn.Tanh()), False),
    ):
        walk = own.Walk(model, model, moved(model), inputs, None, "recomputed", "cross_entropy", 512, "cpu", None)
        assert bool(walk.dense) == walk.plain == plainly


def test_progress_is_shown(monkeypatch, capsys):
    monkeypatch.setenv("MLI_PROGRESS", "1")
    model = plain()
    mli.interpolate_model(model, model, moved(model), samples(), alphas=3)
    assert "walking" in capsys.readouterr().err


# ── Bad input ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Two(nn.Module):
    """Returns a tuple, text, or one number for all samples."""

    def __init__(self, returned):
        super().__init__()
        self.head, self.returned = nn.Linear(6, 3), returned

    def forward(self, x):
        return {"tuple": (self.head(x), x), "mapping": {"scores": self.head(x)}, "mean": self.head(x).mean()}[
            self.returned
        ]


class Twice(nn.Module):
    """One batch norm for two layers."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.head = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.norm(self.a(self.norm(x))))


class Tied(nn.Module):
    """Two layers that share their weight, and a count in a buffer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.b.weight = self.a.weight
        self.register_buffer("order", torch.arange(6))

    def forward(self, x):
        return self.head(self.b(self.a(x)[:, self.order]))


class Odd(nn.Module):
    """A parameter of a kind that nothing tells."""

    def __init__(self):
        super().__init__()
        self.head, self.drive = nn.Linear(6, 3), nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.head(x) * self.drive


X, Y = samples()
DATASET = loading.TensorDataset(X, Y)


def plain_again():
    torch.manual_seed(0)
    return plain()


def state(**changed):
    """The end's state dict with some tensors changed, or left out where None."""
    found = {**moved(plain_again()), **{name.replace("_", "."): value for name, value in changed.items()}}
    return {name: value for name, value in found.items() if value is not None}


def swapped():
    found = moved(plain())
    return {{"a.weight": "c.weight", "c.weight": "a.weight"}.get(name, name): value for name, value in found.items()}


BAD = {
    "no module": ({"model": lambda x: x}, "model is a function; allowed: a torch.nn.Module"),
    "no file": ({"start": "nowhere.pt"}, "start=nowhere.pt is no file"),
    "another kind of file": ({"start": "state.npz"}, "start=state.npz is not allowed; allowed: files .pt"),
    "numbers as a state": ({"end": [1, 2]}, "end is a list; allowed: a state dict"),
    "an empty state": ({"end": {}}, "end is a dict; allowed: a state dict"),
    "arrays as a state": ({"end": {"a": np.ones(2)}}, "end is a dict; allowed: a state dict of tensors"),
    "a missing name": ({"end": state(a_bias=None)}, "end lacks a.bias; needed"),
    "an unexpected name": ({"end": state(d_bias=torch.ones(1))}, "end has d.bias; needed"),
    "another network's names": ({"end": {"x": torch.ones(1)}}, "end lacks a.weight, .*has x"),
    "a misshapen weight": (
        {"end": state(a_weight=torch.ones(5, 7))},
        r"a.weight has the shape \(5, 7\); allowed: \(5, 6\)",
    ),
    "swapped names": ({"end": swapped()}, r"end: a.weight has the shape \(3, 5\)"),
    "a stacked network": ({"end": state(c_bias=torch.ones(2, 3))}, r"c.bias has the shape \(2, 3\)"),
    "NaN weights": ({"end": state(b_weight=torch.full((5, 5), math.nan))}, "end: b.weight is not finite"),
    "infinite weights": ({"start": state(b_bias=torch.full((5,), math.inf))}, "start: b.bias is not finite"),
    "whole numbers as weights": ({"end": state(b_bias=torch.ones(5, dtype=torch.int64))}, "b.bias is torch.int64"),
    "complex weights": ({"end": state(b_bias=torch.ones(5, dtype=torch.complex64))}, "b.bias is torch.complex64"),
    "weights without numbers": ({"end": state(b_bias=torch.ones(5, device="meta"))}, "b.bias is on the meta device"),
    "equal ends": ({"end": state(), "start": state()}, "start and end are equal; allowed: different ones"),
    "half a pair": ({"data": (X,)}, "data is a tuple of length 1; allowed: a DataLoader"),
    "images without labels": ({"data": X}, "data is a Tensor; allowed: a DataLoader"),
    "lists of numbers": ({"data": ([[1.0] * 6], [0])}, "data: inputs are a list of length 1; allowed: tensors"),
    "other numbers of labels": ({"data": (X, Y[:-1])}, r"data: \[39, 40\] samples; allowed: as many targets"),
    "no samples": ({"data": (X[:0], Y[:0])}, "data has no samples"),
    "an empty loader": (
        {"data": loading.DataLoader(DATASET, sampler=loading.SubsetRandomSampler([]))},
        "has no samples",
    ),
    "NaN images": ({"data": (X * math.nan, Y)}, "data: inputs: 0 is not finite"),
    "images of another size": (
        {"data": (X[:, :5], Y)},
        "the model does not take inputs as given in data: mat1 and mat2",
    ),
    "unknown arguments": ({"data": {"pixels": X, "labels": Y}}, "the model does not take inputs as given in data"),
    "float labels": ({"data": (X, Y.float())}, "targets are float32 of shape .*allowed: .*whole numbers"),
    "true and false as labels": ({"data": (X, Y > 0)}, "targets are bool"),
    "labels in a column": ({"data": (X, Y[:, None])}, r"targets are int64 of shape \(40, 1\)"),
    "labels out of range": ({"data": (X, Y + 1)}, "labels go from 1 to 3; allowed: from 0 to 2"),
    "negative labels": ({"data": (X, Y - 100)}, "labels go from -100 to -98"),
    "batches lost": (
        {"data": loading.DataLoader(DATASET, 7, drop_last=True)},
        "drop_last=True; allowed: drop_last=False",
    ),
    "samples drawn again": (
        {"data": loading.DataLoader(DATASET, 7, sampler=loading.RandomSampler(DATASET, replacement=True))},
        "RandomSampler may repeat or leave out samples",
    ),
    "weighted samples": (
        {"data": loading.DataLoader(DATASET, 7, sampler=loading.WeightedRandomSampler([1.0] * 40, 40))},
        "WeightedRandomSampler may repeat",
    ),
    "batches of one's own": ({"data": loading.DataLoader(DATASET, batch_sampler=[[0, 1], [1]])}, "list may repeat"),
    "an unknown path": ({"paths": "straight"}, "unknown path 'straight'"),
    "no path": ({"paths": []}, "paths are empty"),
    "a path without groups": ({"paths": {"p": {"weights": "linear"}}}, "no schedule for hidden_biases"),
    "one point": ({"alphas": 1}, "alphas=1 is not allowed; allowed: at least 2"),
    "falling points": ({"alphas": [0.5, 0.2]}, "increasing numbers from 0 to 1"),
    "points beyond the ends": ({"alphas": [0, 1.5]}, "increasing numbers from 0 to 1"),
    "points in words": ({"alphas": ["half"]}, "alphas=.'half'. is not allowed"),
    "no group of that name": ({"groups": {"a.*": "bias"}}, "unknown parameter group 'bias'; known: weights"),
    "a group of no parameter": ({"groups": {"z.*": "weights"}}, "unknown parameter in groups 'z..'; known: a.weight"),
    "unknown statistics": ({"statistics": "running"}, "unknown statistics 'running'"),
    "an unknown loss": ({"loss": "nll"}, "loss='nll' is not allowed; allowed: cross_entropy, mse"),
    "a mean as loss": ({"loss": nn.CrossEntropyLoss()}, r"the loss returns \(\); allowed: \(2,\), one a sample"),
    "mse of labels": ({"loss": "mse"}, r"targets are \(2,\); allowed for mse: \(2, 3\)"),
    "classes of a regression": (
        {"loss": lambda out, to: out.sum(1), "by_class": True},
        "by_class=True is not allowed for this loss",
    ),
    "no batch": ({"batch_size": 0}, "batch_size=0 is not allowed"),
    "part of a sample": ({"batch_size": 2.5}, "batch_size=2.5 is not allowed"),
    "an unknown device": ({"device": "abacus"}, "device='abacus' is not allowed"),
    "a tuple of outputs": ({"model": Two("tuple")}, "the model returns a tuple of length 2; allowed: logits"),
    "outputs by another name": ({"model": Two("mapping")}, "the model returns a mapping without logits"),
    "one number for all": ({"model": Two("mean")}, r"the model returns \(\); allowed: one row a sample"),
    "pictures as logits": (
        {"model": nn.Sequential(nn.Linear(6, 6), nn.Unflatten(1, (2, 3)))},
        r"the model returns \(2, 2, 3\); allowed: \(samples, classes\) for cross_entropy",
    ),
    "one norm twice": ({"model": Twice()}, "batch norm norm is used 2 times; allowed: statistics='frozen'"),
    "a norm of batches": (
        {"model": nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3))},
        "batch norm 0 keeps no statistics",
    ),
    "frozen without statistics": (
        {"model": nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)), "statistics": "frozen", "lack": "running"},
        "end lacks 0.running_mean, 0.running_var",
    ),
    "untied weights": (
        {"model": Tied(), "change": "b.weight"},
        "end: a.weight and b.weight differ; allowed: equal ones",
    ),
    "another order": ({"model": Tied(), "change": "order"}, "the buffer order differs between start and end"),
    "training data of another kind": ({"model": normed, "train_data": 3}, "train_data is a int"),
    "an unknown kind of parameter": (
        {"model": Odd()},
        "no parameter group for drive of Odd '' in Odd; allowed in groups",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_sentence_and_changes_nothing(case):
    given, said = BAD[case]
    given = {name: value() if value in (plain, normed) else value for name, value in given.items()}
    model = given.pop("model", None) or plain()
    lack, change = given.pop("lack", ""), given.pop("change", "")
    if isinstance(model, nn.Module):
        end = {
            name: value + 1 if name == change else value
            for name, value in moved(model).items()
            if not lack or lack not in name
        }
        given = {"start": copy.deepcopy(model.state_dict()), "end": end, **given}
        before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    else:
        given = {"start": state(), "end": state(), **given}
    data = given.pop("data", (X, Y) if not case.startswith("training") else samples(shape=(1, 6, 6)))
    with warnings.catch_warnings(), pytest.raises(mli.InputError, match=said) as raised:
        warnings.simplefilter("ignore", Widened)
        mli.interpolate_model(model, given.pop("start"), given.pop("end"), data, **{"alphas": 3, **given})
    assert "\n" not in str(raised.value)
    if isinstance(model, nn.Module):
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert [module.training for module in model.modules()] == modes


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save(plain(), tmp_path / "whole.pt")
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    (tmp_path / "damaged.pt").write_bytes(b"nothing")
    model = plain()
    for name, said in (
        ("whole.pt", "holds pickled code"),
        ("damaged.safetensors", "cannot be read"),
        ("damaged.pt", "is damaged|cannot be read"),
    ):
        with pytest.raises(mli.InputError, match=said) as raised:
            mli.interpolate_model(model, model, tmp_path / name, samples(), alphas=3)
        assert "\n" not in str(raised.value)


def test_a_diagnosis_needs_an_output_bias():
    for model, said in (
        (nn.Linear(6, 3, bias=False), "the network has none for an output bias"),
        (nn.Sequential(nn.Linear(6, 3), nn.LayerNorm(3)), "none for an output bias"),
        (nn.Sequential(nn.Linear(6, 3), nn.LogSoftmax(1)), "1?.bias for an output bias; allowed here: one"),
    ):
        with pytest.raises(mli.InputError, match=said):
            mli.diagnose(model, model, moved(model), samples(), 3)


def shared():
    """A network that ends with the ReLU that it has used before."""
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(6, 5), relu, nn.Linear(5, 3), relu)


class Twice(nn.Module):
    """A network that uses one layer twice."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, inputs):
        hidden = self.again(self.first(inputs).relu()).relu()
        return self.last(self.again(hidden).relu())


@pytest.mark.parametrize("make", [shared, Twice])
def test_layers_used_again_are_used_again(make):
    model = make()
    inputs, targets = samples()
    start, end = copy.deepcopy(model.state_dict()), moved(model)
    found = mli.interpolate_model(model, start, end, (inputs, targets), alphas=3)
    assert found.loss.to_numpy() == pytest.approx(by_hand(model, start, end, inputs, targets, found.alpha), abs=1e-6)
    if make is Twice:
        assert mli.diagnose(model, start, end, (inputs, targets), alphas=3).curves.loss.notna().all()


@pytest.mark.parametrize("make", [plain, normed])
def test_no_random_number_is_drawn(make):
    model = make()
    data = loading.TensorDataset(*samples(shape=(6,) if make is plain else (1, 6, 6)))
    start, end, before = copy.deepcopy(model.state_dict()), moved(model), torch.get_rng_state()
    mli.interpolate_model(model, start, end, data, alphas=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_inputs_of_any_number_of_axes():
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3))
    inputs, targets = samples(shape=(2, 2, 2, 3))
    ends = copy.deepcopy(model.state_dict()), moved(model)
    whole, flat = (
        mli.interpolate_model(model, *ends, (some, targets), alphas=3) for some in (inputs, inputs.flatten(1))
    )
    pd.testing.assert_frame_equal(whole, flat)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = nn.Linear(12, 3)

    def forward(self, one, other):
        return self.module(torch.cat([one, other], 1))


def test_a_loader_s_tuples_are_several_inputs_and_a_child_may_be_named_module():
    model = TwoInputs()
    inputs, targets = samples()
    ends = copy.deepcopy(model.state_dict()), moved(model)
    pairs = loading.DataLoader([((one, one), target) for one, target in zip(inputs, targets, strict=True)], 8)
    one, other = (mli.interpolate_model(model, *ends, data, alphas=3) for data in (pairs, ((inputs, inputs), targets)))
    assert one.loss.to_numpy() == pytest.approx(other.loss.to_numpy(), abs=1e-6)


def test_a_diagnosis_with_statistics_of_other_data():
    model = normed()
    inputs, targets = samples(shape=(1, 6, 6))
    ends = copy.deepcopy(model.state_dict()), moved(model)
    found = mli.diagnose(
        model, *ends, (inputs[:20], targets[:20]), alphas=3, statistics="frozen", train_data=(inputs, targets)
    )
    assert found.curves.loss.notna().all()
    with pytest.raises(mli.InputError, match="alphas begin at 1; allowed here: at 0"):
        mli.diagnose(model, *ends, (inputs, targets), alphas=[1.0])


def test_a_table_of_parameters_in_any_precision():
    data = samples()
    with pytest.warns(Widened):
        assert mli.parameter_table(plain().double(), data).equals(mli.parameter_table(plain(), data))
    assert mli.parameter_table(nn.Linear(3, 2)).group.tolist() == ["weights", "output_bias"]
    with pytest.raises(mli.InputError, match="batch_size=0 is not allowed"):
        mli.parameter_table(plain(), data, batch_size=0)
