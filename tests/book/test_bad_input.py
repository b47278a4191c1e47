"""A thousand configurations, profiles and files of claims that nobody should write: one sentence each, nothing left."""

import dataclasses
import functools

import pytest
import yaml
from conftest import PROJECT, copy_project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mli_utils as mli
from mli_utils.book import command, jobs
from mli_utils.claims import sources, statements
from mli_utils.core.config import FIELDS, InputError
from mli_utils.runs.files import address
from mli_utils.runs.trained import run_key

MANY = settings(deadline=None, suppress_health_check=list(HealthCheck))
words = st.text(max_size=8) | st.sampled_from(
    ["digits", "fcn", "none", "sgd", "linear", "above 0", "null", "~", "{", "- a"]
)
numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=True, allow_infinity=True)
scalars = st.none() | st.booleans() | numbers | words | st.dates()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3), max_leaves=6
)
names = st.sampled_from(FIELDS) | words


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("bad") / "root")


@pytest.fixture(autouse=True)
def in_project(root, monkeypatch):
    monkeypatch.setenv("MLI_ROOT", str(root))
    monkeypatch.setenv("MLI_DEVICE", "cpu")
    monkeypatch.setattr(command.runner, "run", lambda *_: pytest.fail("allowed"))


def files(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def is_a_sentence(error: InputError):
    said = str(error)
    assert said and "\n" not in said and "Traceback" not in said and error.exit_status == 2


@settings(MANY, max_examples=600)
@given(st.dictionaries(names, values, min_size=1, max_size=4))
def test_configurations(root, fields):
    before = files(root)
    try:
        configs = mli.grid(**{str(name): value for name, value in fields.items()})
    except InputError as error:
        is_a_sentence(error)
    else:  # what is allowed is a run that can be addressed, and made again from its fields
        for config in configs:
            assert mli.RunConfig(**dataclasses.asdict(config)) == config
            assert address(run_key(config)) and str(config)
    assert files(root) == before


def check(root, path, text, plan):
    """Write a bad file, plan with it, put the good one back."""
    good = path.read_bytes()
    path.write_text(text, errors="surrogatepass" if text.isascii() else "replace")
    before = files(root)
    try:
        plan()
    except InputError as error:
        is_a_sentence(error)
        assert path.name in str(error) or str(error).partition(":")[0] in SECTIONS
    finally:
        assert files(root) == before
        path.write_bytes(good)


def dumped(value) -> str:
    return yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True)


SECTIONS = [path.stem for path in sorted((PROJECT / "notebooks").glob("*.ipynb"))]
parameters = st.dictionaries(
    st.sampled_from(["depth", "seeds", "dataset", "alphas", "lr", "deep", "vgg", "bias", "init_scale"]) | words,
    values,
    max_size=3,
)
profiles = (
    st.dictionaries(st.sampled_from(SECTIONS) | words, parameters | values, max_size=3).map(dumped)
    | values.map(dumped)
    | st.text(max_size=30)
)


@pytest.fixture
def read_before(monkeypatch):
    """What is not changed is read once: claims and notebooks."""
    claims = statements.load()
    monkeypatch.setattr(statements, "load", lambda: claims)
    monkeypatch.setattr(sources, "read_notebook", functools.cache(sources.read_notebook))


@settings(MANY, max_examples=200)
@given(profiles)
def test_profiles(root, read_before, text):
    check(root, root / "profiles" / "smoke.yml", text, lambda: jobs.plan("smoke"))


def claims_files():
    entries = yaml.safe_load((PROJECT / statements.FILE).read_text(encoding="utf-8"))
    keys = st.sampled_from(statements.KEYS) | words
    changed = st.builds(
        lambda place, changes, dropped: [
            {key: value for key, value in (entry | (changes if i == place else {})).items() if key != dropped}
            for i, entry in enumerate(entries)
        ],
        st.integers(0, len(entries) - 1),
        st.dictionaries(keys, values, max_size=2),
        st.none() | st.sampled_from(statements.KEYS),
    )
    return changed.map(dumped) | values.map(dumped) | st.text(max_size=30)


@settings(MANY, max_examples=200)
@given(claims_files())
def test_claims(root, text):
    check(root, root / statements.FILE, text, statements.load)


def test_a_bad_file_is_one_sentence_on_the_command_line(root, capsys):
    for path in (root / "profiles" / "smoke.yml", root / statements.FILE, root / "book" / "_toc.yml"):
        good = path.read_bytes()
        for text in (b"\xff\xfe\x00", b"{", b"- 3: [", b"a: &b [*b]", b"!!python/object:os.system x", b"\x00"):
            path.write_bytes(text)
            before = files(root)
            assert command.main(["reproduce", "--profile", "smoke"]) == 2, (path.name, text)
            said = capsys.readouterr().err.strip().splitlines()
            assert len(said) == 1 and said[0].startswith("mli: ") and path.name in said[0], (path.name, text, said)
            assert files(root) == before
        path.write_bytes(good)
    assert sources.sections() == SECTIONS
