import dataclasses
import math

import pytest
import torch
from test_optimizers import torch_optimizer

import mli_utils as mli
from mli_utils.core import training
from mli_utils.core.curves import curve
from mli_utils.core.initialization import build, stream
from mli_utils.runs.images import load_data, of_run


def trained(configs, **options):
    """Train runs of one shape on their images; in the order in which they end."""
    return list(training.train_group(configs, *of_run(configs[0]), **options))


def textbook(config, steps):
    """The same run as anybody would write it: one network, autograd, torch.optim; its batches from the run's seed."""
    images = load_data(config.dataset).first(config.n_train)
    model = build(config)
    optimizer = torch_optimizer(config, model.parameters())
    generator = torch.Generator().manual_seed(stream(config.seed, "batches"))
    done = 0
    while done < steps:
        order = torch.randperm(len(images), generator=generator)
        for batch in order.split(config.batch_size)[: steps - done]:
            loss = torch.nn.functional.cross_entropy(model(images.images[batch]), images.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
    return dict(model.named_parameters())


def test_runs_with_images_of_their_own_end_as_alone():
    configs = [
        mli.RunConfig(depth=3, width=16, n_train=600, batch_size=64, epochs=4, seed=seed, lr=0.02 * (1 + seed))
        for seed in range(3)
    ]
    whole, test = of_run(configs[0])
    sets = [whole[torch.randperm(len(whole), generator=torch.Generator().manual_seed(i))] for i in range(3)]
    sets[1] = dataclasses.replace(sets[1], labels=sets[1].labels.roll(1))
    early = configs[0].seed
    together = training.train_group(
        configs, sets, [test, whole, test], rule=lambda runs, losses: [run.seed == early for run in runs]
    )
    found = {run.config: run for run in together}
    assert found[configs[0]].summary["steps"] == 0
    for i in (1, 2):
        (alone,) = training.train_group([configs[i]], sets[i], [test, whole, test][i])
        assert alone.history.equals(found[configs[i]].history) and alone.summary["steps"] == 40
        assert distance(alone.end, found[configs[i]].end) <= 1e-5
        assert alone.summary["test_error"] == pytest.approx(found[configs[i]].summary["test_error"], abs=0.01)


def distance(one, other):
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("bias", ["none", "output", "all"])
def test_a_run_alone_in_a_group_and_as_in_the_textbook(optimizer, bias):
    lr = {"sgd": 0.05, "adam": 0.002}[optimizer]
    # 300 images in batches of 64: 5 steps an epoch with a smaller last one; 10 epochs: 50 steps
    config = mli.RunConfig(
        depth=5, width=48, bias=bias, init_scale=0.8, optimizer=optimizer, lr=lr, weight_decay=1e-3,
        batch_size=64, epochs=10, n_train=300, stop_loss=0, seed=3,
    )  # fmt: skip
    others = [config.replace(seed=seed, lr=lr / 2, init_scale=1.0) for seed in range(3)]
    (alone,) = trained([config])
    grouped = {run.config: run for run in trained([*others, config])}
    assert alone.summary["steps"] == 50
    assert distance(alone.end, grouped[config].end) <= 1e-5
    assert distance(alone.start, grouped[config].start) == 0
    if optimizer == "sgd":  # Adam makes full steps of gradients that are rounding errors; see the next test
        assert distance(alone.end, textbook(config, 50)) <= 1e-5
    assert alone.history.equals(grouped[config].history)


THREADS = {
    "no bias": {"bias": "none"},
    "output bias": {"bias": "output"},
    "Adam": {"bias": "all", "optimizer": "adam", "lr": 0.005},
    "layer norm": {"bias": "all", "normalization": "layer"},
    "transformer": {"model": "vit", "normalization": "layer", "depth": 10, "epochs": 2},
}


@pytest.mark.parametrize("case", THREADS)
def test_the_number_of_threads_changes_no_bit(case):
    common = {"depth": 4, "width": 32, "n_train": 120, "batch_size": 50, "epochs": 20, "stop_loss": 0}
    configs = [mli.RunConfig(**{**common, **THREADS[case]}, seed=seed) for seed in range(2)]
    before, ends = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            ends.append({run.config: run.end for run in trained(configs)})
    finally:
        torch.set_num_threads(before)
    for config in configs:
        assert all(distance(ends[0][config], other[config]) == 0 for other in ends[1:])


def test_a_run_ends_by_itself_and_leaves_the_others_alone(small):
    quick = mli.RunConfig(**small, stop_loss=0.5)
    slow = mli.RunConfig(**small, stop_loss=1e-3, seed=1)
    grouped = {run.config: run for run in trained([slow, quick])}
    (alone,) = trained([slow])
    assert grouped[quick].summary["steps"] < grouped[slow].summary["steps"]
    assert grouped[quick].history.loss.iloc[-1] <= 0.5 < grouped[quick].history.loss.iloc[-2]
    assert distance(alone.end, grouped[slow].end) <= 1e-5
    assert grouped[slow].summary["status"] == "fitted" and grouped[slow].summary["train_error"] <= 0.01


def test_a_diverged_run_is_marked_and_the_others_go_on(small):
    wild, tame = mli.RunConfig(**{**small, "lr": 900.0}, weight_decay=900.0), mli.RunConfig(**small)
    grouped = {run.config: run for run in trained([wild, tame])}
    assert grouped[wild].summary["status"] == "diverged" and math.isnan(grouped[wild].summary["train_error"])
    assert grouped[wild].summary["steps"] < grouped[tame].summary["steps"]
    assert grouped[tame].summary["status"] == "fitted"


def test_an_unfitted_run_is_marked(small):
    (run,) = trained([mli.RunConfig(**{**small, "epochs": 1})])
    assert run.summary["status"] == "unfitted" and run.summary["train_error"] > 0.01


def test_no_epochs_is_the_initialization(small):
    (run,) = trained([mli.RunConfig(**{**small, "epochs": 0})])
    assert distance(run.start, run.end) == 0 and run.summary["distance"] == 0 and len(run.history) == 1


def test_the_history_is_of_whole_classes_and_dense_early(small):
    (run,) = trained([mli.RunConfig(**small, stop_loss=0)])
    steps = run.history.step.tolist()
    assert steps[:17] == list(range(17)) and steps[-1] == 100
    assert all(after - before <= max(1, before / 12) for before, after in zip(steps, steps[1:], strict=False))
    classes = [f"class_error_{label}" for label in range(10)]
    assert (run.history[classes].mean(axis=1) - run.history.error).abs().max() < 1e-6  # ten images a class


def test_progress_accounts_for_every_epoch_whenever_runs_end(small):
    configs = [mli.RunConfig(**small, stop_loss=loss) for loss in (1.0, 0.1, 0)]
    told = []
    trained(configs, progress=told.append)
    assert sum(told) == sum(config.epochs for config in configs)


def test_training_leaves_the_global_generator_alone(small_config):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trained([small_config])
    assert torch.equal(torch.get_rng_state(), before)


def test_subnormal_numbers_are_taken_as_zero_in_training_and_nowhere_else(small_config):
    tiny, inside = torch.tensor([1e-40]), []
    trained([small_config], progress=lambda _: inside.append(tiny.mul(1).item()))
    assert set(inside) == {0.0} and tiny.mul(1).item() > 0


def test_a_schedule_scales_every_step():
    fields = dict(depth=2, width=8, init_scale=1.0, lr=0.1, momentum=0.0, n_train=100, batch_size=100, stop_loss=0)
    constant, cosine = (
        mli.train(mli.RunConfig(**fields, epochs=epochs, schedule=schedule))[0]
        for epochs, schedule in ((1, "constant"), (2, "cosine"))
    )
    half = mli.train(mli.RunConfig(**{**fields, "lr": 0.05}, epochs=2))[0]
    assert cosine.history.loss[1] == constant.history.loss[1] == pytest.approx(constant.summary["train_loss"], rel=1e-4)
    assert cosine.summary["distance"] != half.summary["distance"]


WAYS = [
    dict(),
    dict(bias="all", clip=0.3, weight_decay=1e-3, schedule="cosine", label_smoothing=0.1, freeze_bias=7, batch_size=30),
    dict(normalization="layer", momentum=0.0, batch_size=30),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_sums_up_to_the_bias_and_changes_nothing(small, way):
    fields = {**small, "epochs": 20, **way}
    configs = [mli.RunConfig(**fields, stop_loss=1.5 if seed else 0, seed=seed) for seed in range(2)]
    budget = training.Budget(configs)
    watched = {run.config: run for run in trained(configs, watch=budget)}
    for config, run in {run.config: run for run in trained(configs)}.items():
        assert distance(run.end, watched[config].end) == 0 and run.history.equals(watched[config].history)
        rows = budget.logged[config]
        assert [row["step"] for row in rows] == run.history.step.tolist()
        assert rows[-1]["pull"] - rows[-1]["intrusions"] == pytest.approx(run.summary["output_bias"], abs=1e-5)
        assert not rows[0]["pull"].any() and not rows[0]["intrusions"].any()
        if not config.label_smoothing:
            assert (rows[-1]["pull"] > 0).all() and (rows[-1]["intrusions"] > 0).all()


def test_a_budget_of_a_convolutional_network():
    config = mli.RunConfig(model="vgg16", dataset="digits32", width=4, n_train=20, batch_size=10, epochs=3, clip=1.0)
    budget = training.Budget([config])
    (run,) = trained([config], watch=budget)
    last = budget.logged[config][-1]
    assert last["pull"] - last["intrusions"] == pytest.approx(run.summary["output_bias"], abs=1e-7)


@pytest.mark.parametrize("fields", [dict(bias="none"), dict(optimizer="adam")])
def test_a_budget_needs_a_bias_and_sgd(small, fields):
    with pytest.raises(mli.InputError, match="no budget of its output bias; allowed: bias 'output' or 'all', sgd"):
        training.Budget([mli.RunConfig(**small, **fields)])


def test_separation_is_the_area_under_the_curve_whatever_the_bias():
    labels = torch.tensor([0, 0, 0, 1, 1])
    logits = torch.tensor([[[3.0, 0], [2, 5], [1, 5], [1, 7], [0, 5]]])
    # class 0: 5.5 of its 6 pairs, one tied; class 1: 7 beats all three, 5 beats one and ties with two
    assert training.separation(logits, labels).tolist() == [pytest.approx([5.5 / 6, 5 / 6])]
    assert torch.equal(
        training.separation(logits + torch.tensor([9.0, -4]), labels), training.separation(logits, labels)
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_trains_and_measures_as_the_processor_does(small_config):
    here, there = (trained([small_config], device=device)[0] for device in ("cpu", "cuda"))
    assert there.summary["status"] == here.summary["status"] == "fitted"
    for name, value in here.start.items():
        assert torch.equal(there.start[name], value)
    assert torch.allclose(torch.tensor(there.history.loss[:10]), torch.tensor(here.history.loss[:10]), rtol=1e-4)
    model, images = build(small_config), load_data("digits").first(small_config.n_train)
    curves = [
        curve(
            model,
            *({n: v.to(device) for n, v in ends.items()} for ends in (here.start, here.end)),
            11,
            "linear",
            images,
        )
        for device in ("cpu", "cuda")
    ]
    assert abs(curves[0]["loss"] - curves[1]["loss"]).max() < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("model", [{"model": "vgg16"}, {"model": "resnet18", "normalization": "batch"}])
def test_replayed_steps_are_the_steps(model, monkeypatch):
    config = mli.RunConfig(**model, dataset="digits32", width=4, n_train=70, batch_size=20, epochs=4, clip=1.0)
    replayed, again = (trained([config], device="cuda")[0].end for _ in range(2))
    monkeypatch.setattr(training.Replayed, "warm_up", math.inf)
    one_by_one = trained([config], device="cuda")[0].end
    for name, value in one_by_one.items():
        assert torch.equal(replayed[name], value) and torch.equal(again[name], value)
