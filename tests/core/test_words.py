import math

import pytest

from mli_utils.core.words import span


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (dict(mean=0.414, low=0.349, high=0.472), "0.41 (0.35 to 0.47)"),
        (dict(value=-0.5, low=-1.0, high=0.0), "−0.50 (−1.00 to 0.00)"),
        (dict(mean=0.5, low=math.nan, high=math.nan), "0.50"),
        (dict(value=0.5, low=None, high=None), "0.50"),
        (dict(mean=math.nan, low=math.nan, high=math.nan), "–"),
        (dict(value=None, low=None, high=None), "–"),
    ],
)
def test_an_estimate_in_words(row, said):
    assert span(row) == said


def test_digits_are_those_asked_for():
    assert span(dict(mean=0.414, low=0.349, high=0.472), ".1f") == "0.4 (0.3 to 0.5)"
