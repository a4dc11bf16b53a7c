# lungnode: `make help` lists the targets. Every target installs what it needs into .venv and can be called first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help assets words types install install-dev demo serve test coverage endurance check format docs bench lock sbom audit clean

# The interpreter, a name or a path, in an environment of its own (PYTHON=python3.13: .venv-python3.13); without it the
# first of python3, python3.11, python3.12 and python3.13 that fits makes .venv.
PYTHON ?=
VENV ?= .venv$(if $(PYTHON),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PY := $(BIN)/python
ARGS ?=
# Parallel test workers: auto takes three for two processors; 0 runs the tests in one process.
WORKERS ?= auto
PYTEST := pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 20
# The pages' modules, bundled by Vite; Node comes from PyPI where the machine has none.
BUNDLE := webapp/static/built/viewer.js
ASSETS := $(patsubst frontend/src/pages/%.ts,webapp/static/built/%.js,$(wildcard frontend/src/pages/*.ts))
FRONTEND := $(shell find frontend \( -name node_modules -o -name __pycache__ -o -path frontend/tests \) -prune -o -type f -print)
# Another index for torch and torchvision alone, for instance PyTorch's CPU wheels (README, "Install").
TORCH_INDEX ?=
# The versions that are installed; pyproject.toml has the ranges that they are chosen from (make lock).
CONSTRAINTS ?= constraints.txt
# Other advisory services than the public ones (make audit).
PIP_AUDIT_ARGS ?=
NPM_AUDIT_ARGS ?=
PIP := PYTHONWARNINGS=ignore $(PY) -m pip --disable-pip-version-check --quiet

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(PY):
	@python=$$(for name in $(or $(PYTHON),python3 python3.11 python3.12 python3.13); do \
	  "$$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	    && { echo $$name; break; }; done); \
	if [ -z "$$python" ]; then \
	  echo "make: $(PYTHON:%=% does not fit: )needs Python 3.11, 3.12 or 3.13 with venv (Debian: apt install python3 python3-venv)" >&2; \
	  exit 1; fi; \
	echo "creating $(VENV) with $$("$$python" --version)"; "$$python" -m venv $(VENV)

$(VENV)/.torch: $(PY)
	@if [ -n "$(TORCH_INDEX)" ]; then \
	  echo "installing torch from $(TORCH_INDEX)"; \
	  $(PIP) install --index-url "$(TORCH_INDEX)" $$(grep -E '^torch(vision)?==' $(CONSTRAINTS)); fi
	@touch $@

$(BUNDLE): $(FRONTEND) | $(PY)
	@echo "bundling the pages' modules"
	@needs=$$($(PY) frontend/assets.py --needs); [ -z "$$needs" ] || $(PIP) install $$needs
	@$(PY) frontend/assets.py

# The same build makes them all.
$(filter-out $(BUNDLE),$(ASSETS)): | $(BUNDLE)
	@test -e $@ || $(PY) frontend/assets.py

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) $(VENV)/.torch | $(ASSETS)
	@echo "installing lungnode and what it needs into $(VENV) (some minutes the first time)"
	@$(PIP) install -c $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(CONSTRAINTS) $(VENV)/.torch | $(ASSETS)
	@echo "installing lungnode and what its tests need into $(VENV) (some minutes the first time)"
	@$(PIP) install -c $(CONSTRAINTS) -e ".[dev]"
	@touch $(VENV)/.installed $@

assets: $(ASSETS) ## Bundle the pages' modules (the other targets do it too)

words: $(VENV)/.installed ## Collect the pages' texts and compile their translations
	@$(PY) frontend/words.py

types: $(VENV)/.installed ## Write the TypeScript types of the API from its OpenAPI document
	@$(PY) frontend/api_types.py

install: $(VENV)/.installed ## Install the service into .venv

install-dev: $(VENV)/.installed-dev ## Install also what tests and checks need

demo: $(VENV)/.installed ## Rehearse the whole flow with a generated chest CT (ARGS="--exit" ends by itself)
	@$(BIN)/lungnode demo $(ARGS)

serve: $(VENV)/.installed ## Run the service with the settings of the environment
	@$(BIN)/lungnode serve $(ARGS)

test: $(VENV)/.installed-dev ## Run the tests, but for those of make endurance (ARGS="-k intake" for some of them)
	@$(PY) -m $(PYTEST) --junit-xml build/tests/test.xml --ignore tests/endurance $(ARGS)

coverage: $(VENV)/.installed-dev ## Measure the lines and branches that make test runs (HTML=1: pages in build/coverage/html)
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(BIN)/coverage run -m $(PYTEST) --junit-xml build/tests/test.xml --ignore tests/endurance $(ARGS) || failed=1; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage json --quiet && $(BIN)/coverage report \
	  && $(PY) .ci/coverage_table.py build/coverage/report.json $(if $(HTML),&& $(BIN)/coverage html --quiet) \
	  && exit $${failed:-0}

endurance: $(VENV)/.installed-dev ## Kill, starve and attack the service, and run what measures it (many minutes)
	@$(PY) -m $(PYTEST) --junit-xml build/tests/endurance.xml tests/endurance $(ARGS)

check: $(VENV)/.installed-dev ## Format, lint, types, layers, house rules and documentation
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(PY) frontend/assets.py --check
	@$(PY) -m pytest -q -m "not slow" tests/house

format: $(VENV)/.installed-dev ## Format and fix what can be fixed by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(PY) frontend/assets.py --format

docs: $(VENV)/.installed ## Rewrite what documentation takes from code
	@$(PY) -m lungnode.settings.table docs/settings.md

bench: $(VENV)/.installed-dev ## Measure reception, preprocessing, inference and the worklist on this machine
	@for name in receive preprocess inference analysis worklist service predict; do $(PY) -m benchmarks.$$name || exit 1; done

lock: $(VENV)/.installed-dev ## Choose the newest allowed versions anew: constraints.txt, frontend/package-lock.json
	@$(BIN)/uv pip compile --quiet --universal --upgrade --all-extras --python-version 3.11 --no-header --no-annotate \
	  -o $(CONSTRAINTS) pyproject.toml
	@$(PY) frontend/assets.py --npm update --package-lock-only --silent

sbom: $(VENV)/.installed-dev ## Write what ships as CycloneDX: dist/sbom-python.json, dist/sbom-frontend.json
	@mkdir -p dist
	@$(PY) docker/sbom.py dist/sbom-python.json
	@$(PY) frontend/assets.py --npm sbom --package-lock-only --omit dev --sbom-format cyclonedx > dist/sbom-frontend.json

audit: $(VENV)/.installed-dev ## Look all versions up in the advisory databases (needs network)
	@$(BIN)/pip-audit --progress-spinner off --disable-pip --no-deps -r $(CONSTRAINTS) $(PIP_AUDIT_ARGS)
	@$(PY) frontend/assets.py --npm audit --package-lock-only $(NPM_AUDIT_ARGS)

clean: ## Remove .venv, caches and built files (never LUNGNODE_HOME)
	rm -rf $(VENV) build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf webapp/static/built frontend/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
