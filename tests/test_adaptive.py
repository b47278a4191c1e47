import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mli_utils as mli
from mli_utils import adaptive, measurements, metrics, models, sweep
from mli_utils.adaptive import Adaptive
from mli_utils.store import address
from mli_utils.versions import VERSIONS

DENSE = np.linspace(0, 1, 1001)
TOLERANCES = (0.05, 0.1, 0.2)
IMAGES = 1_000_000


def measuring(error, loss, predicted=lambda alpha: np.zeros_like(alpha)):
    """`refine`'s `evaluate` of functions of α, over ten classes; `predicted` is the one class that all images get."""

    def evaluate(alpha):
        wrong = np.zeros((len(alpha), 10), int)
        wrong[:, 0] = np.round(IMAGES * error(alpha))
        shares = predicted(alpha)[:, None] == np.arange(10)
        return {"loss": loss(alpha), "wrong": wrong, "predicted": IMAGES * shares}

    return evaluate


def plateaus(found, alpha=None):
    """The ends of both plateaus at every tolerance."""
    curves = {"error": found["wrong"].sum(1) / IMAGES, "loss": found["loss"]}
    alpha = found["alpha"] if alpha is None else alpha
    return [
        metrics.crossing(alpha, curves[measure], threshold)
        for tolerance in TOLERANCES
        for measure, threshold in metrics.thresholds(10, tolerance).items()
    ]


def descent(middle, steepness):
    """From 1 at α = 0 to 0 at α = 1."""

    def fall(alpha):
        return 1 / (1 + np.exp(steepness * (alpha - middle)))

    return lambda alpha: (fall(alpha) - fall(1.0)) / (fall(0.0) - fall(1.0))


positions, steepnesses = st.floats(0, 1), st.floats(0.5, 500)


@settings(deadline=None, max_examples=150)
@given(positions, steepnesses, positions, steepnesses, st.floats(0.6, 0.95))
def test_ends_of_falling_curves_are_found(error_at, error_steepness, loss_at, loss_steepness, chance):
    error, loss = descent(error_at, error_steepness), descent(loss_at, loss_steepness)
    evaluate = measuring(lambda alpha: chance * error(alpha), lambda alpha: np.log(10) * loss(alpha))
    found = adaptive.refine(evaluate, Adaptive())
    assert len(found["alpha"]) <= 83 and set(found["alpha"]) <= set(DENSE)
    assert found["alpha"][0] == 0 and found["alpha"][-1] == 1 and (np.diff(found["alpha"]) > 0).all()
    assert np.allclose(plateaus(found), plateaus(evaluate(DENSE), DENSE), atol=0.002, rtol=0)
    assert all(np.array_equal(values, found[name]) for name, values in evaluate(found["alpha"]).items())


@settings(deadline=None, max_examples=100)
@given(positions, steepnesses, st.floats(0, 0.3), st.integers(0, 60), st.sampled_from([0, 0.02, 0.1]), st.integers(0))
def test_on_any_curve_points_are_few_and_no_dip_is_made_up(middle, steepness, wave, waves, spread, seed):
    random = np.random.default_rng(seed)
    fall = descent(middle, steepness)(DENSE) + wave * np.sin(waves * np.pi * DENSE)
    error, loss = np.clip(fall + random.normal(0, spread, (2, len(DENSE))), 0, 1.1)
    classes = random.integers(0, 10, len(DENSE)) if spread else np.zeros(len(DENSE))

    def of(values):
        return lambda alpha: values[np.searchsorted(DENSE, alpha)]

    evaluate = measuring(of(0.9 * error), of(np.log(10) * loss), of(classes))
    found = adaptive.refine(evaluate, Adaptive())
    alpha = found["alpha"]
    assert len(alpha) <= 83
    for end, dense in zip(plateaus(found), plateaus(evaluate(DENSE), DENSE), strict=True):
        after = np.searchsorted(alpha, end)
        bracket = alpha[after] - alpha[max(after - 1, 0)]
        assert end >= dense - max(bracket, 0.002)
        if not spread and 0 < end < 1:
            assert bracket <= 0.002 + 1e-9


@settings(deadline=None)
@given(st.floats(0.1, 0.7), st.floats(0.015, 0.05))
def test_a_dip_that_shows_at_its_neighbours_is_found(centre, width):
    fall = descent(0.85, 100)
    dip = measuring(
        lambda alpha: 0.9 * fall(alpha),
        lambda alpha: np.log(10) * (fall(alpha) - 0.3 * np.exp(-(((alpha - centre) / width) ** 2) / 2)),
    )
    assert np.allclose(plateaus(adaptive.refine(dip, Adaptive())), plateaus(dip(DENSE), DENSE), atol=0.002, rtol=0)


@settings(deadline=None)
@given(st.integers(50, 700))
def test_a_dip_while_the_predicted_class_changes_is_found(centre):
    """It is three steps wide, and the error is the same everywhere around it."""
    fall, centre = descent(0.85, 100), centre / 1000
    dip = measuring(
        lambda alpha: np.where(np.abs(alpha - centre) < 0.0015, 0.7, 0.9 * fall(alpha)),
        lambda alpha: np.log(10) * fall(alpha),
        lambda alpha: np.where(alpha > centre - 1e-9, 3, 5),
    )
    assert np.allclose(plateaus(adaptive.refine(dip, Adaptive())), plateaus(dip(DENSE), DENSE), atol=0.002, rtol=0)


