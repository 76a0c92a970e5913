# `make train` and `make test` are all a new user needs; both make the environment first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= configs/mmae_attention.py
WORKDIR ?= runs/mmae_attention

.PHONY: train test test-real test-faults lint bench audit clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	touch $@

train: $(VENV)/.installed
	$(BIN)/python train.py --config=$(CONFIG) --workdir=$(WORKDIR)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2

test-real: $(VENV)/.installed
	$(BIN)/python -m pytest -m 'real and not faults' -v

test-faults: $(VENV)/.installed
	$(BIN)/python -m pytest -m faults -v -s

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.run_all --out runs/bench

audit: $(VENV)/.installed
	$(BIN)/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf runs build *.egg-info
