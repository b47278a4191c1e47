"""Budgets of output biases: kept in the store, of trained networks, on images by design."""

import numpy as np
import pytest
import torch

import mli_utils as mli
from mli_utils.runs import budgets as module
from mli_utils.runs.budgets import BRIGHTNESS, brightness, budgets, dimmed, equal_norms, learned
from mli_utils.runs.store import Store
from mli_utils.runs.trained import NotInRecord, run_key


@pytest.fixture
def configs(small):
    return mli.grid(**small, bias="output", seed=range(2))


def test_it_sums_up_to_the_trained_bias_at_every_end(configs):
    ends = learned(budgets(configs))
    for run, trained in enumerate(mli.train(configs)):
        one = ends[ends.run == run]
        assert one.label.tolist() == list(range(10)) and one.brightness.eq(1).all()
        assert one.output_bias.to_numpy() == pytest.approx(trained.summary["output_bias"], abs=1e-5)
        assert one.pull.sum() == pytest.approx(one.intrusions.sum(), rel=1e-4)


def test_it_is_computed_once_and_never_for_the_book(configs, monkeypatch):
    first = budgets(configs)
    monkeypatch.setattr(module, "budgets_here", None)
    assert budgets(configs).equals(first)
    monkeypatch.setenv("MLI_MODE", "book")
    with pytest.raises(NotInRecord, match="the budget \\(equal\\) of fcn depth 3"):
        budgets(configs, "equal")


def test_it_trains_the_same_networks_which_are_kept_unless_their_images_are_others(configs, monkeypatch, tmp_path):
    trained = mli.train(configs)
    monkeypatch.setenv("MLI_STORE", str(tmp_path / "another"))
    budgets(configs, "equal")
    assert not any(Store.default().get("runs", run_key(config)) for config in configs)
    budgets(configs)
    monkeypatch.setattr("mli_utils.runs.trained.train_here", None)
    for kept, run in zip(mli.train(configs), trained, strict=True):
        assert all(torch.equal(kept.end[name], value) for name, value in run.end.items())
        assert kept.history.equals(run.history)
        assert {**kept.summary, "seconds": 0} == {**run.summary, "seconds": 0}


def test_clocks_are_the_steps_from_which_a_class_stays_learned(configs):
    frame = budgets(configs[:1])
    one = frame[frame.label == 3].sort_values("step")
    ends = learned(frame).set_index("label").loc[3]
    for clock, good in (("learned_at", one.class_error < 0.5), ("trusted_at", one.probability > 0.5)):
        assert good[one.step >= ends[clock]].all() and not good[one.step < ends[clock]].iloc[-1]
    never = learned(frame.assign(auc=0.9))
    assert never.separated_at.isna().all()


def test_norms_are_equal_and_images_otherwise_the_same():
    given = mli.load_data("digits").first(50)
    scaled = equal_norms(given)
    norms = scaled.images.flatten(1).norm(dim=1)
    assert torch.allclose(norms, given.images.flatten(1).norm(dim=1).mean())
    cosines = torch.nn.functional.cosine_similarity(scaled.images.flatten(1), given.images.flatten(1))
    assert torch.allclose(cosines, torch.ones(50), atol=1e-6)


def test_every_class_is_dimmed_by_every_factor_once_in_four_seeds():
    assert np.sort([brightness(seed) for seed in range(200, 204)], axis=0).T.tolist() == [sorted(BRIGHTNESS)] * 4
    some = dimmed(mli.load_data("digits").first(100), seed=1)
    norms = some.images.flatten(1).norm(dim=1)
    assert len(some) == 40 and len(some.classes) == 4
    of_classes = torch.stack([norms[some.labels == label].mean() for label in range(4)])
    assert (of_classes / of_classes.max()).tolist() == pytest.approx([0.5, 1.0, 0.8, 0.64])


def test_a_dimmed_network_has_four_classes_and_other_networks_are_refused(configs):
    ends = learned(budgets(configs, "dimmed"))
    assert ends.groupby("run").label.size().tolist() == [4, 4]
    assert ends[ends.run == 1].brightness.tolist() == [0.5, 1.0, 0.8, 0.64]
    with pytest.raises(mli.InputError, match="allowed: model 'fcn' without normalization"):
        budgets([configs[0].replace(normalization="layer")], "dimmed")
    with pytest.raises(mli.InputError, match="unknown design 'dim'"):
        budgets(configs, "dim")


def test_of_no_run_there_is_no_budget():
    assert budgets([]).empty and learned(budgets([])).empty
