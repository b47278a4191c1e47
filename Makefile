# Every target works on a fresh clone with nothing but python3 (3.11 or newer) and make.

PROFILE ?=
SECTION ?=
PARAMS ?=
JOBS ?=
DEVICE ?= auto
SCHEDULER ?= $(MLI_SCHEDULER)
PORT ?= 8000
TORCH_BACKEND ?=
PYTHON ?=
BENCH ?=
ROUNDS ?= 3
KILLS ?= 60

ifeq ($(PYTHON),)
  RUN := .venv/bin/python
  READY := .venv/.ready$(if $(TORCH_BACKEND),-$(TORCH_BACKEND))
else
  RUN := "$(PYTHON)"
  READY :=
endif
# A user without a home, or with one that is not theirs to write into, has one among what is built.
ifneq ($(shell test -d "$$HOME" && test -w "$$HOME" && echo yes),yes)
  export HOME := $(CURDIR)/build/home
  $(shell mkdir -p build/home)
endif

# Texts are UTF-8, whatever the locale, and the package is this checkout's, whatever is installed.
export PYTHONUTF8 := 1
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

export MLI_DEVICE := $(DEVICE)
export MLI_SCHEDULER := $(SCHEDULER)
MLI := $(RUN) -m mli_utils
ASKED = --profile "$(PROFILE)" --section "$(SECTION)" $(if $(JOBS),--jobs "$(JOBS)") -p $(PARAMS)

.PHONY: help env data reproduce book pdf serve lab test test-faults test-places lint bench record clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PROFILE=$(basename $(notdir $(wildcard profiles/*.yml)))  SECTION=05  JOBS=2  PARAMS='seeds=3 depth=8'"
	@echo "  DEVICE=auto cpu cuda  TORCH_BACKEND=auto cpu cu130 …  PYTHON=python: your active environment, as it is"
	@echo "  SCHEDULER=tcp://HOST:PORT: groups of runs go to the workers of a Dask cluster"

env: $(READY)  ## .venv with the locked versions (skipped when up to date)

# uv puts the locked versions into .venv; the lock is a constraint, so another torch build brings no CUDA with it.
# Where Python is told to keep no bytecode, it is made here: without, every process takes three times as long to load.
.venv/.ready .venv/.ready-$(TORCH_BACKEND): pyproject.toml requirements.lock
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "python3 is older than 3.11; install Python 3.11 or newer"; exit 2; }
	@python3 -c 'import ensurepip, venv' || \
	  { echo "python3 has no venv module; install it (Debian: apt-get install python3-venv)"; exit 2; }
	test -x .venv/bin/python || python3 -m venv .venv
	.venv/bin/python -m pip install --quiet -c requirements.lock uv
	.venv/bin/uv pip install --quiet --python .venv/bin/python -c requirements.lock \
	  $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode) \
	  -e '.[cluster,dev]'
	@rm -f .venv/.ready*; touch $@

data: $(READY)  ## download and check MNIST, CIFAR-10 and CIFAR-100 into MLI_DATA_DIR (default data/)
	@$(MLI) data

reproduce: $(READY)  ## train, run every notebook, render the book: _build/html/index.html
	@$(MLI) reproduce $(ASKED)

book: $(READY)  ## render the book from the best committed record, or PROFILE's; trains nothing
	@$(MLI) book $(ASKED)

pdf: $(READY)  ## the rendered book as one file, through Chromium: _build/book.pdf
	@$(MLI) pdf

bench: $(READY)  ## time it against the alternatives and the machine: build/bench.json (BENCH=train_fcn ROUNDS=3)
	@$(RUN) -m benchmarks $(BENCH) --rounds $(ROUNDS)

record: $(READY)  ## write the pages' runs and curves into results/PROFILE
	@$(MLI) record --profile "$(PROFILE)"

serve: $(READY)  ## show the book at http://127.0.0.1:8000 (PORT=)
	@$(MLI) serve --port "$(PORT)"

lab: $(READY)  ## edit the notebooks in JupyterLab
	@$(if $(PROFILE),MLI_PROFILE="$(PROFILE)") $(MLI) lab

test: $(READY)  ## unit tests, notebooks under smoke, strict build, scan of the site
	@$(RUN) -m pytest

test-faults: $(READY)  ## kills, damage, full disks, processes side by side (KILLS=60 of them at random; an hour)
	@MLI_TEST_KILLS=$(KILLS) $(RUN) -m pytest -m faults

test-places: $(READY)  ## reproductions in odd places: paths, locales, users, clocks, other repositories (15 min)
	@$(RUN) -m pytest -m places

lint: $(READY)  ## ruff on code and notebooks
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

clean:  ## remove everything made here but .venv, data/ and results/
	rm -rf _build build book/notebooks book/made notebooks/figures
