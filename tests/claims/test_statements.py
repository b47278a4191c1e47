"""What `book/claims.yml` may hold, and when a predicate holds."""

import math

import pytest

import mli_utils as mli
from mli_utils.claims import statements
from mli_utils.claims.statements import Predicate

from .conftest import LONGER


def test_claims_are_read_as_they_are_written(book):
    longer, mostly, *_ = statements.load()
    assert (longer.range, mostly.range, longer.cluster) == ((-math.inf, math.inf), (0, 1), "seed")
    assert statements.parse_range("0 up") == (0, math.inf) and longer.can_fail == "it is shorter"
    assert (longer.cite, longer.remark, mostly.remark) == ("wang2023", "", "Few runs say little.")
    assert longer.predicate == Predicate(0, math.inf, "above 0")
    assert [claim.id for claim in statements.load() if claim.section == "06_other"] == ["ordered", "solved"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"seciton": "x"},
            "unknown key of book/claims.yml, claim longer: 'seciton' (did you mean 'section'?)",
        ),
        ({"figure": None}, "claim longer: figure is missing; needed: id, section, source"),
        ({"cite": None}, "claim longer: cite is missing"),
        ({"statement": ["a"]}, "claim longer: statement=['a'] is not allowed; allowed: text"),
        ({"remark": " "}, "claim longer: remark=' ' is not allowed; allowed: text"),
        ({"id": "a b"}, "claim a b: id='a b' is not allowed; allowed: letters, digits and hyphens"),
        (
            {"section": "07_none"},
            "section of book/claims.yml, claim longer: '07_none'; known: 05_some, 06_other",
        ),
        ({"source": "blog"}, "unknown source of book/claims.yml, claim longer: 'blog'; known: abstract, section"),
        ({"cite": "wang2022"}, "'wang2022' (did you mean 'wang2023'?); known: wang2023"),
        ({"over": "seeds"}, "'seeds'; known: mean, share, estimate, exact"),
        ({"can fail": None}, "claim longer: can fail is missing"),
        ({"cluster": "run"}, "'run'; known: seed, network, draw, none"),
        ({"cluster": "none"}, "cluster='none' is not allowed; allowed: none if over is exact, else a cluster"),
        ({"range": "0 to 0"}, "claim longer: range='0 to 0' is not allowed; allowed: X to Y with X < Y, X up, any"),
        ({"figure": "no-figure"}, "known: some-figure"),
        ({"predicate": "at least 3"}, "claim longer: predicate='at least 3' is not allowed; allowed: above X, below X"),
        ({"predicate": "between 2 and 1"}, "with X < Y"),
    ],
)
def test_a_bad_claim_is_one_sentence(book, change, said):
    entry = {key: value for key, value in (LONGER | change).items() if value is not None}
    book(entry)
    with pytest.raises(mli.InputError) as raised:
        statements.load()
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_bad_file_is_one_sentence(book):
    book(LONGER, LONGER)
    with pytest.raises(mli.InputError, match="id='longer' is there 2 times; allowed: once"):
        statements.load()
    for text, said in (("{", "is no YAML"), ("a: 1", "should be a list of claims"), ("- a", "should be a list")):
        root = book(text)
        with pytest.raises(mli.InputError, match=said):
            statements.load()
    (root / statements.FILE).unlink()
    with pytest.raises(mli.InputError, match="book/claims.yml is not there"):
        statements.load()


@pytest.mark.parametrize(
    ("words", "inside", "outside", "across"),
    [
        ("above 0", (0.1, 0.2), (-0.1, 0), (-0.1, 0.1)),
        ("below 1e-4", (0, 9e-5), (1e-4, 1), (0, 1)),
        ("between -1 and 1.5", (-0.9, 1.4), (1.5, 2), (0, 2)),
    ],
)
def test_a_predicate_holds_where_the_whole_interval_does(words, inside, outside, across):
    predicate = Predicate.parse(words)
    for (low, high), said in ((inside, "holds"), (outside, "fails"), (across, "undecided")):
        assert predicate.judge(low, high) == said
