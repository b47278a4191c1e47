import numpy as np
import pandas as pd
import pytest
import torch

import mli_utils as mli
from mli_utils import balance, config, data, models, neighbours, settings, training

FIELDS = dict(depth=3, width=16, init_scale=1.0, lr=0.1, n_train=100, epochs=60)
KINDS = [dict(FIELDS, normalization="layer"), dict(FIELDS, model="vit", depth=10, normalization="layer")]


@pytest.fixture
def runs():
    return mli.train(mli.grid(**FIELDS, seed=range(3), momentum=[0.0, 0.9]))


def test_the_table_has_a_described_row_a_run(runs):
    lines = mli.line_totals(runs, 6)
    table = mli.neighbours_table(runs, lines)
    assert list(table) == list(neighbours.COLUMNS) and len(table) == 6
    assert table.rule.tolist() == ["SGD", "momentum"] * 3
    plateaus = mli.plateau(mli.interpolate(runs, "linear", 6))
    np.testing.assert_allclose(table.error_plateau, plateaus.error_plateau)
    np.testing.assert_allclose(table.relative_distance, [r.summary["distance"] / r.summary["start_norm"] for r in runs])
    fitted = table[table.status == "fitted"]
    assert len(fitted) and (fitted.steps_to_fit <= fitted.steps).all() and (fitted.train_wrong <= 1).all()
    assert table[table.status != "fitted"].steps_to_fit.isna().all()
    assert (table.test_wrong / 397).round(6).tolist() == (1 - table.test_accuracy).round(6).tolist()
    with pytest.raises(mli.InputError, match="a run is there twice"):
        mli.neighbours_table([*runs, runs[0]], lines)


def test_columns_are_told_and_kept(runs, monkeypatch):
    monkeypatch.setattr(neighbours.tables, "show_table", lambda frame, **_: None)
    table = mli.neighbours_table(runs, mli.line_totals(runs, 6))
    mli.show_columns(table)
    kept = pd.read_csv(settings.figures_dir() / "neighbours-columns.csv")
    assert kept.column.tolist() == list(table) and kept["what it holds"].notna().all()
    with pytest.raises(mli.InputError, match="no description of new"):
        mli.show_columns(table.assign(new=1))


def test_one_layer_moves_and_the_others_stay(runs):
    curves = mli.layer_curves(runs[:1], 3)
    assert sorted(set(curves.layer)) == [1, 2, 3] and len(curves) == 9
    run, model = runs[0], models.build(runs[0].config)
    images = data.load("digits").first(100)
    moved = {**run.end, "layers.1.weight": run.start["layers.1.weight"]}
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(models.logits(model, moved, images.images), images.labels).item()
    second = curves[(curves.layer == 2) & (curves.alpha == 0)].loss.item()
    assert second == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("fields", KINDS, ids=["fcn", "vit"])
@pytest.mark.parametrize("bias", ["none", "output", "all"])
def test_networks_with_layer_norm_take_stacks(fields, bias):
    configs = mli.grid(**fields, bias=bias, seed=range(2))
    model = models.build(configs[0])
    each = [models.initialize(model, one) for one in configs]
    images = torch.randn(2, 5, 1, 8, 8)
    alone = torch.stack([models.logits(model, *pair) for pair in zip(each, images, strict=True)])
    torch.testing.assert_close(models.logits(model, models.stack(each), images), alone, atol=1e-5, rtol=1e-4)
    groups = {group.name for group in models.parameter_groups(model).values()}
    wanted = {"weights", "normalization"} | {"none": set(), "output": {"output_bias"}}.get(
        bias, {"output_bias", "hidden_biases"}
    )
    assert groups == wanted and max(g.layer for g in models.parameter_groups(model).values()) == configs[0].depth


