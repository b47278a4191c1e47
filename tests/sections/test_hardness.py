import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

import mli_utils as mli
from mli_utils.core.curves import curve
from mli_utils.core.initialization import build, initialize
from mli_utils.runs.trained import NotInRecord
from mli_utils.sections import hardness

SMALL = dict(dataset="digits", n_train=50, depth=3, width=16, init_scale=1.0, batch_size=25, epochs=60, stop_loss=0.2)

PROBLEMS = [
    hardness.scalar_power(10),
    hardness.stretched_bowl(100),
    hardness.many_valleys(4),
]
TABLE = pd.DataFrame(
    {
        "problem": ["one weight, power 20", "stretched bowl, condition 100", "many valleys, dimension 4"],
        "steps": pd.array([1, 300, None], "Int64"),
        "plateau": [0.7, 0.05, 0.06],
    }
)
GROWN = pd.DataFrame(
    {"steps": pd.array([1, 11, None], "Int64"), "plateau": [0.7, 0.8, 0.85], hardness.NEAREST: [0.8, 0.9, 0.95]}
)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_gradients_are_those_of_the_loss_up_to_a_factor(problem):
    generator = np.random.default_rng(0)
    at = problem.start * (1 + 0.1 * generator.normal(size=problem.start.shape))
    slopes = np.empty_like(at)
    for i in range(len(at)):
        nudge = np.zeros_like(at)
        nudge[i] = 1e-6
        slopes[i] = (problem.loss(at + nudge) - problem.loss(at - nudge)) / 2e-6
    one = np.abs(slopes).argmax()
    factor = problem.gradient(at)[one] / slopes[one]
    assert factor > 0 and np.allclose(problem.gradient(at), factor * slopes, rtol=1e-4, atol=1e-6 * factor)
    several = np.stack([at, problem.start])
    assert np.allclose(problem.gradient(several)[1], problem.gradient(problem.start))


@pytest.mark.parametrize("problem", PROBLEMS[:2], ids=lambda problem: problem.name)
def test_the_steps_found_are_those_that_gradient_descent_takes(problem):
    found = hardness.solve(problem, 2000)
    params, first = problem.start.copy(), problem.loss(problem.start)
    for _ in range(found.steps):
        assert problem.loss(params) > hardness.SOLVED * first
        params = params - found.step_size * problem.unit * problem.gradient(params)
    assert problem.loss(params) <= hardness.SOLVED * first
    assert np.allclose(params, found.end)


def test_the_best_step_size_is_the_best_of_all():
    problem = hardness.stretched_bowl(100)
    sizes = np.geomspace(0.1, 1.95, 15) / problem.unit
    alone = [hardness.solve(problem, 5000, np.array([size])).steps for size in sizes]
    together = hardness.solve(problem, 5000, sizes)
    assert together.steps == min(steps for steps in alone if steps is not None)


def test_hardness_and_plateau_come_apart():
    alphas = np.linspace(0, 1, 101)
    for problem, easy in ((PROBLEMS[0], True), (hardness.stretched_bowl(1e4), False), (PROBLEMS[2], False)):
        found = hardness.solve(problem, 6000)
        curve = hardness.line(problem, found.end, alphas)
        assert curve[0] == 1 and curve[-1] == 0
        assert (found.steps == 1) if easy else (found.steps is None or found.steps > 1000)
        convex = np.diff(curve, 2).min() > -1e-9
        assert convex != easy


def test_a_search_that_cannot_succeed_is_refused():
    with pytest.raises(mli.InputError, match="budget=0 is not allowed"):
        hardness.solve(PROBLEMS[0], 0)
    with pytest.raises(mli.InputError, match="no step size from 5 to 9 lowers the loss"):
        bowl = hardness.stretched_bowl(1)  # its unit is 1
        hardness.solve(bowl, 10, np.array([5.0, 9.0]))


def test_a_survey_says_of_each_problem_how_hard_it_is_and_what_its_line_looks_like():
    table, lines = hardness.survey([PROBLEMS[0], hardness.stretched_bowl(100), PROBLEMS[2]], 500, 101)
    assert table.steps[0] == 1 and table.steps[1] > 50 and table.steps.isna()[2]
    assert table.plateau[1] == pytest.approx(1 - np.sqrt(0.9), abs=5e-3)  # of any parabola
    assert list(lines.groupby("problem", sort=False)["to lose"].first()) == [1, 1, 1]


