# Each target sets itself up in .venv. Debian once: apt install make gcc python3-dev python3-venv
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
CORE   := $(shell find fastnat -name "*.px[di]" -o -name "*.pyx" -o -name "*.h")
PACKAGE := $(shell find fastnat -name "*.py" -o -name "*.toml") $(CORE)
# two tests at a time: more would need more memory than CI has
PAIR   := -n 2 --dist worksteal
# Python with the sanitizers, before the program's own name; libstdc++ beside them, as matplotlib throws C++ exceptions before it is
# loaded otherwise; Python itself never frees everything, and by its own allocator it would hide where an object ends; what asks for
# more than 3 GB at once is refused, as by the limit that test_any_option.py sets elsewhere
ASAN   := PYTHONMALLOC=malloc PYTHONPATH=build/asan LD_PRELOAD="$$(gcc -print-file-name=libasan.so) libstdc++.so.6" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=3072:hard_rss_limit_mb=6000:handle_segv=2

# pytest over a build of its own: -P keeps the working directory, and with it the release build, out of the path; TESTS= for some,
# QUICK=1 for those that are not slow: what `make test` leaves out as said again is quick
# the documents and the figures only do at length what the other tests do; the last four are about the release build and the sources.
# The laboratory is Python over batches that the other tests send, too: the sanitizers leave it out, as it is slow under them
CHECK   = -m pytest $(PAIR) -q -p no:cacheprovider $(if $(QUICK),-m "not slow") $(or $(TESTS),tests/unit tests/behaviour tests/fuzz $(if $(filter checked,$@),tests/laboratory)) \
	$(addprefix --ignore=tests/laboratory/,test_laboratory.py test_docs.py test_bench.py test_plan_answers.py test_exhaust_answers.py \
	test_loads.py test_doctor.py test_diff.py test_pages.py test_pictures.py test_commands.py) \
	$(addprefix --ignore=tests/unit/,test_build.py test_layout.py test_imports.py test_forms.py)

.PHONY: demo test check rest slow bench bench-instructions peers lint kernel-test kernel-million fresh checked asan \
	mutants fuzz soak package layout man
demo: $(VENV)/.built
	$(BIN)/fastnat exhaust
# without root, network namespaces, a fixed port or a clock; tests/README.md says what is slow, and what again
test: $(VENV)/.built
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m "not slow and not again" \
		tests/unit tests/behaviour tests/laboratory
# all that is run, as CI runs it
check: lint test rest
# what `lint` and `test` leave out; slow tests run on the release build alone: under the sanitizers they take half an hour, by hand. What fuzzers
# find anew is printed and kept in build/fuzz, but is no failure; what they found before,
# in tests/fuzz/corpus, is one in `slow`
rest: $(VENV)/.built
	$(MAKE) slow
	$(MAKE) kernel-test FASTNAT_SEEDS=4 FASTNAT_PACKETS=400
	$(MAKE) checked QUICK=1
	$(MAKE) asan QUICK=1
	$(MAKE) fuzz SECONDS=60 || echo "make fuzz: new findings, see above"
	$(MAKE) soak PACKETS=2_000_000 STATES=500 CONNECTIONS=5_000_000 KILLS=20 TRIES=50 || echo "make soak: findings, see above"
	$(MAKE) package
	$(MAKE) bench-instructions
slow: $(VENV)/.built
	FASTNAT_LONG=1 $(BIN)/python -m pytest $(PAIR) -m "slow or drawn or again" tests/unit tests/behaviour tests/laboratory
	$(BIN)/python -m pytest tests/fuzz
bench: $(VENV)/.built
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only -q
bench-instructions: $(VENV)/.built
	@command -v valgrind >/dev/null || { echo "needs valgrind: apt install valgrind"; exit 1; }
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/instructions.py
peers: $(VENV)/.built
	PYTHONPATH=benchmarks:tests $(BIN)/python -m peers $(LIVE) $(if $(OVS),--ovs "$(OVS)")
# what sends as fast as the kernel takes it has the machine to itself
ALONE  := tests/kernel/test_exhaustion.py
kernel-test: $(VENV)/.built
	FASTNAT_SEEDS=$${FASTNAT_SEEDS:-10} FASTNAT_PACKETS=$${FASTNAT_PACKETS:-1000} \
		$(BIN)/python -m pytest -n 2 --dist loadfile tests/kernel -m kernel --ignore=$(ALONE)
	$(BIN)/python -m pytest $(ALONE) -m kernel
# as root, about an hour: SEED is the first one, by default the date's; KINDS some of the generators
kernel-million: $(VENV)/.built
	$(BIN)/python tests/kernel/million.py $(KINDS) --packets $${PACKETS:-1000000} $(if $(SEED),--first $(SEED))
