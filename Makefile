# The one door: everything a developer or CI does is a target here.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help quickstart test slow test-all cluster kernel bare check bench docs format clean
help:           ## Show the targets
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  +##' $(MAKEFILE_LIST) | sed 's/:.*##/  -/'

quickstart: $(VENV)/.run-ready  ## Set up, and run a whole search on this machine
	$(BIN)/piip-search run quickstart
	$(BIN)/piip-search export quickstart best --out exported/quickstart

test: $(VENV)/.dev-ready  ## Set up, and run the tests that take a moment each
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'not slow and not cluster'

slow: $(VENV)/.dev-ready  ## Run the tests that train, export or start servers
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'slow and not cluster'

test-all: test slow cluster kernel  ## Run every test that needs the extras

cluster: $(VENV)/.dev-ready  ## Run the tests that start clusters and kill parts of them
	$(BIN)/python -m pytest -m cluster

kernel: $(VENV)/.dev-ready  ## Run the tests of the GPU kernels in Triton's interpreter (290 MB, once)
	$(INSTALL) --no-deps triton
	$(BIN)/python -m pytest tests/piip_search/models/kernels/test_kernels.py

bare: $(VENV)-bare/.ready  ## Run the tests that need no extra, with no extra installed
	$(VENV)-bare/bin/python -m pytest -m 'not slow'

check: $(VENV)/.dev-ready  ## Lint, types, import floors, wheel contents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	rm -rf dist && $(BIN)/python -m build --wheel --no-isolation --outdir dist . > /dev/null
	$(BIN)/check-wheel-contents dist/*.whl

bench: $(VENV)/.dev-ready  ## Run the benchmarks, with the peers they compare with
	$(INSTALL) --editable '.[all,dev,bench]'
	$(BIN)/python benchmarks/cost.py
	$(BIN)/python -W ignore benchmarks/model.py

docs: $(VENV)/.dev-ready  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

format: $(VENV)/.dev-ready  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch comes first and pinned: anything else would take the newest build with several GB of CUDA libraries.
$(VENV)/.run-ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) --editable '.[all]'
	@$(BIN)/python -c 'import cv2' 2> /dev/null || { \
	  echo 'OpenCV needs libraries of a desktop that are not here: taking its headless build'; \
	  $(BIN)/python -m pip uninstall --quiet --yes opencv-python && $(INSTALL) opencv-python-headless; }
	touch $@

$(VENV)/.dev-ready: $(VENV)/.run-ready
	$(INSTALL) --editable '.[all,dev]'
	touch $@

$(VENV)-bare/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-bare
	$(VENV)-bare/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable . pytest hypothesis
	touch $@

clean:          ## Remove what the targets made
	rm -rf $(VENV) $(VENV)-bare dist site exported runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