def test_a_plateau_may_be_as_long_as_one_likes_and_one_step_solves_it():
    """Equation (eq-longest): the plateau tends to 1, and powers whose slope is no float are solved, too."""
    grown = hardness.growth([68, 100, 1000, 5000], 10, 201)
    assert (grown.steps == 1).all() and grown[hardness.NEAREST][0] > 0.9
    assert (grown.plateau < grown[hardness.NEAREST]).all()  # the best step overshoots the nearest solution
    exact = [hardness.exact_plateau(r) for r in (2, 10, 100, 1000, 10**6)]
    assert exact == sorted(exact) and exact[-1] > 1 - 1e-5
    problem, alphas = PROBLEMS[0], np.linspace(0.5, 1.5, 100_001)
    nearest = alphas[(problem.loss(alphas[:, None]) <= hardness.SOLVED * problem.loss(problem.start)).argmax()]
    curve = hardness.line(problem, np.array([nearest]), np.linspace(0, 1, 20_001))
    assert hardness.crossing(np.linspace(0, 1, 20_001), curve, 0.9) == pytest.approx(
        hardness.exact_plateau(10), abs=1e-3
    )


def test_problems_keep_all_but_labels_or_scale():
    config = mli.RunConfig(**SMALL)
    plain, shuffled, stretched = (hardness.image_set(name, config, 100.0) for name in hardness.PROBLEMS)
    assert torch.equal(shuffled.images, plain.images) and not torch.equal(shuffled.labels, plain.labels)
    assert torch.equal(shuffled.labels.bincount(), plain.labels.bincount())
    assert torch.equal(stretched.labels, plain.labels)
    assert stretched.images.square().mean() == pytest.approx(plain.images.square().mean().item(), rel=1e-5)
    lit = plain.images.flatten(1).mean(0) > 0
    factors = (stretched.images.flatten(1).sum(0) / plain.images.flatten(1).sum(0))[lit]
    assert 10 < factors.max() / factors.min() <= 101
    again = hardness.image_set("random labels", config.replace(lr=0.5, bias="none"), 100.0)
    other = hardness.image_set("random labels", config.replace(seed=1), 100.0)
    assert torch.equal(again.labels, shuffled.labels) and not torch.equal(other.labels, shuffled.labels)


def test_the_first_at_the_threshold_wins_the_race():
    rates = [0.02, 0.1, 20.0]
    configs = [mli.RunConfig(**SMALL, lr=lr) for lr in rates]
    images = hardness.image_set("true labels", configs[0], 1.0)
    won = hardness.fastest(configs, images)
    alone = [hardness.fastest([config], images) for config in configs[:2]]
    assert won.config.lr == 0.1 and won.summary["steps"] == min(run.summary["steps"] for run in alone)
    assert hardness.solved(won) and won.summary["steps"] == alone[1].summary["steps"]
    short = [config.replace(epochs=2) for config in configs[:2]]
    late = hardness.fastest(short, images)
    assert not hardness.solved(late) and late.summary["steps"] == 4
    with pytest.raises(mli.InputError, match="training diverges at every rate"):
        hardness.fastest([configs[0].replace(lr=1e3, init_scale=1e3, depth=9, epochs=5)], images)


def test_races_run_together_end_as_they_end_alone():
    races = [[mli.RunConfig(**SMALL, lr=lr, seed=seed) for lr in (0.1, 0.02, 20.0)] for seed in (3, 4, 5)]
    sets = [hardness.image_set("random labels", race[0], 1.0) for race in races]
    together = dict(hardness.winners(races, sets))
    assert sorted(together) == [0, 1, 2]
    for number, won in together.items():
        alone = hardness.fastest(races[number], sets[number])
        assert won.config == alone.config and won.history.equals(alone.history)
        assert all(torch.equal(won.end[name], alone.end[name]) for name in won.end)
        assert {**won.summary, "seconds": 0} == {**alone.summary, "seconds": 0}


@pytest.fixture(scope="module")
def networks():
    return {**SMALL, "lr": [0.05, 0.1], "bias": ["none", "output"]}


