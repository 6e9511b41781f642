# The state of the sample apps, and everything else `make` leaves behind, stays in this tree.
MANIFESTS ?= manifests
STATE ?= .state
BIN := .venv/bin
# For each target of `make fuzz`, and for `make soak`; SOAK is what else to tell that, such as --seed 4711 --write.
SECONDS ?= 60
MINUTES ?= 60
SOAK ?=
# Tests wait for processes more than they compute: more at once than there are cores.
TESTS_AT_ONCE ?= $(shell expr 3 \* $$(nproc))
INPUTS := pyproject.toml scripts/setup requirements.lock

TOGETHER := $(MAKE) --no-print-directory --jobs --output-sync=target
# Every process that the tests start would compile the packages again, where this keeps their bytecode from being kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run stop test test-cluster tests lint style types compiled mutants bench fuzz soak lock release clean

help:
	@echo "make run     start the daemon on $(MANIFESTS)/; Ctrl-C ends it and leaves the apps serving"
	@echo "make stop    end the daemon and every app it started"
	@echo "make test    lint, types, import rules and all tests"
	@echo "make lint    the same without the tests"
	@echo "make test-cluster  apps in a real Kubernetes, which it builds and starts; RECONCILER_TEST_CLUSTER=KUBECONFIG for any"
	@echo "make mutants put deliberate mistakes into deciding and retrying, and see the tests catch each"
	@echo "make fuzz    try what reads strangers' files with invented ones, each for SECONDS=60"
	@echo "make soak    50 apps under random edits, crashes and deploys for MINUTES=60; then: what failed, what leaked"
	@echo "make bench   measure it beside its peers (CASES=\"drop idle\" for some), and write docs/evidence/performance.md"
	@echo "make lock    resolve the locked packages again"
	@echo "make release build what is released into dist/, from a tagged commit that passes make test"
	@echo "make clean   make stop, and remove everything make has made"

run: .venv/ready-run
	@scripts/samples $(MANIFESTS)
	@exec $(BIN)/reconciler run --page --localhost --manifests $(MANIFESTS) --state $(STATE)

stop: .venv/ready-run
	@exec $(BIN)/reconciler down --state $(STATE)

test: .venv/ready-dev
	@$(TOGETHER) style compiled
	@$(MAKE) --no-print-directory --jobs types tests

# Beside the types, which take less than one core and are found wrong long before the tests have ended.
tests:
	@$(BIN)/python -m pytest -q -n $(TESTS_AT_ONCE) --dist loadfile

# One after another: each test has the nodes for itself.
test-cluster: export RECONCILER_TEST_CLUSTER ?= engine
test-cluster: .venv/ready-dev
	@[ "$$RECONCILER_TEST_CLUSTER" != engine ] || scripts/engine
	@$(BIN)/python -m pytest -q -rP -o faulthandler_timeout=0 tests/cluster $(CLUSTER_TESTS)

lint: .venv/ready-dev
	@$(TOGETHER) style types

style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types:
	$(BIN)/mypy --strict

# pytest rewrites each file of tests once, and not once for each of its workers.
compiled:
	@said=$$($(BIN)/python -m pytest --collect-only -qq 2>&1) || { echo "$$said"; exit 1; }

mutants: .venv/ready-dev
	$(BIN)/python -m tests.tools.mutants

bench: .venv/ready-bench
	@$(BIN)/python -m benchmarks $(CASES); measured=$$?; $(BIN)/python -m benchmarks report && exit $$measured

# atheris is no part of `dev`: not every Python that runs the tests has it.
fuzz: .venv/ready-fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

soak: .venv/ready-dev
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(SOAK)

LOCK := env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --upgrade --no-emit-index-url --no-header --no-annotate --extra services --extra secrets --extra proxy pyproject.toml

FUZZ_LOCK := env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --upgrade --no-emit-index-url --no-header --no-annotate --group pyproject.toml:fuzz

lock: .venv/ready-dev
	$(LOCK) -o requirements.lock
	$(LOCK) --group dev -c requirements.lock -o requirements-dev.lock
	$(LOCK) --group bench -c requirements-dev.lock -o requirements-bench.lock
	$(FUZZ_LOCK) -o requirements-fuzz.lock

release: .venv/ready-dev
	@scripts/release

clean:
	@if [ -d "$(STATE)" ] && [ -x $(BIN)/python ]; then $(MAKE) --no-print-directory stop; fi
	rm -rf .venv .bench $(STATE) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .fuzz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@[ ! -L manifests/dice.yaml ] || rm manifests/dice.yaml

.venv/ready-run: $(INPUTS)
	@scripts/setup run

.venv/ready-dev: $(INPUTS) requirements-dev.lock
	@scripts/setup dev

.venv/ready-fuzz: .venv/ready-dev requirements-fuzz.lock
	@VIRTUAL_ENV="$$PWD/.venv" $(BIN)/uv pip install --quiet --require-hashes -r requirements-fuzz.lock
	@touch $@

.venv/ready-bench: $(INPUTS) requirements-bench.lock
	@scripts/setup bench
