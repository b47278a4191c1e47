import numpy as np
import pandas as pd
import pytest

import mli_utils as mli
from mli_utils.sections import hardness

PROBLEMS = [
    hardness.scalar_power(10),
    hardness.four_classes(5),
    hardness.stretched_bowl(100),
    hardness.many_valleys(4),
]
TABLE = pd.DataFrame(
    {
        "problem": ["one weight, power 20", "stretched bowl, condition 100", "many valleys, dimension 4"],
        "steps": pd.array([1, 300, None], "Int64"),
        "window": [1e9, 2.0, 0.0],
        "plateau": [0.7, 0.05, 0.06],
        "largest rise": [0.0, 0.001, 0.0],
        "convex": [False, True, True],
    }
)
GROWN = pd.DataFrame({"steps": pd.array([1, 11, None], "Int64"), hardness.NEAREST: [0.8, 0.9, 0.95]})


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_gradients_are_those_of_the_loss(problem):
    generator = np.random.default_rng(0)
    at = problem.start * (1 + 0.1 * generator.normal(size=problem.start.shape))
    for i in range(len(at)):
        nudge = np.zeros_like(at)
        nudge[i] = 1e-6
        slope = (problem.loss(at + nudge) - problem.loss(at - nudge)) / 2e-6
        assert problem.gradient(at)[i] == pytest.approx(slope, rel=1e-5, abs=1e-6)
    several = np.stack([at, problem.start])
    assert np.allclose(problem.gradient(several)[1], problem.gradient(problem.start))


@pytest.mark.parametrize("problem", PROBLEMS[:3], ids=lambda problem: problem.name)
def test_the_steps_found_are_those_that_gradient_descent_takes(problem):
    found = hardness.solve(problem, 2000)
    params, first = problem.start.copy(), problem.loss(problem.start)
    for _ in range(found.steps):
        assert problem.loss(params) > hardness.SOLVED * first
        params = params - found.step_size * problem.gradient(params)
    assert problem.loss(params) <= hardness.SOLVED * first
    assert np.allclose(params, found.end)


def test_the_best_step_size_is_the_best_of_all():
    problem = hardness.stretched_bowl(100)
    sizes = np.geomspace(0.1, 1.95, 15)
    alone = [hardness.solve(problem, 5000, np.array([size])).steps for size in sizes]
    together = hardness.solve(problem, 5000, sizes)
    assert together.steps == min(steps for steps in alone if steps is not None)


def test_hardness_and_plateau_come_apart():
    alphas = np.linspace(0, 1, 101)
    for problem, easy in ((PROBLEMS[0], True), (hardness.stretched_bowl(1e4), False), (PROBLEMS[3], False)):
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
        hardness.solve(PROBLEMS[2], 10, np.array([5.0, 9.0]))


def test_a_survey_says_of_each_problem_how_hard_it_is_and_what_its_line_looks_like():
    table, lines = hardness.survey([PROBLEMS[0], hardness.stretched_bowl(100), PROBLEMS[3]], 500, 101)
    assert table.steps[0] == 1 and table.steps[1] > 50 and table.steps.isna()[2]
    assert list(table.convex) == [False, True, True]
    assert table.plateau[1] == pytest.approx(1 - np.sqrt(0.9), abs=5e-3)  # of any parabola
    assert list(lines.groupby("problem", sort=False)["to lose"].first()) == [1, 1, 1]


def test_plateaus_to_the_nearest_solution_grow_with_the_power():
    grown = hardness.growth([10, 50], 100, 201)
    assert list(grown) == ["problem", "steps", "window", "plateau", hardness.NEAREST]
    assert grown[hardness.NEAREST].is_monotonic_increasing and grown[hardness.NEAREST][1] > 0.8
    end = hardness.nearest_solution(10)
    loss = PROBLEMS[0].loss(np.array([[0.5], [end]]))
    assert loss[1] == pytest.approx(hardness.SOLVED * loss[0])


def test_claims_are_of_easy_problems_with_a_plateau_and_hard_ones_without():
    assert hardness.claims(TABLE, GROWN) == {"easy-with-a-plateau": 0.8, "hard-without-a-plateau": 300}


def test_the_text_says_steps_in_words():
    numbers = hardness.numbers(TABLE, GROWN)
    said = [numbers[f"{name}/steps"] for name in ("one weight", "stretched bowl", "many valleys")]
    assert said == ["one step", "300 steps", "no number of steps"]
    assert numbers["stretched bowl/window"] == 2 and numbers["many valleys/plateau"] == 0.06
    assert numbers["convex"] == "stretched bowl, condition 100 and many valleys, dimension 4"
    assert numbers["longest"] == 0.95 and numbers["rise"] == 0.001


def test_bars_say_how_many_steps_or_never():
    lines = pd.concat(pd.DataFrame({"problem": name, "alpha": [0, 1], "to lose": [1, 0]}) for name in TABLE.problem)
    left, right = hardness.hardness_figure(lines, TABLE, 500).axes
    assert [bar.get_width() for bar in right.patches] == [1, 300, 500]
    assert [text.get_text() for text in right.texts] == ["1", "300", "never"]
    assert len(left.lines) == 3