def test_races_are_kept_and_measured(networks, monkeypatch):
    curves = hardness.race(networks, range(2), 10.0, 11)
    assert len(curves) == 3 * 2 * 2 * 2 * 11
    monkeypatch.setattr(hardness, "winners", None)  # nothing is trained again
    pd.testing.assert_frame_equal(hardness.race(networks, range(2), 10.0, 11), curves)
    found = hardness.lengths(curves)
    assert len(found) == 3 * 2 * 3 and set(found.form) == set(hardness.FORMS)
    assert found.error_plateau.isna().equals(~found.fitted)
    ends = curves[(curves.bias == "output") & (curves.alpha == 1)].groupby(["problem", "seed"])
    assert (ends.loss.nunique() == 1).all() and (ends.steps.nunique() == 1).all()  # a path changes no network
    searched = hardness.searches(found)
    assert list(searched.columns[:5]) == ["problem", "bias", "networks", "fitted", "steps"]
    assert (searched.iloc[:, 5:].sum(axis=1) == 2).all()
    monkeypatch.setenv("MLI_MODE", "book")
    with pytest.raises(NotInRecord):
        hardness.race(networks, range(3), 10.0, 11)


LENGTHS = pd.DataFrame(
    [
        {"problem": problem, "bias": bias, "seed": seed, "lr": 0.1, "form": form, "fitted": True}
        | {"steps": steps * (1 + (bias == "output")), "error_plateau": length + extra, "loss_plateau": length}
        for seed in (200, 201)
        for problem, steps, length in (("true labels", 100, 0.1), ("random labels", 800, 0.2))
        + (("stretched inputs", 400, 0.3),)
        for form, bias, extra in zip(hardness.FORMS, ("none", "output", "output"), (0, 0.2, 0.05), strict=True)
    ]
)


def test_effects_compare_networks_of_one_seed():
    compared = hardness.effects(LENGTHS)
    assert compared.index.name == "seed" and list(compared.index) == [200, 201]
    first = compared.loc[200]
    expected = {
        "random labels/steps": 8,
        "stretched inputs/steps": 4,
        "random labels/error": 0.1,
        "stretched inputs/loss": 0.2,
        "harder/biased error": 0.15,
        "bias/steps": 2,
        "bias/error": 0.2,
        "bias/loss": 0,
        "path/error": 0.15,
    }
    assert first[list(expected)].to_dict() == pytest.approx(expected)
    estimated = hardness.estimates(compared).set_index("effect")
    assert estimated.loc["bias/error", "mean"] == pytest.approx(0.2) and estimated.loc["bias/error", "n"] == 2
    one_lacks = LENGTHS.assign(fitted=(LENGTHS.seed != 201) | (LENGTHS.problem != "random labels"))
    one_lacks.loc[~one_lacks.fitted, ["error_plateau", "loss_plateau"]] = np.nan
    lacking = hardness.effects(one_lacks).loc[201]
    assert lacking[["random labels/steps", "bias/steps", "bias/error", "harder/biased error"]].isna().all()
    assert lacking["stretched inputs/steps"] == pytest.approx(4)


def test_a_step_of_the_linearised_network_is_one_of_its_parameters():
    """Training in logits by the tangent kernel is training of θ in z(θ(0)) + J (θ − θ(0))."""
    config = mli.RunConfig(**{**SMALL, "epochs": 2, "stop_loss": 0.0}, bias="all", seed=3)
    images = hardness.image_set("true labels", config, 1.0)
    steps, rate, done, first, last = hardness.train_linearised(config, images)
    assert steps == 4 and not done
    model = build(config)
    start = initialize(model, config)
    assert torch.allclose(first, model.logits(start, images.images))

    slopes = torch.func.jacrev(model.logits)(start, images.images)

    def logits(params, which):
        moved = [(slopes[name][which] * (params[name] - start[name])).flatten(2).sum(2) for name in params]
        return first[which] + sum(moved)

    params = {name: value.clone() for name, value in start.items()}
    velocity = {name: torch.zeros_like(value) for name, value in start.items()}
    batches = torch.Generator().manual_seed(hardness.stream(config.seed, "batches"))
    for step in range(steps):
        if step % 2 == 0:
            order = torch.randperm(50, generator=batches)
        batch = order[step % 2 * 25 :][:25]

        def loss(params, batch=batch):
            return torch.nn.functional.cross_entropy(logits(params, batch), images.labels[batch])

        for name, slope in torch.func.grad(loss)(params).items():
            velocity[name] = config.momentum * velocity[name] + slope
            params[name] = params[name] - rate * velocity[name]
    assert torch.allclose(logits(params, slice(None)), last, atol=1e-3)


