"""A stranger's machine: private configuration, odd paths, locales and users, and what a notebook may do there."""

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
from conftest import PROJECT, environment, mli, notebook, small_book
from matplotlib import pyplot as plt

import mli_utils
from mli_utils.book import command, jobs, kernels, pages, runner
from mli_utils.claims import sources
from mli_utils.core.config import InputError
from mli_utils.runs import measured, provenance, settings, trained

PLAIN = [
    "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
    "figure, axes = plt.subplots()\naxes.plot([1, 2])\nfigure",
    "import pandas as pd\npd.DataFrame({'x': [1, 2]}).plot()",
    "import seaborn as sns\nsns.lineplot(x=[1, 2], y=[3, 4]);",
    "%matplotlib inline\nplt.hist([1, 1, 2]);",
]
POOL = """
from multiprocessing import Pool

def square(x):
    return x * x

with Pool(2) as pool:
    print(pool.map(square, range(4)))
"""
SAID = """
import atexit, os, pathlib, sys, tempfile, matplotlib as mpl
atexit.register(pathlib.Path("left.txt").write_text, "at exit")  # a kernel leaves as any program does
kept = tempfile.TemporaryDirectory(dir=".", prefix="kept-")
import mli_utils
from mli_utils.runs import settings
print("data", settings.data_dir())
print("size", mpl.rcParams["font.size"], mpl.rcParams["text.usetex"])
print("startup", "private_startup" in globals(), "private_file" in globals())
print("python", sys.executable, os.getcwd(), mli_utils.__file__)
with open("écrit.txt", "w") as file:
    print("text", sys.stdout.encoding, file.encoding, os.path.exists("écrit.txt"))
"""


def private_home(home: Path) -> dict[str, str]:
    """A home full of configuration that must not get into a book; the environment that goes with it."""
    for folder in (".config/matplotlib", ".ipython/profile_default/startup", ".local/share/jupyter/kernels/python3"):
        (home / folder).mkdir(parents=True)
    rc = "font.size: 40\nlegend.fontsize: 30\ntext.usetex: True\nbackend: Agg\n"
    (home / ".config/matplotlib/matplotlibrc").write_text(rc)
    (home / "rc").write_text(rc)
    (home / ".ipython/profile_default/startup/00.py").write_text("private_startup = 1\n")
    (home / ".ipython/profile_default/ipython_config.py").write_text("c.InteractiveShellApp.exec_lines = ['1 / 0']\n")
    (home / "start.py").write_text("private_file = 1\n")
    kernel = {"argv": ["/bin/false", "{connection_file}"], "display_name": "Mine", "language": "python"}
    (home / ".local/share/jupyter/kernels/python3/kernel.json").write_text(json.dumps(kernel))
    return {
        "HOME": str(home),
        "MPLBACKEND": "Agg",
        "MATPLOTLIBRC": str(home / "rc"),
        "PYTHONSTARTUP": str(home / "start.py"),
        "PYTHONWARNINGS": "error",
        "JUPYTER_DATA_DIR": str(home / ".local/share/jupyter"),
    }


def outputs(root: Path, name: str) -> list:
    """Of each code cell of a page but its parameters: (kinds of data, text)."""
    page = nbformat.read(root / "book" / "notebooks" / f"{name}.ipynb", as_version=4)
    found = []
    for cell in page.cells:
        if (
            cell.cell_type == "code"
            and cell.id != "code"
            and not {"parameters", "injected-parameters"} & set(cell.metadata.tags)
        ):
            kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
            found.append((kinds, "".join(output.get("text", "") for output in cell.outputs)))
    return found


