# `make` alone lists the targets. CI runs `make check test` and `make test-wheel`.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
PYTEST  = $(BIN)/python -m pytest
MINIO_VERSION = v0.0.0-20260212201848-7aac2a2c5b7c
CACHE   = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/grandpa-kfp-dev
REGISTRY_VERSION = v3.0.0
BASE_IMAGE ?= python:3.12-slim
IMAGE   ?= grandpa-kfp-runtime:dev
PYTHONS ?= 3.10 3.11 3.12 3.13

.DEFAULT_GOAL := help
.PHONY: help image test-docker registry install run test test-local test-quick test-wheel test-all-pythons check format bench bench-quick minio clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --group test --group check --editable '.[graph]'
	@touch $@

install: $(VENV)/.installed ## create the environment in .venv and install everything into it

run: install ## run the digits sample here, compile it, run the compiled YAML
	@mkdir -p build
	@echo '== 1. grandpa run samples/digits/pipeline.py'
	@$(BIN)/grandpa run samples/digits/pipeline.py
	@echo '== 2. grandpa compile samples/digits/pipeline.py -o build/digits.yaml'
	@$(BIN)/grandpa compile samples/digits/pipeline.py -o build/digits.yaml
	@echo '== 3. grandpa run build/digits.yaml'
	@$(BIN)/grandpa run build/digits.yaml
	@echo '== Results: build/digits.yaml is ready to upload; values and records of both runs are in .grandpa/'

test: install minio ## every test but those in containers: first what needs no server, then what does
	$(PYTEST) -m 'not docker'

test-local: install ## the tests that need no server
	$(PYTEST) -m 'not server'

test-quick: install ## neither servers nor slow ones
	$(PYTEST) -m 'not server and not slow'

test-docker: install minio registry ## the tests in containers; starts Docker where that can be done, and stops it again
	$(BIN)/python tests/docker_machine.py $(PYTEST) -m docker tests/docker

test-wheel: install ## the tests on a wheel in a clean environment: an editable install hides missing files
	@rm -rf build/wheel build/wheel-env
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	@$(PYTHON) -m venv build/wheel-env
	@build/wheel-env/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@build/wheel-env/bin/python -m pip install --quiet --group test "$$(ls build/wheel/*.whl)[graph]"
	cd build && wheel-env/bin/python -P -m pytest -c ../pyproject.toml --rootdir .. ../tests --ignore ../tests/withstand --ignore ../tests/conformance -m 'not server and not slow'

test-all-pythons: ## the tests on every Python of $(PYTHONS) that is installed
	@for version in $(PYTHONS); do \
	  python=$$(command -v python$$version || ls $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python 2>/dev/null | tail -n 1); \
	  if [ -z "$$python" ]; then echo "== Python $$version is not installed: skipped"; continue; fi; \
	  echo "== Python $$version"; \
	  $(MAKE) --no-print-directory test-local VENV=.venv-$$version PYTHON=$$python || exit 1; \
	done

check: install ## format, lint, types, import rule
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@for sample in samples/*/pipeline.py; do $(BIN)/mypy --no-error-summary $$sample || exit 1; done
	$(BIN)/pyright --pythonpath $(BIN)/python samples
	$(BIN)/lint-imports

format: install ## format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# docker builds by buildx unless told otherwise; plain instructions need no more than Docker itself
image: export DOCKER_BUILDKIT ?= $(shell docker buildx version >/dev/null 2>&1 && echo 1 || echo 0)
image: ## the runtime image $(IMAGE), on BASE_IMAGE=python:3.12-slim or another
	docker build $(BUILD_OPTIONS) --build-arg BASE_IMAGE=$(BASE_IMAGE) --tag $(IMAGE) .

$(VENV)/.peers: pyproject.toml $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --group bench
	@touch $@

bench: $(VENV)/.peers minio ## every benchmark beside its peers, results to benchmarks/results
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/compile.py
	$(BIN)/python benchmarks/sizes.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/readme.py

bench-quick: $(VENV)/.peers minio ## the same in under a minute, slow peers left out; leaves the results as they are
	$(BIN)/python benchmarks/engine.py --quick
	$(BIN)/python benchmarks/compile.py --quick
	$(BIN)/python benchmarks/sizes.py --quick
	$(BIN)/python benchmarks/store.py --quick

minio: ## a real MinIO server for the tests, built once into the user's cache
	@if [ -x $(CACHE)/bin/minio ] || [ -n "$$GRANDPA_MINIO_BIN" ]; then :; \
	elif command -v go >/dev/null; then \
	  echo 'building MinIO once (some minutes)'; \
	  GOBIN=$(CACHE)/bin go install github.com/minio/minio@$(MINIO_VERSION); \
	else echo 'no MinIO and no Go to build it with: the tests that need it will be skipped'; fi

registry: ## a real image registry for the tests, built once into the user's cache
	@if [ -x $(CACHE)/bin/registry ]; then :; \
	elif command -v go >/dev/null; then \
	  echo 'building the registry once (a minute or two)'; \
	  GOBIN=$(CACHE)/bin go install github.com/distribution/distribution/v3/cmd/registry@$(REGISTRY_VERSION); \
	else echo 'no registry and no Go to build it with: the tests that need it will be skipped'; fi

clean: ## remove what the targets made, the environment too
	rm -rf build .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