def test_the_loss_of_a_linearised_network_is_convex_and_its_plateau_short(networks):
    curves = hardness.linearised({**networks, "depth": 5, "init_scale": 0.8, "epochs": 400}, range(2), 30, 41)
    table = hardness.linear_table(curves).set_index("network")
    straight = table.loc["linearised"]
    assert (straight.bend > -1e-6).all() and straight.solved.all()
    assert (straight.loss_plateau <= straight.bound + 1e-6).all()
    assert table.loc["network"].loss_plateau.min() > straight.bound.max()
    assert hardness.longest_convex(math.log(10), 0.0, 10) == pytest.approx(0.1)
    assert hardness.longest_convex(1.0, 0.0, 10) == 0
    chord = np.linspace(math.log(10), 0.5, 1001)  # of all convex curves the one that falls last
    measured = hardness.crossing(np.linspace(0, 1, 1001), chord, 0.9 * math.log(10))
    assert hardness.longest_convex(chord[0], chord[-1], 10) == pytest.approx(measured)


def test_the_curve_of_the_network_is_that_of_core(networks):
    config = mli.RunConfig(**SMALL, lr=0.1)
    key = {"problem": "true labels", "configs": [asdict(config)], "stretch": 1.0, "points": 5}
    ((_, frame),) = hardness._races([key])
    images = hardness.image_set("true labels", config, 1.0)
    run = hardness.fastest([config], images)
    measured = curve(build(config), run.start, run.end, 5, "linear", images)
    assert np.allclose(frame[frame.path == "linear"].loss, measured["loss"])


COMPARED = hardness.effects(LENGTHS)
LINEAR = pd.DataFrame(
    {
        "network": ["network", "linearised"],
        "steps": [50, 20],
        "error_plateau": [0.3, 0.01],
        "loss_plateau": [0.4, 0.04],
        "bound": [0.1, 0.11],
        "bend": [-0.1, 0.0],
    }
)


def test_claims_are_of_seeds_and_of_exact_problems():
    found = hardness.claims(COMPARED, TABLE, GROWN)
    assert found["easy-with-a-plateau"] == 0.8 and found["hard-without-a-plateau"] == 300
    of_seeds = {name: values for name, values in found.items() if isinstance(values, pd.Series)}
    assert all(values.index.name == "seed" for values in of_seeds.values()) and len(of_seeds) == 8
    assert of_seeds["random-labels-are-harder"].tolist() == pytest.approx([8, 8])


def test_the_text_says_steps_in_words():
    searched = hardness.searches(LENGTHS)
    numbers = hardness.numbers(COMPARED, searched, LINEAR, TABLE, GROWN)
    said = [numbers[f"{name}/steps"] for name in ("one weight", "stretched bowl", "many valleys")]
    assert said == ["in 1 step", "in 300 steps", "never"]
    assert numbers["many valleys/plateau"] == 0.06 and (numbers["longest"], numbers["reached"]) == (0.95, 0.85)
    assert numbers["random labels/none/steps"] == "800" and numbers["random labels/output/steps"] == "1600"
    assert numbers["networks"] == 12 and numbers["unfitted"] == 0
    assert numbers["linearised/loss_plateau"] == 0.04 and numbers["bound"] == 0.11


def test_dots_stand_at_steps_and_plateaus():
    left, right = hardness.steps_figure(LENGTHS).axes
    assert left.get_xscale() == "log" and len(left.lines) == len(right.lines) == 2 * 3 * 3
    assert list(left.lines[1].get_xdata()) == pytest.approx([100])
    nobody = hardness.steps_figure(LENGTHS.assign(fitted=False))
    assert "no run fitted" in nobody.axes[0].texts[0].get_text()


def test_a_dot_says_how_many_steps_and_an_arrow_never():
    lines = pd.concat(pd.DataFrame({"problem": name, "alpha": [0, 1], "to lose": [1, 0]}) for name in TABLE.problem)
    above, below = hardness.hardness_figure(lines, TABLE, 500).axes
    assert [float(dot.get_xdata()[0]) for dot in below.lines] == [1, 300, 500]
    assert [text.get_text() for text in below.texts] == ["1", "300", "", "never", *TABLE.problem]
    assert len(above.lines) == 3


def test_no_panel_is_cut_by_the_one_above():
    longer = LENGTHS.assign(loss_plateau=LENGTHS.error_plateau + 0.4)
    above, below = hardness.steps_figure(longer).axes
    assert above.get_ylim() == below.get_ylim() and below.get_ylim()[1] >= longer.loss_plateau.max()
