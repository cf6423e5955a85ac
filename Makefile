# make demo                      the main job on the sample, in a virtual environment of its own
# make test                      every test
# make asan                      the compiled kernels with AddressSanitizer and UBSan (GCC), under their tests
# make lint                      ruff and mypy
# make wheel                     dist/: a source package and the wheel out of it, looked at by twine, auditwheel, abi3audit
# make parity SET=... CLIPS=... RANGES=... [MODEL=nano]  docs/parity/ for a shipped model, from a synthetic set and real
#                                clips; RANGES: what INT8 is calibrated on (default: the set's train split)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
MODEL ?= default
ALONE := tests/aunet_sdk/sources tests/aunet_sdk/faces/finders/test_slime.py tests/aunet_sdk/faces/finders/test_choice.py \
	tests/aunet_sdk/profiling/test_device.py tests/aunet_sdk/test_allocation.py tests/train/paper/test_speed.py
PYTEST = $(BIN)/python -m pytest
PIP := $(BIN)/python -m pip --disable-pip-version-check
GROUND := setup.py pyproject.toml constraints.txt $(wildcard csrc/*)

# An access outside an array, a cast of what an integer cannot hold, an overflow: each ends the tests with its line.
SANITIZERS := -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-omit-frame-pointer -g
KERNEL_TESTS := tests/aunet_sdk/test_native.py tests/aunet_sdk/test_kernel_fuzz.py tests/aunet_sdk/geometry \
	tests/aunet_sdk/faces/test_boxes.py tests/aunet_sdk/faces/test_tracker.py tests/train/synthetic/test_synthetic.py \
	tests/train/synthetic/test_hand_mesh.py

.PHONY: demo test asan lint wheel parity clean

demo: $(VENV)/.demo
	$(BIN)/aunet demo -o demo

# The files are shared among WORKERS processes; those of ALONE are not, since they look at what a process is made of: its
# memory, its threads, its signals. Any process may run tests of every part.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/.test
	$(PYTEST) -n $(WORKERS) --dist loadfile --durations 40 tests $(ALONE:%=--ignore %)
	$(PYTEST) $(ALONE)

# Built from a copy, so that no object of one build gets into the other; the copy's package goes before the checkout's.
asan: $(VENV)/.test
	rm -rf build/asan
	mkdir -p build/asan/source
	cp -r setup.py pyproject.toml MANIFEST.in README.md LICENSE csrc aunet_sdk build/asan/source
	find build/asan/source -name '*.so' -delete
	sed -i 's/-O3/-O1/; s/"-g0", //' build/asan/source/setup.py
	CC=gcc CFLAGS="$(SANITIZERS)" LDFLAGS="$(SANITIZERS)" $(PIP) install --no-deps --target build/asan/package build/asan/source
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 AUNET_REQUIRE_NATIVE=1 OMP_NUM_THREADS=1 \
	$(PYTEST) -o "pythonpath=build/asan/package ." $(KERNEL_TESTS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tools are in an environment of their own: they are nothing that the package or its tests need.
TOOLS := build/wheel-tools/bin/python -m
wheel: export AUNET_REQUIRE_NATIVE = 1
wheel: build/wheel-tools/.done
	rm -rf dist
	$(TOOLS) build -q
	$(TOOLS) twine check --strict dist/*
	$(TOOLS) auditwheel show dist/*.whl
	if ls dist/*abi3*; then $(TOOLS) abi3audit --strict dist/*.whl; fi

build/wheel-tools/.done:
	$(PYTHON) -m venv build/wheel-tools
	$(TOOLS) pip --disable-pip-version-check install -q build twine auditwheel abi3audit
	touch $@

parity: $(VENV)/.test
	@test -n "$(SET)" || { echo "make parity: expected SET=FOLDER of a synthetic set, got none"; exit 2; }
	$(BIN)/python -m export.shipped --model $(MODEL) --crops $(SET) $(addprefix --clip ,$(CLIPS)) $(addprefix --calibrate ,$(RANGES))

# A stamp tells which extras are installed for this state of the ground.
$(VENV)/.demo: EXTRAS = cpu,plot
$(VENV)/.test: EXTRAS = test
$(VENV)/.dev: EXTRAS = test,dev
$(VENV)/.demo $(VENV)/.test $(VENV)/.dev: $(GROUND) | $(BIN)/python
	$(PIP) install -c constraints.txt -e ".[$(EXTRAS)]"
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf build demo dist *.egg-info $(VENV)/.demo $(VENV)/.test $(VENV)/.dev aunet_sdk/_native/*.so
