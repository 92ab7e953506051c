# Two commands, on a machine with nothing but Python 3.11, 3.12 or 3.13 and make:
#
#   make train    trains the reference experiment on the built-in data, offline, into runs/demo
#   make test     runs the tests
#
# Both make .venv first, from the versions and hashes in requirements.lock. `make test PYTHON=/path/to/python` chooses
# the Python, `VENV=` another place, so that several can stand side by side; `JOBS=` how many processes run the tests.

VENV ?= .venv
JOBS ?= 2
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: train test test-slow lint lock venv
.DEFAULT_GOAL := train

train: $(READY)
	$(RUN) -m mtc.main --config configs/multitask.py --workdir runs/demo

test: $(READY)
	$(RUN) -m pytest -n $(JOBS) --dist loadscope

test-slow: $(READY)
	$(RUN) -m pytest -n $(JOBS) -m "slow and not torch"

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright --pythonpath $(RUN)
	$(VENV)/bin/shellcheck launch/*.sh .ci/run

venv: $(READY)

# The newest supported Python that can make a virtual environment; pyenv's are found when they are not on PATH.
FIND_PYTHON = for version in 3.13 3.12 3.11 3; do \
  for python in "python$$version" "$$HOME"/.pyenv/versions/$$version.*/bin/python3; do \
    "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
      && { command -v "$$python"; exit; }; \
  done; done

$(READY): requirements.lock pyproject.toml
	@set -e; if ! $(RUN) -m pip --version >/dev/null 2>&1; then \
	  python="$(PYTHON)"; [ -n "$$python" ] || python=$$($(FIND_PYTHON)); \
	  [ -n "$$python" ] || { echo "mtc needs Python 3.11, 3.12 or 3.13 with its venv module (on Debian: apt-get install" \
	    "python3-venv); found none. Say where it is: make PYTHON=/path/to/python" >&2; exit 2; }; \
	  echo "Making $(VENV) with $$python"; "$$python" -m venv --clear $(VENV); \
	fi
	@echo "Installing requirements.lock: about 600 MB to fetch the first time, a few minutes"
	$(RUN) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	$(RUN) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Needs uv. Versions for every supported Python and system, their hashes, and no index.
lock:
	echo '# Written by `make lock` from pyproject.toml: what mtc and its tests need, for Python 3.11 to 3.13.' > requirements.lock
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --upgrade --quiet \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links >> requirements.lock
