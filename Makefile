# Every target sets up .venv first when it has to; `make help` lists them.

BIN := .venv/bin
STAMP := .venv/.metarl-stamp
WARP_BIN := .venv-warp/bin
WARP_STAMP := .venv-warp/.metarl-stamp
PYTHON ?= python3
PACKAGES := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
PYTEST_ARGS ?= -n 2 --dist loadfile
BENCHMARKS := speed.sampling speed.meta_iteration speed.outer_update speed.memory parity.metaworld speed.locomotion speed.families

.DEFAULT_GOAL := help
.PHONY: setup setup-warp train test test-slow test-browser test-warp test-warp-slow
.PHONY: lint types bench bench-gpu build clean help

setup: $(STAMP) ## make .venv and install metarl with its tools into it
	@:

setup-warp: $(WARP_STAMP) ## make .venv-warp, whose newer MuJoCo steps worlds on a GPU
	@:

train: $(STAMP) ## meta-train MAML-TRPO on reach-v3; pass options as ARGS="--seed 1"
	@$(BIN)/metarl train ml1 $(if $(findstring --name,$(ARGS)),,--name ml1-$$(date +%Y%m%d-%H%M%S)) $(ARGS)

test: $(STAMP) ## run the tests, except the slow ones
	@$(BIN)/pytest $(PYTEST_ARGS) $(ARGS)

test-slow: $(STAMP) ## run the slow tests
	@$(BIN)/pytest -m slow $(ARGS)

test-browser: $(STAMP) ## look at a report in headless Chromium (apt install chromium)
	@$(BIN)/pytest -m browser -rs $(ARGS)

test-warp: $(WARP_STAMP) ## run the tests of the GPU's physics, on the CPU where there is no GPU
	@$(WARP_BIN)/python -m pytest -m "warp and not slow" tests/envs/warp $(ARGS)

test-warp-slow: $(WARP_STAMP) ## let Meta-World's scripted policies act under both physics
	@$(WARP_BIN)/python -m pytest -m "warp and slow" tests/envs/warp $(ARGS)

lint: $(STAMP) ## check style and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(STAMP) ## check types
	@$(BIN)/mypy

bench: $(STAMP) ## run every benchmark, one after another
	@set -e; for program in $(BENCHMARKS); do echo "== $$program"; $(BIN)/python -m "benchmarks.$$program"; done

bench-gpu: $(WARP_STAMP) ## measure the GPU's physics and training on a CUDA machine
	@$(WARP_BIN)/python -m benchmarks.speed.gpu $(ARGS)

build: $(STAMP) ## build wheel and sdist into dist/
	@rm -rf build dist
	@$(BIN)/python -m build --quiet
	@rm -rf build
	@ls dist/*

clean: ## remove what was built and cached; runs/ and .venv stay
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find metarl envs agents scripts benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# Also where python3 is too old or too new but a fitting one is installed beside it.
$(STAMP): pyproject.toml constraints.txt
	@for candidate in $(PYTHON) python3.13 python3.12 python3.11; do \
	    if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	        python=$$candidate; break; \
	    fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "metarl needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	        "install one of them, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	$(BIN)/python -c '' 2>/dev/null || { \
	    echo "Making .venv with $$($$python --version)"; $$python -m venv --clear .venv; }
	@echo "Installing metarl and what it needs into .venv (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 -x 'site-packages/.*/tests/' "$$($(BIN)/python $(PACKAGES))" || true # pip would on one core
	@touch $@

# All of .venv but MuJoCo: Meta-World pins another, so nothing here may resolve dependencies.
$(WARP_STAMP): pyproject.toml requirements-warp.txt | $(STAMP)
	@$(BIN)/python -m venv --clear --without-pip .venv-warp
	@echo "import site; site.addsitedir('$$($(BIN)/python $(PACKAGES))')" >"$$($(WARP_BIN)/python $(PACKAGES))/venv.pth"
	@echo "Installing the GPU's physics into .venv-warp"
	@$(WARP_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-warp.txt || { \
	    echo "The GPU's physics could not be installed into .venv-warp: pip's words above say which package of" \
	        "requirements-warp.txt it did not get; without a network give it a folder of wheels, PIP_FIND_LINKS." >&2; \
	    exit 1; }
	@$(WARP_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
