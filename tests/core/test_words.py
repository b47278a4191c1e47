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


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (dict(mean=0.02218, low=0.00106, high=0.0434), "0.022 (0.001 to 0.043)"),
        (dict(mean=8.9412, low=8.353, high=9.531), "8.9 (8.4 to 9.5)"),
        (dict(mean=0.99731, low=0.99702, high=0.9976), "0.99731 (0.99702 to 0.99760)"),
        (dict(mean=83.2, low=51.6, high=114.9), "83 (52 to 115)"),
        (dict(mean=0.2, low=0.2, high=0.2), "0.2 (0.2 to 0.2)"),
        (dict(mean=1234.5, low=1200.0, high=1269.0), "1,234 (1,200 to 1,269)"),
        (dict(mean=0.0, low=-math.inf, high=math.inf), "0 (−inf to inf)"),
        (dict(mean=2.5e-8, low=1e-8, high=4e-8), "2.5 · 10⁻⁸ (1 · 10⁻⁸ to 4 · 10⁻⁸)"),
        (dict(mean=0.02218, low=None, high=None), "0.0222"),
    ],
)
def test_an_interval_decides_its_decimals(row, said):
    assert span(row, ".3g") == said


def test_digits_are_those_asked_for():
    assert span(dict(mean=0.414, low=0.349, high=0.472), ".1f") == "0.4 (0.3 to 0.5)"
