# make train: the environment, then the main example.   make test: the environment, then every check.
# ARGS are passed on:  make train ARGS="--steps 100 --data some/folder"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: train test digits bench lint types pytest clean

train: $(VENV)/.examples
	$(BIN)/python -m examples.gpt $(ARGS)

digits: $(VENV)/.examples
	$(BIN)/python -m examples.digits

test: lint types pytest

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

pytest: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

bench: $(VENV)/.examples
	$(BIN)/python -m benchmarks $(ARGS)

# A stamp is written last: an installation that was interrupted is made again, a finished one is not.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.examples: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[examples]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.examples

clean:
	rm -rf $(VENV) .venv-peers .cache runs .pytest_cache .mypy_cache .ruff_cache
