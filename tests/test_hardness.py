import numpy as np
import pytest

import mli_utils as mli
from mli_utils import hardness

PROBLEMS = [
    hardness.scalar_power(10),
    hardness.four_classes(5),
    hardness.stretched_bowl(100),
    hardness.many_valleys(4),
]


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
