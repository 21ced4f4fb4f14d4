PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo install check format test test-fast clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,hub,dev]'
	touch $@

install: $(VENV)/installed

demo: install
	$(BIN)/oversight demo

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not network'

test-fast: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not network and not slow and not gpu'

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache dist
