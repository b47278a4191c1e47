"""Tables: digits that mean something, means and intervals side by side."""

import re

import pandas as pd
import pytest

import mli_utils as mli


def cells(shown):
    """The table that was displayed last."""
    return shown[-1][0].data


@pytest.fixture
def lengths():
    frame = pd.DataFrame(
        {
            "network": ["wide", "wide", "deep", "deep"],
            "path": ["linear", "linear", "linear", "linear"],
            "error_plateau": [0.1, 0.3, 0.5, float("nan")],
            "loss_plateau": [0.2, 0.2, 0.4, 0.6],
        }
    )
    return mli.intervals(frame, ["network", "path"], ["error_plateau", "loss_plateau"])


def test_tables_do_not_show_small_numbers_as_zero(shown):
    mli.show_table(pd.DataFrame({"train_loss": [0.00001, 0.0, float("nan")], "n": [1, 2, 3]}))
    html = shown[0][0].to_html()
    assert "1.0e-05" in html and "0.000" in html and "–" in html and "train loss" in html


def test_columns_have_no_digits_that_say_nothing(shown):
    nan = float("nan")
    frame = pd.DataFrame({"a": [0.65, 1.0, nan], "b": [2520.0, 7.0, 0.0], "c": [0.12344, 1.0, 250.21], "d": [nan] * 3})
    mli.show_table(frame, digits=4)
    rows = re.findall("<tr>.*?</tr>", shown[0][0].to_html().split("<tbody>")[1], re.S)
    found = [re.findall("<td[^>]*>(.*?)</td>", row) for row in rows]
    assert found == [["0.65", "2520", "0.1234", "–"], ["1.00", "7", "1.0000", "–"], ["–", "0", "250.2", "–"]]


def test_intervals_stand_side_by_side_in_the_order_given(shown, lengths):
    mli.show_intervals(lengths)
    table = cells(shown)
    assert list(table) == ["network", "path", "error_plateau", "loss_plateau", "n"]
    assert list(table.network) == ["wide", "deep"]
    assert table["loss_plateau"][0] == "0.20 (0.20 to 0.20)"
    assert "error plateau" in shown[-1][0].to_html()
    assert table["error_plateau"][1] == "0.50"  # one value has no interval
    assert list(table.n) == ["2", "1–2"]


def test_whole_numbers_have_no_decimals(shown):
    frame = pd.DataFrame({"power": [1.0, 1.0, 2.0], "scale": [0.5, 0.5, 1.0], "bump": [0.1, 0.2, 0.3]})
    mli.show_intervals(mli.intervals(frame, ["power", "scale"], ["bump"]))
    assert [str(value) for value in cells(shown).power] == ["1", "2"]
    assert list(cells(shown).scale) == [0.5, 1.0]


def test_columns_may_be_told_apart_by_more_than_the_measure(shown, lengths):
    mli.show_intervals(lengths, ["measure", "network"], digits=1)
    table = cells(shown)
    assert list(table)[:2] == ["path", "error_plateau, wide"]
    assert table["loss_plateau, deep"][0] == "0.5 (−0.8 to 1.8)"


def test_what_is_not_there_is_a_dash(shown, lengths):
    mli.show_intervals(lengths.drop(index=lengths.index[-1]))
    assert cells(shown)["loss_plateau"][1] == "–"


def test_rows_that_nothing_tells_apart_are_an_error(lengths):
    with pytest.raises(mli.InputError, match="show_intervals: path, measure do not tell the rows apart"):
        mli.show_intervals(lengths.drop(columns="network"))
    with pytest.raises(mli.InputError, match="show_intervals: no column start; the frame has network, path"):
        mli.show_intervals(lengths, ["start"])
    with pytest.raises(mli.InputError, match="no column is left to label rows; allowed: fewer than measure"):
        mli.show_intervals(lengths[:1].drop(columns=["network", "path"]))
