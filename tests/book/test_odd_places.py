"""`make reproduce PROFILE=smoke` from archives of the project in places where software breaks: `make test-places`.

Each place has what was committed, this environment's Python, and no state of another; its numbers must be those of a
plain clone, and its stamps must say which commit there is, or that there is none. A quarter of an hour on two cores.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import PROJECT

pytestmark = pytest.mark.places

TAKEN = ("LANG", "LC_ALL", "PYTHONPATH", "PYTHONUTF8", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")


def unpack(folder: Path) -> Path:
    """The committed files of the project in a new folder."""
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "-C", PROJECT, "archive", "HEAD"], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    return folder


def reproduce(root: Path, *before: str, **environment: str | None) -> subprocess.CompletedProcess:
    """`make reproduce PROFILE=smoke` in `root`; None takes a variable away."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLI_") and name not in TAKEN}
    changed = {**kept, **environment}
    command = [*before, "make", "reproduce", "PROFILE=smoke", "DEVICE=cpu", f"PYTHON={sys.executable}"]
    return subprocess.run(
        command,
        cwd=root,
        env={name: value for name, value in changed.items() if value is not None},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )


def found(root: Path) -> list[dict]:
    """What a reproduction found of every claim, without when."""
    claims = json.loads((root / "build" / "smoke" / "claims.json").read_text(encoding="utf-8"))
    return [{name: claim[name] for name in claim if name not in ("bound_set", "first_run")} for claim in claims]


def stamps(root: Path) -> set[str]:
    """What pages say of the code that made them."""
    pages = (root / "_build" / "html" / "notebooks").glob("*.html")
    return {
        said
        for page in pages
        for said in re.findall(r", code ([^<]*?)\.(?: The|</em>)", page.read_text(encoding="utf-8"))
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What a plain clone finds, and its commit."""
    root = tmp_path_factory.mktemp("plain") / "clone"
    subprocess.run(["git", "clone", "-q", PROJECT, root], check=True)
    done = reproduce(root)
    assert done.returncode == 0, done.stdout + done.stderr
    commit = subprocess.run(
        ["git", "-C", root, "rev-parse", "--short=10", "HEAD"], capture_output=True, encoding="utf-8", check=True
    ).stdout.strip()
    assert stamps(root) == {commit}
    return found(root)


def check(root: Path, done: subprocess.CompletedProcess, plain: dict) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert found(root) == plain
    assert all(said.endswith("(no commit)") for said in stamps(root)) and stamps(root)


def test_a_path_with_spaces_letters_and_signs(tmp_path, plain):
    root = unpack(tmp_path / "two words" / "größe {x} $HOME 'é'" / "project")
    check(root, reproduce(root), plain)


def test_inside_another_s_repository(tmp_path, plain):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, "-C", tmp_path, "commit", "-q", "--allow-empty", "-m", "foreign"], check=True)
    root = unpack(tmp_path / "project")
    check(root, reproduce(root, GIT_DIR=str(tmp_path / ".git"), GIT_WORK_TREE=str(root)), plain)


def test_the_c_locale(tmp_path, plain):
    root = unpack(tmp_path / "project")
    check(root, reproduce(root, LC_ALL="C", PYTHONCOERCECLOCALE="0"), plain)


def test_a_locale_of_one_byte_a_letter(tmp_path, plain):
    if not shutil.which("localedef") or not Path("/usr/share/i18n/locales/de_DE").exists():
        pytest.skip("no locales to compile (Debian: apt-get install locales)")
    (tmp_path / "locales").mkdir()
    name = tmp_path / "locales" / "de_DE.ISO-8859-1"
    subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", name], capture_output=True)
    root = unpack(tmp_path / "project")
    check(root, reproduce(root, LC_ALL="de_DE.ISO-8859-1", LOCPATH=str(name.parent)), plain)


NOBODY = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups")


def test_a_user_without_a_name_or_a_home(plain):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        os.chmod(folder, 0o755)
        root = unpack(Path(folder) / "project")
        before = NOBODY if shutil.which("setpriv") and os.getuid() == 0 else ()
        through = ["sh", "-c", '"$0" -c ""', sys.executable]  # a program that setpriv starts itself may read more
        if before and subprocess.run([*before, *through], capture_output=True).returncode:
            before = ()  # that user cannot reach this Python; a home that nobody may enter is the other half
        for path in [root, *root.rglob("*")] if before else ():
            os.chown(path, 12345, 12345, follow_symlinks=False)
        home = None if before else "/nonexistent"
        done = reproduce(root, *before, HOME=home, USER=None, LOGNAME=None, XDG_CACHE_HOME=None)
        check(root, done, plain)


def test_a_long_folder_for_temporary_files(tmp_path, plain):
    root, temporary = unpack(tmp_path / "project"), tmp_path / ("t" * 100)
    temporary.mkdir()
    check(root, reproduce(root, TMPDIR=str(temporary)), plain)


def test_a_clock_and_files_that_are_a_day_ahead(tmp_path, plain):
    if not shutil.which("faketime"):
        pytest.skip("no faketime (Debian: apt-get install faketime)")
    root = unpack(tmp_path / "project")
    for path in root.rglob("*"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 172_800))
    check(root, reproduce(root, "faketime", "-f", "+1d", TZ="Pacific/Kiritimati"), plain)
    text = root / "book" / "choices.md"
    text.write_text(text.read_text(encoding="utf-8") + "\nAdded today.\n", encoding="utf-8")
    done = reproduce(root)  # the clock is right again, a day before all that was made
    assert done.returncode == 0 and done.stdout.count(": unchanged") == 14, done.stdout + done.stderr
    assert "Added today." in (root / "_build" / "html" / "choices.html").read_text(encoding="utf-8")