def test_a_curve_that_is_not_finite_gets_the_coarse_grid():
    broken = measuring(lambda alpha: 0.9 + 0 * alpha, lambda alpha: np.where(alpha > 0.5, np.nan, 2.0))
    assert len(adaptive.refine(broken, Adaptive(coarse=11))["alpha"]) == 11


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (dict(coarse=2), "coarse=2 is not allowed; allowed: from 3 to 1001 points"),
        (dict(resolution=0), "resolution=0 is not allowed; allowed: above 0"),
        (dict(tolerances=(1.0,)), "allowed: some from 0 up to, but not, 1"),
        (dict(most=40), "most=40 is not allowed; allowed: at least 56"),
    ],
)
def test_bad_settings_are_refused(fields, said):
    with pytest.raises(mli.InputError, match=said):
        Adaptive(**fields)


@pytest.fixture
def one_thread():
    """Networks this small wait for threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def counted(monkeypatch):
    """How many points each call of `models.evaluate` got."""
    seen = []
    real = models.evaluate

    def watched(model, params, *rest):
        seen.append(len(next(iter(params.values()))) if isinstance(model, models.FCN) else 1)
        return real(model, params, *rest)

    monkeypatch.setattr(models, "evaluate", watched)
    return seen


def test_plateaus_of_networks_are_those_of_the_dense_grid_with_a_third_of_the_points(counted, one_thread):
    """Deep networks from a small start, with a long plateau, and shallow ones; points they share have the same bits."""
    common = dict(width=16, n_train=100, lr=0.05, epochs=100)
    deep, shallow = dict(depth=7, init_scale=0.8), dict(depth=3, init_scale=1.0)
    runs = mli.train([*mli.grid(**common, **deep, bias=["output", "all"]), mli.RunConfig(**common, **shallow)])
    for start in ("own", "zero"):
        counted.clear()
        few = mli.interpolate(runs, ["linear", "homogeneous"], "adaptive", start=start)
        assert sum(counted) == len(few) and few.groupby([*sweep.FIELDS, "path"]).size().max() <= 83
        dense = mli.interpolate(runs, ["linear", "homogeneous"], 1001, start=start)
        assert len(few.merge(dense, on=list(few.columns))) == len(few)  # each is a row of the dense frame, to the bit
        assert list(few.columns) == list(dense.columns)
        for tolerance in TOLERANCES:
            ours, theirs = mli.plateau(few, tolerance), mli.plateau(dense, tolerance)
            for measure in ("error_plateau", "loss_plateau"):
                assert (ours[measure] - theirs[measure]).abs().max() <= 0.002


def test_adaptive_curves_are_kept_under_how_they_were_chosen(small_config, tmp_path, monkeypatch, counted, one_thread):
    runs = mli.train([small_config])
    curves = mli.interpolate(runs, alphas="adaptive")
    classes = mli.interpolate(runs, alphas="adaptive", by_class=True)
    assert np.allclose(classes.groupby("alpha").class_error.mean(), curves.error)
    used = len(counted)
    pd.testing.assert_frame_equal(mli.interpolate(runs, alphas=Adaptive()), curves)
    assert len(counted) == used
    assert len(mli.interpolate(runs, alphas=Adaptive(coarse=11)).merge(curves)) < len(curves)
    (record := tmp_path / "root" / "results").mkdir(parents=True)
    (tmp_path / "store").rename(record / "small")
    monkeypatch.setenv("MLI_MODE", "book")
    pd.testing.assert_frame_equal(mli.interpolate(mli.train([small_config]), alphas="adaptive"), curves)
    with pytest.raises(sweep.NotInRecord, match="make reproduce"):
        mli.interpolate(runs, alphas=Adaptive(coarse=12))


def test_a_plain_grid_keeps_its_address(small_config, tmp_path):
    (run,) = mli.train([small_config])
    mli.interpolate(run, alphas=3)
    key = {
        "run": address(sweep.run_key(small_config)),
        "schedules": dict.fromkeys(("weights", "hidden_biases", "output_bias", "normalization"), "linear"),
        "alphas": [0.0, 0.5, 1.0],
        "version": VERSIONS["interpolation"],
    }
    assert [file.stem for file in (tmp_path / "store" / "curves").iterdir()] == [address(key)]


def test_convolutional_networks_with_batch_norm(counted, one_thread):
    tiny = dict(dataset="digits32", model="resnet18", width=2, n_train=10, batch_size=10, epochs=1)
    run = mli.train(mli.RunConfig(**tiny, init_scale=1.0, normalization="batch"))
    counted.clear()
    few = mli.interpolate(
        run, alphas=Adaptive(coarse=5, resolution=0.1, tolerances=(0.1,), most=15), statistics="frozen"
    )
    assert 5 <= len(few) == len(counted) <= 15
    grid = mli.interpolate(run, alphas=few.alpha.tolist(), statistics="frozen")
    pd.testing.assert_frame_equal(few, grid, check_exact=True)


def test_other_words_are_refused():
    for call in (lambda: mli.interpolate([], alphas="adaptve"), lambda: measurements.interpolation.points_of("dense")):
        with pytest.raises(mli.InputError, match="is not allowed; allowed: 'adaptive', .*how many points"):
            call()
