"""The model's survey: what it finds, how it is kept, and what the page says of it, on frames made by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from mli_utils.core.theory import solve_flow
from mli_utils.runs import record, settings
from mli_utils.runs.trained import NotInRecord
from mli_utils.sections import bias_gap as section


@pytest.fixture
def configurations():
    """r = 2 and 3, two scales, two seeds; at r = 3 one exception of an undistinguished last class."""
    rows = [
        {"r": r, "delta": delta, "classes": 3, "seed": seed, "last learned": 0, "largest bias": 0, "margin": 0.5}
        | {"gap": gap + seed / 10, "bump": 0.0, "deviation": 1e-7}
        for r, delta, gap in ((2, 0.1, 0.4), (2, 0.2, 0.4), (3, 0.1, 0.8), (3, 0.2, 0.4))
        for seed in range(2)
    ]
    frame = pd.DataFrame(rows)
    frame.loc[5, ["largest bias", "margin", "bump"]] = [1, 0.01, 0.25]
    return section.describe(frame)


def test_the_class_learned_last_has_the_largest_bias_and_gaps_follow_a_power():
    rows = section.survey([2, 3, 4], [0.2, 0.4], [3, 4], range(4))
    deep = rows[rows.r > 2]
    assert len(rows) == 48 and deep.distinct.sum() > 20
    assert deep.agrees[deep.distinct].all() and rows.deviation.max() <= 1e-4
    gaps = section.gaps(rows)
    assert np.abs(np.log2(gaps.gap / gaps.gap_predicted)).max() <= 0.15


def test_two_classes_may_be_learned_at_once():
    margins = section.survey([2], [0.4], [2], range(8)).margin
    assert set(margins) == {0, 1}


def test_what_is_kept_comes_back_bit_for_bit(monkeypatch, tmp_path):
    def ask():
        return section.survey([3], [0.2], [3], range(1), 11), section.through_time(3, 0.2, 3, points=7)

    computed = ask()
    assert np.array_equal(computed[1].weight, solve_flow(3, 0.2, 3).frame(7).weight)
    monkeypatch.setattr(section, "solve_flow", None)
    from_store = ask()
    entries = {
        f"{path.parent.name}/{path.stem}": json.loads(path.read_text()) for path in tmp_path.glob("store/*/*.json")
    }
    assert len(entries) == 2 and all("provenance" in entry["body"] for entry in entries.values())
    monkeypatch.setenv("MLI_MODE", "book")
    with pytest.raises(NotInRecord, match="surveys of .*'powers': \\[3\\].* is not in the record"):
        ask()
    rows = {name: record.row(entry["key"], entry["body"], ["04_bias_gap"]) for name, entry in entries.items()}
    record.write(settings.record_dir(), rows, {})
    from_record = ask()
    for made, *again in zip(computed, from_store, from_record, strict=True):
        assert all(made.equals(other) for other in again)


def test_digits_are_significant_ones():
    exact, rounded = (section.through_time(3, 0.2, 3, points=5, digits=digits) for digits in (17, 4))
    assert np.allclose(exact.bias, rounded.bias, rtol=5e-4, atol=0) and not np.array_equal(exact.bias, rounded.bias)
    assert all(len(f"{value:.12g}".strip("-0.").replace(".", "")) <= 4 for value in rounded.weight)


def test_agreement_by_power(configurations):
    found = section.agreement(configurations)
    assert list(found) == ["r", "configurations", "agree", "distinct", "exceptions"]
    assert found.to_numpy().tolist() == [[2, 4, 4, 4, 0], [3, 4, 3, 3, 0]]
    distinct = configurations.assign(distinct=True)
    assert section.agreement(distinct).exceptions.tolist() == [0, 1]


def test_gaps_and_their_power(configurations):
    found = section.gaps(configurations)
    assert found.gap.tolist() == pytest.approx([0.45, 0.45, 0.85, 0.45])
    assert found.gap_predicted.tolist() == pytest.approx([0.45, 0.45, 0.9, 0.45])
    assert found.power.tolist() == ["r = 2", "r = 2", "r = 3", "r = 3"]


def test_claims(configurations):
    found = section.claims(configurations)
    assert found["last-learned-ends-largest-in-the-model"].tolist() == [True, False, True, True]
    assert found["small-start-makes-a-gap"].tolist() == pytest.approx([2, 0.9 / 0.5])
    assert found["no-such-gap-at-two"].tolist() == [1, 1]
    assert all(values.index.unique("draw").size == 2 for values in found.values())


def test_numbers(configurations):
    found = section.numbers(configurations, section.gaps(configurations))
    assert (found["configurations"], found["configurations_a_point"], found["deep"], found["shallow"]) == (8, 2, 4, 4)
    assert (found["deep_agree"], found["deep_ties"], found["deep_exceptions"], found["shallow_agree"]) == (3, 1, 0, 4)
    assert (found["rising"], found["smallest_rising"], found["largest_bump"]) == (1, pytest.approx(0.9), 0.25)
    three = f"for r = 3 the exponent is −{np.log2(0.85 / 0.45):.2f} (−1 predicted)"
    assert found["slopes"] == f"for r = 2 the exponent is 0.00 (0 predicted); {three}"


def test_what_moves_starts_within_its_controls():
    moving = section.moving([3], [0.2, 0.4], [2])
    assert moving.start == [0, 1, 0]
    traces = moving.traces(3, 0.4, 2)
    json.dumps(traces)  # plain lists and numbers
    assert [trace["name"] for trace in traces] == ["1 of 2", "2 of 2"] * 2
    assert traces[2]["yaxis"] == "y2" and traces[2]["y"][0] == 0 and traces[2]["y"][-1] < 0 < traces[3]["y"][-1]


def test_the_figure_has_weights_above_biases():
    figure = section.flow_figure(section.through_time(3, 0.4, 3, points=20))
    weights, biases = figure.axes
    assert len(weights.lines) >= 3 and figure.legends[0].get_title().get_text() == "class learned"
    assert biases.get_xlabel() == "time"
