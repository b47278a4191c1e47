"""Every public name is documented completely: parameters with types and meanings, what is returned."""

import pytest
from numpydoc.validate import validate

import mli_utils

# Summary there and a sentence; parameters all there, no others, in order, with type and description; returns described.
CHECKS = {"SS01", "SS03", "PR01", "PR02", "PR03", "PR04", "PR07", "RT01", "RT03", "GL08"}


@pytest.mark.parametrize("name", mli_utils.__all__)
def test_it_is_documented(name):
    errors = validate(f"mli_utils.{name}")["errors"]
    assert not [f"{code}: {said}" for code, said in errors if code in CHECKS]