# the tests that draw, with seeds that nobody has had: SEED is the first, COUNT how many each gets; kept answers have seeds of their own
fresh: $(VENV)/.built
	PYTHONPATH=tests FASTNAT_FRESH=$(or $(SEED),$(shell date +%s)):$(or $(COUNT),10) $(BIN)/python -m pytest -p fresh $(PAIR) -q \
		tests/unit tests/behaviour tests/laboratory --ignore=tests/behaviour/test_answers.py
# it also says which lines of Python and of the core's steps were run; a step with too few is an error, unless only TESTS were run
checked: build/checked/.built
	@find build/temp-checked -name "*.gcda" -delete; rm -f build/coverage*
	PYTHONPATH=build/checked $(BIN)/python -P -m coverage run $(CHECK)
	@$(BIN)/coverage combine -q && $(BIN)/coverage report --sort=cover --skip-covered --skip-empty
	PYTHONPATH=benchmarks $(BIN)/python tests/step_coverage.py build/temp-checked $(if $(TESTS),,--least 95)
asan: build/asan/.built
	$(ASAN) $(BIN)/python -P $(CHECK)
# one of EVERY=40 that each step has; MOST=100 of those; SEED=2 for others; an interrupted run is gone on with; CHECK=1 behind
# it: who is left meets the slow tests and walks of the running kernel
mutants: $(VENV)/.built
	$(BIN)/python tests/mutants.py --every $(or $(EVERY),40) $(MOST:%=--most %) $(SEED:%=--seed %) $(if $(CHECK),--check)
build/checked/.built build/asan/.built: build/%/.built: $(VENV)/.built setup.py $(PACKAGE)
	@mkdir -p build
	@[ $@ -nt setup.py ] || rm -rf build/cython-$* build/temp-$*  # Cython does not see other directives
	FASTNAT_BUILD=$* $(BIN)/python setup.py -q build -j2 --build-lib build/$* --build-temp build/temp-$* >build/$*.log 2>&1 || { cat build/$*.log; exit 1; }
	@! grep -nE "performance hint|\.[ch]:.*warning:" build/$*.log | grep -v "boundscheck(False)"
	@touch $@
# SECONDS: for all kinds of input together; KINDS="rules capture": only those
fuzz: build/asan/.built $(VENV)/.fuzz
	$(ASAN) $(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),60) $(KINDS)
# PACKETS= STATES= CONNECTIONS= KILLS= TRIES=: less than the long form
soak: build/asan/.built
	$(ASAN) $(BIN)/python tests/fuzz/run.py --packets $(or $(PACKETS),100_000_000) packets
	$(ASAN) $(BIN)/python tests/fuzz/run.py --runs $(or $(STATES),10_000) state
	$(BIN)/python tests/fuzz/soak.py churn $(or $(CONNECTIONS),200_000_000)
	$(BIN)/python tests/fuzz/soak.py threads $(or $(TRIES),1000)
	$(BIN)/python tests/fuzz/kill_while_saving.py $(or $(KILLS),1000)
package: $(VENV)/.built
	.ci/package $(BIN)/python
# the manual pages out of the help
man: $(VENV)/.built
	$(BIN)/python -m fastnat.cli.man docs/man
layout:
	$(PYTHON) fastnat/core/make_layout.py
lint: $(VENV)/.built
	$(BIN)/python fastnat/core/make_layout.py --check
	$(BIN)/python -m fastnat.cli.man docs/man --check
	$(BIN)/ruff format --check fastnat tests benchmarks setup.py
	$(BIN)/ruff check fastnat tests benchmarks setup.py
	$(BIN)/clang-format --dry-run -Werror $(filter-out %/layout.h,$(filter %.h,$(CORE))) benchmarks/peers/ovs.c
	$(BIN)/cython-lint fastnat
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest fastnat.core.datapath fastnat.core._steps fastnat.conntrack.lines fastnat.capture.frames fastnat.exhaustion.headers --allowlist tests/stubtest-allowlist.txt

# where there is no wheel of it, run.py says that it goes without
$(VENV)/.fuzz: $(VENV)/.built
	-$(BIN)/python -m pip install -q --only-binary :all: --group fuzz
	touch $@
$(VENV)/.tools: pyproject.toml
	$(PYTHON) -m venv $(VENV) || { echo "on Debian: apt install python3-venv python3-dev gcc"; exit 1; }
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q --group dev
	touch $@
$(VENV)/.built: $(VENV)/.tools setup.py $(CORE)
	FASTNAT_STEPS=1 $(BIN)/python -m pip install -q -e .
	touch $@
