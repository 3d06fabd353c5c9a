# `make lab` opens the course, `make test` checks everything; both install what they need first.

PYTHON ?= python3
PORT   ?= 8888
VENV   := .venv
BIN    := $(VENV)/bin

# Threads that spin long while they wait ruin each other where kernels outnumber cores: three at
# once on two cores drew a picture in 36 s, with this in 2 s. Alone, training is as fast.
export GOMP_SPINCOUNT ?= 2000

# Paths in recipes are relative, and a busy machine must not be made busier: the order is ours.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help lab pages test test-all check bench bench-offline clean browser
.DELETE_ON_ERROR:

help:
	@echo "make lab        open the course in JupyterLab (PORT=9000, NO_BROWSER=1)"
	@echo "make pages      write every lesson's page to docs/pages"
	@echo "make test       every test but the slow ones"
	@echo "make test-all   the slow ones too"
	@echo "make check      format, lint, types, notebooks without outputs, fast tests"
	@echo "make bench      measure what the documentation claims"
	@echo "make bench-offline  train on the sets built here: hours, stopped and resumed at will"
	@echo "make clean      remove caches and builds; the environment stays"

# --- the environment ---------------------------------------------------------------------------

# pip, not the directory: a half-made environment (Debian without python3-venv) has no pip.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "diffteach needs Python 3.11 or newer, and there is no '$(PYTHON)' here: install it, or name yours with 'make PYTHON=/path/to/python'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "diffteach needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1): name a newer one with 'make PYTHON=python3.11'." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make a virtual environment: on Debian and Ubuntu, install the package python3-venv." >&2; exit 1; }

# JupyterLab's news and updates would ask the network, and the learner, before the first lesson.
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings
QUIET_LAB := {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}

# One stamp for each set of extras: whoever only wants the course does not wait for the tests' tools.
$(VENV)/.lab:  EXTRAS := lab
$(VENV)/.test: EXTRAS := lab,rl,dev
$(VENV)/.lab $(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@mkdir -p $(LAB_SETTINGS) && echo '$(QUIET_LAB)' > $(LAB_SETTINGS)/overrides.json
	@touch $@

# Browser tests fail, with this sentence, where there is no Chromium: so it is only said here, and
# everything else is still tested. CHROMIUM=/path/to/browser names one that has another name.
browser:
	@if [ -n "$${CHROMIUM:-}" ]; then exit 0; fi; \
	for name in chromium chromium-browser google-chrome; do \
	  command -v $$name >/dev/null && exit 0; \
	done; \
	if command -v apt-get >/dev/null; then \
	  if [ "$$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi; \
	  if $$sudo true 2>/dev/null; then \
	    echo "Installing chromium for the browser tests."; \
	    $$sudo apt-get update -qq && \
	    $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null && \
	    command -v chromium >/dev/null && exit 0; \
	  fi; \
	fi; \
	echo "No Chromium here and none could be installed: browser tests will fail until you install the package chromium or Google Chrome." >&2

# --- the course --------------------------------------------------------------------------------

# Jupyter refuses root without being told; without a display it would open a text browser or none.
LAB_OPTIONS = $(shell [ "$$(id -u)" != 0 ] || echo --allow-root) \
  $(shell if [ -n "$(NO_BROWSER)" ]; then echo --no-browser; \
          elif [ "$$(uname)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY$$BROWSER" ]; then echo --no-browser; fi)

# Loopback and Jupyter's own token; if the port is busy Jupyter takes the next free one and prints
# it. The index is the default page rather than an argument: so the printed address shows it too.
lab: $(VENV)/.lab
	$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.port=$(PORT) \
	  --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks/00_start.ipynb \
	  $(LAB_OPTIONS)

# The pages are committed, so that a lesson can be seen before anything is installed.
pages: $(VENV)/.lab
	$(BIN)/python -m diffteach pages docs/pages

# --- tests -------------------------------------------------------------------------------------

PYTEST := $(BIN)/python -m pytest
FAST   := not slow and not browser and not notebook and not trains

# Two processes at a time, since each keeps one core busy: what $(1) said is printed after $(2).
# What is said about bad input is ours only without the import hook that checks shapes first, and a
# hook cannot be taken off again: hence a process of its own.
BESIDE := build/beside.log
define two
@mkdir -p build; \
$(1) > $(BESIDE) 2>&1 & beside=$$!; \
trap 'kill $$beside 2>/dev/null' INT TERM; \
status=0; \
$(2); \
echo "Waiting for what runs beside: $(BESIDE)"; \
wait $$beside || status=1; \
cat $(BESIDE); \
exit $$status
endef

SCREEN   := browser or notebook
PICTURES := tests/lessons tests/explore tests/course
# $(1) leaves tests out, or nothing.
run_tests = $(call two,$(PYTEST) -p no:cacheprovider -m "($(SCREEN))$(1)",\
  $(PYTEST) tests/bad_input -m "not ($(SCREEN))$(1)" || status=1; \
  $(PYTEST) -m "not ($(SCREEN))$(1)" || status=1)

test: $(VENV)/.test browser
	$(call run_tests, and not slow)

test-all: $(VENV)/.test browser
	$(call run_tests)

NOTEBOOKS = git ls-files -z --cached --others --exclude-standard '*.ipynb'

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(NOTEBOOKS) | xargs -0 -r $(BIN)/nbstripout --keep-id --verify
	$(call two,$(PYTEST) -p no:cacheprovider $(PICTURES) -m "$(FAST)",\
	  $(PYTEST) tests/bad_input -m "$(FAST)" || status=1; \
	  $(PYTEST) $(PICTURES:%=--ignore=%) -m "$(FAST)" || status=1)

bench: $(VENV)/.test browser
	$(BIN)/python -m benchmarks

bench-offline: $(VENV)/.test
	$(BIN)/python -m benchmarks.offline

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis test-results
	rm -f $(VENV)/.lab $(VENV)/.test
	find . -name $(VENV) -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) \
	  -exec rm -rf {} +