def test_the_transformer_attends_as_torch_does():
    from mli_utils.layernorm import HEADS, Block

    block, width = Block(16, True, tokens=6), 16
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(width, HEADS, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(block.queries_keys_values.weight)
        theirs.in_proj_bias.copy_(block.queries_keys_values.bias)
        theirs.out_proj.weight.copy_(block.out.weight)
        theirs.out_proj.bias.copy_(block.out.bias)
        signal = torch.randn(3, 6, width)
        own = block.out(block.attend(block.queries_keys_values(signal.flatten(0, 1)))).view(3, 6, width)
        torch.testing.assert_close(own, theirs(signal, signal, signal, need_weights=False)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "fields",
    [*KINDS, dict(FIELDS, label_smoothing=0.1), dict(FIELDS, imbalance=2.0), dict(FIELDS, freeze_bias=5)],
    ids=["layer norm", "vit", "smoothing", "imbalance", "resting bias"],
)
def test_such_runs_come_out_the_same_alone(fields):
    one, *others = mli.grid(**{**fields, "epochs": 4}, seed=range(3))
    (alone,) = training.train_group([one])
    grouped = {run.config: run for run in training.train_group([*others, one])}[one]
    assert max((alone.end[name] - grouped.end[name]).abs().max() for name in alone.end) <= 1e-5


def test_a_resting_bias_moves_only_later_and_only_in_its_network():
    rests, moves = mli.grid(**{**FIELDS, "epochs": 6}, freeze_bias=[4, 0])
    grouped = {run.config: run for run in training.train_group([rests, moves])}
    at_rest = next(iter(training.train_group([rests.replace(epochs=4)])))
    assert not any(at_rest.summary["output_bias"]) and any(grouped[rests].summary["output_bias"])
    (usual,) = training.train_group([moves])
    assert max((usual.end[name] - grouped[moves].end[name]).abs().max() for name in usual.end) <= 1e-5


def test_classes_fall_off_by_a_constant_factor():
    sizes = balance.class_sizes(500, 10, 3.0)
    assert sizes.sum() == 500 and sizes[0] / sizes[-1] == pytest.approx(3, rel=0.05) and (np.diff(sizes) <= 0).all()
    chosen = balance.training_set(mli.RunConfig(n_train=500, imbalance=3.0))
    assert chosen.labels.bincount().tolist() == sizes.tolist()
    part = chosen.labels[:250].bincount()
    assert (part - torch.tensor(sizes) / 2).abs().max() <= 1
    assert torch.equal(balance.training_set(mli.RunConfig(n_train=50)).images, data.load("digits").images[:50])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(imbalance=0.5), "imbalance=0.5 is not allowed"),
        (dict(label_smoothing=1.0), "label_smoothing=1.0 is not allowed; allowed: from 0 up to, but not, 1"),
        (dict(freeze_bias=3, bias="none"), "freeze_bias=3 is not allowed without biases"),
        (dict(model="vit"), "unknown normalization of vit: 'none'"),
        (
            dict(model="vit", normalization="layer", width=30),
            "width=30 is not allowed for vit; allowed: multiples of 4",
        ),
    ],
)
def test_new_fields_are_checked(fields, said):
    with pytest.raises(mli.InputError, match=said):
        mli.RunConfig(**fields)


def test_an_imbalance_that_the_data_do_not_have_is_said():
    with pytest.raises(mli.InputError, match="imbalance=5 with n_train=1400 asks for .* images of one class"):
        balance.training_set(mli.RunConfig(imbalance=5.0))


def test_new_fields_leave_the_address_of_earlier_runs():
    assert not {"imbalance", "label_smoothing", "freeze_bias"} & mli.RunConfig().key().keys()
    assert set(training.versions(mli.RunConfig())) == {"training"}
    changed = mli.RunConfig(imbalance=2.0, label_smoothing=0.1, freeze_bias=1, normalization="layer")
    assert set(training.versions(changed)) == {"training", "imbalance", "label_smoothing", "freeze_bias", "layer"}
    assert set(config.LATER) <= set(config.FIELDS)
