# Each target sets itself up in .venv. Debian once: apt install make gcc python3-dev python3-venv
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
CORE   := $(wildcard fastnat/core/*.pyx fastnat/core/*.pxd fastnat/core/*.h)

# pytest over a build of its own: -P keeps the working directory, and with it the release build, out of the path
# libstdc++ beside the sanitizer, as matplotlib throws C++ exceptions before it is loaded otherwise;
# the laboratory, the documents and the figures only do at length what the other tests do; test_build.py is about the release build
CHECK  := $(BIN)/python -P -m pytest -q -p no:cacheprovider -m "not kernel" \
	$(addprefix --ignore=tests/,test_laboratory.py test_docs.py test_bench.py test_build.py)

.PHONY: demo test bench bench-instructions peers lint kernel-test checked asan package
demo: $(VENV)/.built
	$(BIN)/fastnat exhaust
test: $(VENV)/.built
	$(BIN)/python -m pytest
bench: $(VENV)/.built
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only -q
bench-instructions: $(VENV)/.built
	@command -v valgrind >/dev/null || { echo "needs valgrind: apt install valgrind"; exit 1; }
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/instructions.py
peers: $(VENV)/.built
	PYTHONPATH=benchmarks:tests $(BIN)/python -m peers $(LIVE)
kernel-test: $(VENV)/.built
	FASTNAT_SEEDS=$${FASTNAT_SEEDS:-10} FASTNAT_PACKETS=$${FASTNAT_PACKETS:-1000} $(BIN)/python -m pytest tests/kernel -m kernel
checked asan: $(VENV)/.built
	FASTNAT_BUILD=$@ $(BIN)/python setup.py -q build -j2 --build-lib build/$@ --build-temp build/temp-$@ >build/$@.log 2>&1 || { cat build/$@.log; exit 1; }
	@! grep -nE "performance hint|\.[ch]:.*warning:" build/$@.log | grep -v "boundscheck(False)"
	PYTHONPATH=build/$@ LD_PRELOAD="$(if $(filter asan,$@),$$(gcc -print-file-name=libasan.so) libstdc++.so.6)" ASAN_OPTIONS=detect_leaks=0 $(CHECK)
package: $(VENV)/.built
	.ci/package $(BIN)/python
lint: $(VENV)/.built
	$(BIN)/ruff check fastnat tests benchmarks setup.py
	$(BIN)/cython-lint fastnat
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest fastnat.core.datapath fastnat.core._steps --allowlist tests/stubtest-allowlist.txt

$(VENV)/.tools: pyproject.toml
	$(PYTHON) -m venv $(VENV) || { echo "on Debian: apt install python3-venv python3-dev gcc"; exit 1; }
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q --group dev
	touch $@
$(VENV)/.built: $(VENV)/.tools setup.py $(CORE)
	FASTNAT_STEPS=1 $(BIN)/python -m pip install -q -e .
	touch $@
