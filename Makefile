# Everything runs from .venv, installed from pinned and hashed versions. PYTHON is the interpreter that creates it: the
# first of these that runs and is a supported version, or the one you pass: make PYTHON=/path/to/python3.11
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	"$$p" -c "$(FITS)" 2>/dev/null && command -v "$$p" && break; done)
BIN := .venv/bin

.PHONY: setup demo test test-fast test-all mutants lint lock clean

setup: .venv/.installed

.venv/.packages: requirements.lock
	@"$(or $(PYTHON),false)" -c "$(FITS)" || { echo "Python 3.11, 3.12 or 3.13 is needed, found: $(or $(PYTHON),none on the PATH). Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Creating .venv with $(PYTHON). This takes about a minute, once."
	@"$(PYTHON)" -m venv --clear .venv || { echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@

.venv/.installed: .venv/.packages pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@$(BIN)/python -m deployments.local.demo $(if $(KEEP),--keep)

# By file, because the tests in a file share their servers. (With this pytest, loadgroup ignores the groups.)
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The inner loop: unit tests, without those that simulate an account or thousands of packages.
FAST := tests/dda_core tests/test_architecture.py tests/test_locks.py
LEFT_OUT := tests/dda_core/access/test_preflight.py tests/dda_core/device/test_oracle.py
test-fast: setup
	$(BIN)/python -m pytest -q -n 2 --dist loadfile $(FAST) $(LEFT_OUT:%=--ignore %)

# Benchmarks run alone; the other long suites share both cores.
test-all: setup
	$(BIN)/python -m pytest -m slow --timeout=1800 tests/benchmarks
	$(BIN)/python -m pytest -m slow --timeout=1800 -n 2 --dist loadfile --ignore tests/benchmarks

# Mutation tests: which changes to the code no unit test notices. They take hours; MUTANTS='dda_core.naming*' runs fewer.
# They run in mutants/ and resume after an interruption; `mutmut results` and `mutmut show NAME` list the survivors.
mutants: setup
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --group mutation
	$(BIN)/python -m mutmut run --max-children 1 $(foreach each,$(MUTANTS),'$(each)')
	$(BIN)/python -m mutmut results

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# uv, itself pinned in requirements.lock, keeps the pins that still satisfy pyproject.toml. The worker's lock is the
# subset that a worker needs: no emulator, no test tools.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate
lock: setup
	$(COMPILE) --group dev --extra local -o requirements.lock pyproject.toml
	$(COMPILE) --group build --constraint requirements.lock -o requirements-worker.lock pyproject.toml

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .dda mutants
