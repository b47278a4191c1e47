# Every target works on a fresh clone with nothing but python3 (3.11 or newer) and make.

DEVICE ?= $(or $(MLI_DEVICE),auto)
SCHEDULER ?= $(MLI_SCHEDULER)
PORT ?= 8000
GROUP :=
ROUNDS ?= 3
KILLS ?= 60

# What reads the book and reproduces it does without JupyterLab, Dask and what tests need: each group has a mark of its
# own, and comes with the first target that needs it.
ifeq ($(PYTHON),)
  RUN := .venv/bin/python
  MARK := .venv/.ready$(if $(TORCH_BACKEND),-$(TORCH_BACKEND))
  READY := $(MARK)$(if $(SCHEDULER),.cluster)
  LAB := $(MARK).lab
  DEV := $(MARK).dev
else
  RUN := "$(PYTHON)"
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

.PHONY: help env data reproduce book pdf serve lab test test-coverage test-faults test-places lint bench pilot record clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PROFILE=$(basename $(notdir $(wildcard profiles/*.yml)))  SECTION=05  JOBS=2  PARAMS='seeds=3 depth=8'"
	@echo "  DEVICE=auto cpu cuda  TORCH_BACKEND=auto cpu cu130 …  PYTHON=python: your active environment, as it is"
	@echo "  SCHEDULER=tcp://HOST:PORT: groups of runs go to the workers of a Dask cluster"

ifneq ($(filter-out lab cluster dev,$(GROUP))$(and $(GROUP),$(PYTHON)),)
  $(error GROUP=$(GROUP) is not allowed; allowed: lab, cluster or dev, and no PYTHON, whose environment stays as it is)
endif

env: $(if $(GROUP),$(MARK).$(GROUP),$(READY))  ## .venv with the locked versions (GROUP=lab, cluster or dev: with more)

# uv puts the locked versions into .venv; the lock is a constraint, so another torch build brings no CUDA with it.
# Where Python is told to keep no bytecode, it is made here: without, every process takes three times as long to load.
$(MARK) $(MARK).cluster $(MARK).lab $(MARK).dev: pyproject.toml requirements.lock
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "python3 is older than 3.11; install Python 3.11 or newer"; exit 2; }
	@python3 -c 'import ensurepip, venv' || \
	  { echo "python3 has no venv module; install it (Debian: apt-get install python3-venv)"; exit 2; }
	test -x .venv/bin/python || python3 -m venv .venv
	.venv/bin/python -m pip install --quiet -c requirements.lock uv
	.venv/bin/uv pip install --quiet --python .venv/bin/python -c requirements.lock \
	  $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode) \
	  -e '.$(if $(filter .cluster .lab .dev,$(suffix $@)),[$(patsubst .%,%,$(suffix $@))])'
	@find .venv -maxdepth 1 -name '.ready*' -not -name '$(notdir $(MARK))' -not -name '$(notdir $(MARK)).*' -delete; touch $(MARK) $@

data: $(READY)  ## download and check MNIST, CIFAR-10 and CIFAR-100 into MLI_DATA_DIR (default data/)
	@$(MLI) data

reproduce: $(READY)  ## train, run every notebook, render the book: _build/html/index.html
	@$(MLI) reproduce $(ASKED)

book: $(READY)  ## render the book from each section's best record, or PROFILE's; trains nothing
	@$(MLI) book $(ASKED)

pdf: $(READY)  ## the rendered book as one file, through Chromium: _build/book.pdf
	@$(MLI) pdf

bench: $(DEV)  ## time it against the alternatives and the machine: build/bench.json (BENCH=train_fcn ROUNDS=3)
	@$(RUN) -m benchmarks $(BENCH) --rounds $(ROUNDS)

pilot: $(READY)  ## run the claims on seeds below 200, and keep what says how many seeds decide them
	@$(MLI) reproduce --profile pilot
	@$(MLI) pilot

record: $(READY)  ## write what the pages were made from into results/PROFILE (SECTION= one of them)
	@$(MLI) record --profile "$(PROFILE)" --section "$(SECTION)"

serve: $(READY)  ## show the book at http://127.0.0.1:8000 (PORT=)
	@$(MLI) serve --port "$(PORT)"

lab: $(LAB)  ## edit the notebooks in JupyterLab
	@$(if $(PROFILE),MLI_PROFILE="$(PROFILE)") $(MLI) lab

test: $(DEV)  ## unit tests, notebooks under smoke, strict build, scan of the site
	@$(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder  # three on two cores: some wait for a browser

test-faults: $(DEV)  ## kills, damage, full disks, processes side by side (KILLS=60 of them at random; an hour)
	@MLI_TEST_KILLS=$(KILLS) $(RUN) -m pytest -m faults

test-coverage: $(DEV)  ## do intervals cover what they promise: simulations (2 min)
	@$(RUN) -m pytest -m coverage

test-places: $(DEV)  ## reproductions in odd places: paths, locales, users, clocks, other repositories (15 min)
	@$(RUN) -m pytest -m places

lint: $(DEV)  ## style of code and notebooks, what imports what, types, docstrings, declared dependencies
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(if $(PYTHON),,.venv/bin/)lint-imports --no-logo
	@$(RUN) -m mypy
	@$(RUN) -m pytest -q tests/test_docstrings.py
	@$(RUN) -m deptry .

clean:  ## remove pages, site, figures and build/, with the stores of trained runs
	rm -rf _build build book/notebooks book/made notebooks/figures