def test_a_notebook_behaves_as_in_jupyterlab_wherever_it_is(tmp_path):
    root = small_book(
        tmp_path / "a b" / "${HOME} {x} \u00fc",
        **{"01_plain": notebook(*PLAIN, POOL, SAID, width="2**3"), "02_other": notebook("1")},
    )
    temporary = tmp_path / ("t" * 100)
    temporary.mkdir()
    (tmp_path / "elsewhere").mkdir()
    done = mli(
        root,
        *("reproduce", "--profile", "smoke", "--section", "1", "-p", "width=4"),
        cwd=tmp_path / "elsewhere",
        TMPDIR=str(temporary),
        MLI_DATA_DIR="my data",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        **private_home(tmp_path / "home"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *plain, pool, (_, said) = outputs(root, "01_plain")
    assert all("image/png" in kinds for kinds, _ in plain), plain
    assert pool[1] == "[0, 1, 4, 9]\n"
    assert (root / "notebooks" / "left.txt").read_text() == "at exit"
    assert not list((root / "notebooks").glob("kept-*"))
    lines = dict(line.split(" ", 1) for line in said.splitlines())
    assert lines["data"] == str(tmp_path / "elsewhere" / "my data")
    assert lines["size"] == "10.0 False" and lines["startup"] == "False False"
    assert lines["python"] == f"{sys.executable} {root / 'notebooks'} {Path(mli_utils.__file__)}"
    assert lines["text"].lower() == "utf-8 utf-8 true"
    assert "no page yet for 02_other: 'make reproduce' makes the whole book" in done.stdout
    site = root / "_build" / "html"
    assert "01_plain" in (site / "index.html").read_text(encoding="utf-8")
    shown = (site / "notebooks" / "01_plain.html").read_text(encoding="utf-8")
    assert shown.count("<img") >= len(PLAIN) and not (site / "notebooks" / "02_other.html").exists()


INSIDE = """
import multiprocessing, os, signal, sys
print(multiprocessing.get_start_method(), multiprocessing.current_process().name, sys.flags.utf8_mode)
print(sys.argv[0].rpartition(os.sep)[2], sys.path[0], sorted(sys.modules["__main__"].__dict__)[:3])
print(signal.getsignal(signal.SIGTERM), os.getpgid(0) == os.getpid() == os.getsid(0), os.environ["MPLBACKEND"])
print(os.environ["OMP_NUM_THREADS"], __import__("torch").get_num_threads(), sys.stdin.closed, os.environ["OF_JOB"])
"""


def test_a_forked_kernel_and_one_that_is_started_are_alike(tmp_path, monkeypatch):
    root = small_book(tmp_path / "book", **{"01_plain": notebook(*PLAIN, POOL, INSIDE)})
    monkeypatch.setenv("MLI_ROOT", str(root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OF_JOB", "$HOME")
    (job,) = jobs.plan("smoke")
    found = []
    with kernels.Loader(kernels.environment(tmp_path / "loader")) as loader:
        for kind in (loader, None):
            folder = tmp_path / f"run {kind is None}"
            folder.mkdir()
            made = runner._run_notebook(job, folder, 1, kind)
            kinds = [kind for cell in made.cells for one in cell.get("outputs", ()) for kind in one.get("data", {})]
            said = "".join(one.get("text", "") for cell in made.cells for one in cell.get("outputs", ()))
            found.append((kinds, said))
    assert found[0] == found[1]
    assert "image/png" in str(found[0]) and "[0, 1, 4, 9]" in str(found[0]) and "$HOME" in str(found[0])


def test_a_kernel_that_dies_or_lacks_a_module_stops_its_own_notebook_alone(tmp_path, monkeypatch):
    """Kernels are forked from one process, which loads the modules of all."""
    texts = {"01_plain": PLAIN, "02_broken": ["import broken"], "03_dying": ["import os; os.kill(os.getpid(), 9)"]}
    root = small_book(tmp_path / "book", **{name: notebook(*cells) for name, cells in texts.items()})
    (tmp_path / "broken.py").write_text("raise RuntimeError('a word is missing')", encoding="utf-8")
    monkeypatch.setenv("MLI_ROOT", str(root))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # of the kernels, after the package's
    loader = kernels.Loader(kernels.environment(tmp_path / "loader"))
    loader.modules += ["broken"]
    plain, broken, dying = jobs.plan("smoke")

    def run(job, said=None):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        (tmp_path / "run").mkdir()
        with pytest.raises(pages.NotebookFailed, match=said) if said else nullcontext():
            runner._run_notebook(job, tmp_path / "run", 1, loader)

    with loader:
        run(broken, "a word is missing")
        for _ in range(2):
            run(dying, "03_dying failed: its kernel died; unless it said why")
        run(plain)
        loader.process.kill()
        loader.process.wait()
        run(plain, "01_plain failed: its kernel died")


def test_figures_are_the_same_whatever_a_matplotlibrc_says(small_config, shown, tmp_path):
    curves = mli_utils.interpolate(mli_utils.train(small_config), ["linear", "homogeneous"], 5)
    made = []
    for changes in ({}, {"legend.fontsize": 30, "font.size": 40, "text.usetex": True, "lines.linewidth": 9}):
        with plt.rc_context({**changes, **({"font.family": ["serif"]} if changes else {})}):
            mli_utils.show(mli_utils.curve_figure(curves), "same", curves)
        made.append((tmp_path / "figures" / "same.svg").read_bytes())
    assert made[0] == made[1]


def ask(code: str, **changes) -> str:
    """What a process that imports this package says; it runs where there is no package of this name."""
    command, given = [sys.executable, "-c", code], environment(**changes)
    done = subprocess.run(command, env=given, cwd="/", capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *who, "-C", folder, *arguments], env=own, capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_only_the_project_s_own_repository_says_which_commit(tmp_path):
    project, foreign = tmp_path / "project", tmp_path / "foreign"
    for folder in (project, foreign):
        folder.mkdir()
        git(folder, "init", "-q")
    shutil.copytree(PROJECT / "mli_utils", project / "mli_utils", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (project, foreign):
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "--allow-empty", "-m", folder.name)
    own, other = (git(folder, "rev-parse", "--short=10", "HEAD") for folder in (project, foreign))
    code = "from mli_utils.runs import provenance; print(provenance.code())"
    quiet = {"PYTHONDONTWRITEBYTECODE": "1"}
    none = f"{mli_utils.__version__} (no commit)"

    def said(folder=project, **environment):
        return ask(code, PYTHONPATH=str(folder), **quiet, **environment)

    assert said() == own != other
    for folder in ("notebooks", "profiles"):
        (project / folder).mkdir()
    (project / "notebooks" / "05.ipynb").write_text("")
    of_page = (
        "from mli_utils.runs import provenance; print(provenance.code('notebooks/05.ipynb', 'profiles/small.yml'))"
    )
    assert ask(of_page, PYTHONPATH=str(project), MLI_ROOT=None, **quiet) == own + "+" != said()
    assert said(GIT_DIR=str(foreign / ".git"), GIT_WORK_TREE=str(foreign)) == own
    assert said(GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="core.worktree", GIT_CONFIG_VALUE_0=str(foreign)) == own
    assert said(PATH=str(tmp_path)) == none  # no git
    (project / "mli_utils" / "more.py").write_text("more = 1\n")
    git(project, "config", "status.showUntrackedFiles", "no")
    assert said() == own + "+"
    unpacked = shutil.copytree(project / "mli_utils", foreign / "archive" / "mli_utils").parent
    assert said(unpacked) == none
    assert said(unpacked, GIT_DIR=str(foreign / ".git"), GIT_WORK_TREE=str(unpacked)) == none
    installed = shutil.copytree(project / "mli_utils", project / ".venv" / "lib" / "mli_utils").parent
    assert said(installed) == none
    if os.getuid() == 0:
        for path in [project, *project.rglob("*")]:
            os.chown(path, 12345, 12345)
        assert said() == own + "+"


def test_without_notes_of_versions_runs_are_made_and_kept(small_config, monkeypatch):
    def nothing(name):
        raise provenance.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(provenance.metadata, "version", nothing)
    provenance._libraries.cache_clear()
    (run,) = mli_utils.train([small_config])
    provenance._libraries.cache_clear()
    assert run.provenance["torch"] == "unknown" and run.summary["status"] == "fitted"


@pytest.mark.parametrize("broken", ["stamp", "device_name"])
def test_what_can_fail_fails_before_the_work(small_config, monkeypatch, broken):
    def fail(*_):
        raise LookupError("no name")

    monkeypatch.setattr(provenance, broken, fail)
    monkeypatch.setattr(trained.training, "train_group", lambda *_: pytest.fail("trained, and then lost"))
    with pytest.raises(LookupError, match="no name"):
        list(trained.train_here([small_config]))
    with pytest.raises(LookupError, match="no name"):
        list(measured.measure_here(0, small_config, {}, lambda *_: pytest.fail("measured, and then lost"), None, print))


def test_relative_paths_are_resolved_where_they_were_typed(tmp_path):
    code = (
        f"import os; os.chdir({str(tmp_path)!r}); from mli_utils.runs import settings; os.chdir('/'); "
        "print(settings.data_dir(), settings.store_dir(), settings.root(), settings.figures_dir())"
    )
    given = {"MLI_DATA_DIR": "mine", "MLI_STORE": "../store", "MLI_ROOT": "root", "MLI_FIGURES": "~/figures"}
    found = ask(code, HOME="/a/home", **given).split()
    assert found == [f"{tmp_path}/mine", f"{tmp_path}/../store", f"{tmp_path}/root", "/a/home/figures"]


def test_every_path_of_the_environment_is_passed_on_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "BEGAN", str(tmp_path))
    for name in settings.PATHS:
        monkeypatch.setenv(name, f"some/{name}")
    settings.resolve_paths()
    assert all(os.environ[name] == str(tmp_path / "some" / name) for name in settings.PATHS)
    source = (PROJECT / "mli_utils" / "runs" / "settings.py").read_text(encoding="utf-8")
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    asked = [call.args[0] for call in calls if ast.unparse(call.func) == "given_path"]
    assert {name.value for name in asked if isinstance(name, ast.Constant)} == set(settings.PATHS)


def test_a_package_without_its_project_keeps_runs_with_the_user(tmp_path, monkeypatch, capsys):
    package = tmp_path / "site"
    shutil.copytree(PROJECT / "mli_utils", package / "mli_utils", ignore=shutil.ignore_patterns("__pycache__"))
    there = {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(tmp_path / "home")}
    code = (
        "import mli_utils as mli; from mli_utils.runs import settings\n"
        "mli.train(mli.RunConfig(depth=2, width=4, n_train=20, epochs=1)); print(settings.store_dir())"
    )
    kept = Path(ask(code, XDG_DATA_HOME=None, **there))
    assert kept == tmp_path / "home" / ".local" / "share" / "mli-utils" / "build" / "small" / "store"
    assert len(list(kept.glob("runs/*.json"))) == 1
    assert sorted(path.name for path in package.iterdir()) == ["mli_utils"]
    said = "does not hold the book's notebooks/ and profiles/; run this in a checkout"
    done = mli(None, "reproduce", cwd=tmp_path, XDG_DATA_HOME=None, **there)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"{tmp_path}/home/.local/share/mli-utils {said}" in done.stderr
    monkeypatch.setattr(settings, "PACKAGE", package)
    monkeypatch.delenv("MLI_ROOT")
    for asked in ("book", "record", "lab"):
        assert command.main([asked]) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1 and said in error
    monkeypatch.setenv("MLI_ROOT", str(tmp_path / "nowhere"))
    assert command.main(["reproduce"]) == 2
    assert f"{tmp_path}/nowhere {said}" in capsys.readouterr().err


def test_a_user_without_a_name_or_a_home_is_told_or_given_one(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it is where nobody knows the user
    monkeypatch.setenv("MLI_ROOT", str(tmp_path / "root"))
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    command._have_home()
    assert os.environ["HOME"] == str(tmp_path / "root" / "build" / "home") and os.environ["LOGNAME"]
    monkeypatch.delenv("MLI_ROOT")
    monkeypatch.setattr(settings, "PACKAGE", tmp_path)
    monkeypatch.setattr(settings.platformdirs, "user_data_dir", lambda *_, **__: "~/.local/share/mli-utils")
    with pytest.raises(InputError, match="this user has no home to keep runs in; set MLI_ROOT"):
        settings.root()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OMP_NUM_THREADS", "many", "OMP_NUM_THREADS=many is not allowed; allowed: a whole number from 1 up"),
        ("OMP_NUM_THREADS", "0", "OMP_NUM_THREADS=0 is not allowed"),
        ("MLI_CHECKPOINT", "-1", "MLI_CHECKPOINT=-1 is not allowed"),
        ("MLI_SCHEDULER", "here", "SCHEDULER=here is not allowed"),
        ("MLI_DEVICE", "gpu", "unknown device 'gpu'"),
    ],
)
def test_a_bad_environment_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys, name, value, said):
    root = small_book(tmp_path / "book", **{"01_plain": notebook("1")})
    monkeypatch.setenv("MLI_ROOT", str(root))
    monkeypatch.setattr(runner, "run", lambda *_: pytest.fail("ran"))
    monkeypatch.setenv(name, value)
    assert command.main(["reproduce", "--profile", "smoke"]) == 2
    assert said in capsys.readouterr().err
    assert not (root / "build").exists()


@pytest.mark.parametrize("allowed", ["", "4", " 2 ", "4,2"])
def test_numbers_of_threads_are_as_openmp_has_them(monkeypatch, allowed):
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert settings.threads() == allowed.strip()


MERGE = "<<<<<<< HEAD\n"
NOTEBOOKS = [
    (MERGE + notebook("1"), "notebooks/01_plain.ipynb is no notebook: line 1 is the mark of a merge"),
    (notebook("1").replace("\n  }", f"\n{MERGE}  }}", 1), "is the mark of a merge that was not resolved"),
    (notebook(f"{MERGE}x = 1\n=======\nx = 2\n>>>>>>> other"), "01_plain.ipynb, cell 3, line 1: invalid syntax: <<<"),
    (notebook("x = (1,"), "notebooks/01_plain.ipynb, cell 3, line 1: '(' was never closed: x = (1,"),
    (notebook("1", width="= 3"), "notebooks/01_plain.ipynb, cell 2, line 1: invalid syntax"),
    ("", "notebooks/01_plain.ipynb is no notebook"),
    ("{", "notebooks/01_plain.ipynb is no notebook: Expecting property name"),
    ("[1, 2]", "notebooks/01_plain.ipynb is no notebook"),
    ('{"cells": 3, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "notebooks/01_plain.ipynb is no notebook"),
    ("\udcff", "notebooks/01_plain.ipynb is no notebook"),
]


@pytest.mark.parametrize(("text", "said"), NOTEBOOKS)
def test_a_broken_notebook_is_named_before_anything_runs(tmp_path, monkeypatch, capsys, text, said):
    root = small_book(tmp_path / "book", **{"01_plain": ""})
    (root / "notebooks" / "01_plain.ipynb").write_bytes(text.encode("utf-8", "surrogateescape"))
    monkeypatch.setenv("MLI_ROOT", str(root))
    monkeypatch.setattr(runner, "run", lambda *_: pytest.fail("ran"))
    assert command.main(["reproduce", "--profile", "smoke"]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and said in errors[0]


def as_saved(text: str, change) -> str:
    notebook = json.loads(text)
    change(notebook)
    return json.dumps(notebook)


PARAMETERS = dict(width="2**6", depths="list(range(2, 5))", wide="width * 2", path="pick()", scale="1e-2", some="None")


@pytest.mark.parametrize(
    "change",
    [
        lambda notebook: None,
        lambda notebook: notebook["metadata"].pop("kernelspec", None),
        lambda notebook: notebook["metadata"].update(kernelspec={"name": "julia", "display_name": "Julia"}),
        lambda notebook: [cell.pop("id") for cell in notebook["cells"]] and notebook.update(nbformat_minor=4),
        lambda notebook: notebook["cells"].append(
            {
                "cell_type": "code",
                "id": "m",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
                "source": "%time 1",
            }
        ),
    ],
)
def test_notebooks_as_editors_leave_them_are_read(tmp_path, monkeypatch, change):
    text = as_saved(notebook("1", **PARAMETERS), change)
    root = small_book(tmp_path / "book", **{"01_plain": "\ufeff" + text})
    monkeypatch.setenv("MLI_ROOT", str(root))
    known, networks = jobs._known_parameters(sources.read_notebook("01_plain"))
    assert not networks
    assert known == {
        "width": 64,
        "depths": [2, 3, 4],
        "wide": 128,
        "path": jobs.UNKNOWN,
        "scale": 0.01,
        "some": None,
    }
    (job,) = jobs.plan("smoke", changes=["width=32", "path=[1, 2]", "depths=7"])
    assert job.parameters == {"width": 32, "path": [1, 2], "depths": [7]}
    with pytest.raises(InputError, match="wide='x' is not allowed; allowed: a whole number, such as 128"):
        jobs.plan("smoke", changes=["wide=x"])


def test_numbers_are_as_people_write_them():
    for text, value in (
        *(("1e-2", 0.01), ("1E3", 1000.0), ("5.", 5.0), (".5", 0.5), ("+3", 3), ("-1.5e+3", -1500.0)),
        *(("010", 10), ("1_000", 1000), ("1:30", "1:30"), ("no", "no"), ("on", "on"), ("2020-01-01", "2020-01-01")),
        *(("None", None), ("null", None), ("", None), ("~", None), ("true", True), ("False", False)),
        *(("[1e-1, 2]", [0.1, 2]), ("{lr: 1e-1}", {"lr": 0.1}), ("digits", "digits"), ("1.2.3", "1.2.3")),
    ):
        found = sources.parse_yaml(text)
        assert found == value and type(found) is type(value), text
    for text in ("a: 1\na: 2", "{", "- a: [", "&a [*a]x"):
        with pytest.raises(ValueError):
            sources.parse_yaml(text)


CHANGES = [
    (["lr=1e-2", "seeds=1e1", "n_train=None"], None),
    (["seeds=0"], "seeds=0 is not allowed; allowed: 1 or more"),
    (["seeds=2.5"], "seeds=2.5 is not allowed; allowed: a whole number"),
    (["alphas=1"], "alphas=1 is not allowed; allowed: 2 or more"),
    (["doses=[]"], "doses=[] is not allowed; allowed: a list of at least one"),
    (["doses=[1, -1]"], "doses=-1 is not allowed; allowed: 0 or more"),
    (["budget=.inf"], "budget=inf is not allowed; allowed: a whole number"),
    (["condition=0.5"], "condition=0.5 is not allowed; allowed: 1 or more"),
    (["powers=[2.0, 4.0]"], "09_interventions: powers=[2.0, 4.0] is not allowed; allowed: with 1.0"),
    (["starts=[here]"], "unknown value in 10_start_points: starts: 'here' (did you mean 'other'?); known: own"),
    (["source=[theirs]"], "unknown value in 12_claims: source: 'theirs'"),
]


@pytest.mark.parametrize(("changes", "said"), CHANGES)
def test_parameters_that_would_fail_are_refused_before_anything_runs(monkeypatch, changes, said):
    monkeypatch.setenv("MLI_ROOT", str(PROJECT))
    if said is None:
        planned = {job.name: job.parameters for job in jobs.plan("small", changes=changes)}
        assert planned["09_interventions"] == {"lr": 0.01, "seeds": 10, "n_train": None}
    else:
        with pytest.raises(InputError) as raised:
            jobs.plan("small", changes=changes)
        assert said in str(raised.value)


def test_texts_are_utf_8_whatever_the_locale(tmp_path):
    """The book's own files are read under a locale that is not UTF-8, and every call says which encoding it means."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "MLI_ROOT": str(PROJECT)}
    code = (
        "import locale; from mli_utils.book import jobs, pages; from mli_utils.claims import statements; "
        "jobs.plan('small'); statements.load(); "
        "print(locale.getpreferredencoding(False), len(ascii(pages.citation())) > 0)"
    )
    assert ask(code, **ascii_only).split()[1] == "True"
    done = mli(PROJECT, "reproduce", "--profile", "s\u00fcd", **{**ascii_only, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2 and "unknown profile" in done.stderr and "Traceback" not in done.stderr
    silent = []
    for path in [*(PROJECT / "mli_utils").rglob("*.py"), *(PROJECT / "benchmarks").glob("*.py")]:
        for call in [
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
        ]:
            words = {word.arg for word in call.keywords}
            name = ast.unparse(call.func).rpartition(".")[2]
            mode = next((arg.value for arg in call.args if isinstance(arg, ast.Constant)), "r")
            text = name in ("read_text", "write_text") or (
                name == "open" and "b" not in str(mode) and ast.unparse(call.func) != "Image.open"
            )
            if (text or "text" in words) and "encoding" not in words:
                silent.append(f"{path.name}:{call.lineno}")
    assert not silent


def test_serving_on_a_port_that_is_taken_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLI_ROOT", str(tmp_path))
    assert command.main(["serve"]) == 2
    assert "_build/html is not there; 'make book' renders it" in capsys.readouterr().err
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("here")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert command.main(["serve", "--port", str(port)]) == 2
        assert f"PORT={port} cannot be had" in capsys.readouterr().err
    for port in ("99999", "-1", "many"):
        assert command.main(["serve", "--port", port]) == 2
        assert "allowed" in capsys.readouterr().err


def test_a_lab_uses_this_checkout_s_package_and_store(tmp_path, monkeypatch):
    become = []
    monkeypatch.setenv("MLI_ROOT", str(PROJECT))
    monkeypatch.setenv("PYTHONPATH", "another clone")
    monkeypatch.setenv("MLI_DATA_DIR", "mine")
    monkeypatch.setattr(os, "execv", lambda program, arguments: become.append((program, arguments, dict(os.environ))))
    assert command.main(["lab"]) == 0
    ((program, arguments, environment),) = become
    assert program == sys.executable and arguments[1:] == ["-m", "jupyterlab", str(PROJECT / "notebooks")]
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(PROJECT), "another clone"]
    assert environment["MLI_ROOT"] == str(PROJECT) and Path(environment["MLI_DATA_DIR"]).is_absolute()


def test_the_makefile_quotes_what_it_is_given():
    said = subprocess.run(
        ["make", "-n", "reproduce", "PYTHON=/my env/bin/python"], cwd=PROJECT, capture_output=True, encoding="utf-8"
    )
    assert '"/my env/bin/python" -m mli_utils reproduce' in said.stdout
    shown = ["make", "-s", "--eval=said: ; @echo $$PYTHONPATH $$PYTHONUTF8 $$HOME", "said"]
    environment = {**os.environ, "PYTHONPATH": "other", "PYTHONUTF8": "0", "HOME": "/nonexistent"}
    done = subprocess.run(shown, cwd=PROJECT, env=environment, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == [f"{PROJECT}:other", "1", f"{PROJECT}/build/home"]


def test_ruff_finds_nothing():
    for arguments in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *arguments, "."]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stdout + done.stderr
