# Each target sets itself up in .venv. Debian once: apt install make gcc python3-dev python3-venv
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
CORE   := $(wildcard fastnat/core/*.pyx fastnat/core/*.pxd fastnat/core/*.h)

.PHONY: demo test bench lint kernel-test
demo: $(VENV)/.built
	$(BIN)/fastnat exhaust
test: $(VENV)/.built
	$(BIN)/python -m pytest
bench: $(VENV)/.built
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only -q
kernel-test: $(VENV)/.built
	$(BIN)/python -m pytest tests/kernel -m kernel
lint: $(VENV)/.built
	$(BIN)/ruff check fastnat tests benchmarks setup.py
	$(BIN)/cython-lint fastnat
	$(BIN)/mypy

$(VENV)/.tools: pyproject.toml
	$(PYTHON) -m venv $(VENV) || { echo "on Debian: apt install python3-venv python3-dev gcc"; exit 1; }
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q --group dev
	touch $@
$(VENV)/.built: $(VENV)/.tools setup.py $(CORE)
	$(BIN)/python -m pip install -q -e .
	touch $@
