PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo install check format test test-fast test-processors clean

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

AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell
SSE := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem

# The whole suite three times: as the machine is, and as its libraries would work on two older processors.
test-processors: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not network'
	env $(AVX2) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not network'
	env $(SSE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not network'

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache dist
