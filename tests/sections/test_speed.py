"""The page on speed: figures, powers of the size, plans and numbers from rows of benchmarks."""

import math

import pandas as pd
import pytest

from mli_utils.sections import speed


@pytest.fixture
def rows():
    """Growth with the square root of the number of runs, a cluster with tasks of ten seconds, and two alternatives."""
    growing = [{"name": "grow_runs", "number": n, "seconds": 3 * n**0.5, "alternative": "a"} for n in (1, 4, 16)]
    cluster = {"seconds": 0.5, "runs_a_task": 5, "store_seconds": 0.1, "task_seconds": 10, "ratio": 20}
    ours = {"name": "train_fcn", "seconds": 1, "limit_share": 0.5, "machine": "one", "date": "today"}
    beside = [{**ours, "alternative": said, "ratio": ratio, "low": 1, "high": 3}
              for said, ratio in (("textbook loop", 3), ("torch.func vmap", 1.2))]  # fmt: skip
    found = [*beside, *growing, {"name": "cluster", "alternative": "the median task itself", **cluster}]
    return pd.DataFrame(found).reindex(columns=list(dict.fromkeys([*speed.COLUMNS, *cluster])))


def test_a_page_without_benchmarks():
    nothing = speed.benchmarks()
    assert nothing.empty and speed.compared(nothing).empty
    assert speed.exponents(nothing).empty and speed.many_runs(nothing, 10, [1]).columns.tolist() == speed.PLAN
    said = {figure(nothing).axes[0].texts[0].get_text() for figure in (speed.ratio_figure, speed.growth_figure)}
    assert said == {"nothing to draw: no benchmark has been run"}
    found = speed.numbers(nothing, 7200)
    words = {name for name, value in found.items() if isinstance(value, str)}
    assert words == {"planned", "machine", "day", "runs_steps"}
    assert all(isinstance(value, str) or math.isnan(value) for value in found.values())


def test_powers_and_plans(rows):
    assert speed.exponents(rows).loc["grow_runs"].tolist() == pytest.approx([0.5, 3])
    plan = speed.many_runs(rows, 7200, [1, 10, 100])
    assert plan.hours.tolist() == pytest.approx([4, 0.4, 0.4]) and plan.most.tolist() == pytest.approx([10] * 3)
    assert plan.busy.tolist() == pytest.approx([1, 1, 0.1]) and plan.workers.tolist() == [1, 10, 100]


def test_numbers_of_the_text(rows):
    found = speed.numbers(rows, 7200)
    assert (found["train_share"], found["train_textbook"], found["train_vmap"]) == (50, 3, 1.2)
    assert (found["overhead"], found["planned"], found["machine"], found["day"]) == (10, "7,200", "one", "today")
    assert [found[name] for name in ("runs_exponent", "hours", "most")] == pytest.approx([0.5, 4, 10])
    assert found["runs_steps"] == "0.50 from 1 to 4, 0.50 from 4 to 16"
    assert math.isnan(found["curve_share"]) and math.isnan(found["points_exponent"])


def test_figures_show_each_row(rows):
    compared = speed.compared(rows)
    ratios, growth = speed.ratio_figure(compared), speed.growth_figure(rows)
    dots = ratios.axes[0].containers[0].lines[0]
    assert dots.get_xdata().tolist() == [3, 1.2] and ratios.axes[0].get_xscale() == "log"
    labels = [text.get_text() for text in ratios.axes[0].texts]
    assert {"training: textbook loop", "training: torch.func vmap"} <= set(labels)
    points, line = growth.axes[0].lines
    assert points.get_ydata().tolist() == [3, 6, 12] and line.get_label() == r"$\propto n^{0.50}$"
