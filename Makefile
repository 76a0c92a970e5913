# `make train` and `make test` are all a new user needs; both make the environment first.

# The newest Python that really runs, unless PYTHON=... names one: a pyenv shim may stand on the path and fail, and a Debian
# Python may lack venv, so each is tried.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11; do \
  $$python -c 'import venv, ensurepip' >/dev/null 2>&1 && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
MINOR := -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])'
# The pins of the environment's own Python, found in a recipe's shell once the environment is there.
CONSTRAINTS = constraints/$$($(BIN)/python $(MINOR)).txt
PIP = $(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
CONFIG ?= configs/mmae_attention.py
WORKDIR ?= runs/mmae_attention

.PHONY: docs train test test-real test-faults test-slow lint bench audit clean FORCE

# A PYTHON given by hand that is not the environment's version makes the environment anew; else a made one stays as it is.
ifneq ($(filter command environment,$(origin PYTHON)),)
ifneq ($(shell $(PYTHON) $(MINOR) 2>/dev/null),$(shell $(BIN)/python $(MINOR) 2>/dev/null))
$(VENV)/.installed: FORCE
endif
endif

# --clear where the environment is another Python's: two versions in one folder would share bin/.
$(VENV)/.installed: pyproject.toml $(wildcard constraints/*.txt)
	@python="$(PYTHON)"; minor=$$($${python:-false} $(MINOR) 2>/dev/null); \
	test -n "$$minor" -a -f "constraints/$$minor.txt" || { \
	  echo "No $${python:-python3.13, python3.12 or python3.11} runs here with venv, pip and a file in constraints/: install one, or say make PYTHON=/path/to/python." >&2; \
	  exit 1; }; \
	if test -x $(BIN)/python$$minor; then clear=; else clear=--clear; fi; \
	$$python -m venv $$clear $(VENV)
	$(PIP) --editable '.[dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(PIP) --editable '.[bench]'
	touch $@

train: $(VENV)/.installed
	$(BIN)/python train.py --config=$(CONFIG) --workdir=$(WORKDIR)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-real: $(VENV)/.installed
	$(BIN)/python -m pytest -m 'real and not faults' -v

test-faults: $(VENV)/.installed
	$(BIN)/python -m pytest -m faults -v -s

# What is neither on real data nor of faults, and too long for every commit: memory, the notebook, scikit-learn's own checks.
test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow -v

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The pages: strict, so a broken link fails it.
docs: $(VENV)/.installed
	$(PIP) --editable '.[docs]'
	$(BIN)/mkdocs build --quiet

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.run_all --out runs/bench

audit: $(VENV)/.installed
	$(BIN)/pip-audit --strict --requirement $(CONSTRAINTS) --no-deps --disable-pip

clean:
	rm -rf runs build site *.egg-info

FORCE:
