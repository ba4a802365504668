# `make` alone tells what there is. CI runs `make test` and nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
# Where Python is told to keep nothing compiled, each start of a program costs twice the CPU, and tests start hundreds.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
# Each stamp is touched when its step is done, so that a warm call starts nothing.
UV_READY := .venv/.uv-ready
RUN_READY := .venv/.run-ready
DEV_READY := .venv/.dev-ready

# The first that starts and is new enough: a version manager leaves names behind that cannot run.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$name; break; }; done)
# One more than there are cores, up to eight: the one that plays chaos waits most of its time.
TESTERS = $(shell n=$$(( $$(nproc 2>/dev/null || echo 2) + 1 )); echo $$(( n < 8 ? n : 8 )))
MIGRATIONS = $(wildcard src/budan/store/migrations/*.sql)
# Those of channels are DuckDB's.
QUERIES = $(filter-out src/budan/channels/%,$(sort $(dir $(wildcard src/budan/*/sql/*.sql))))
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

.PHONY: help demo test lint fix pytest invariants lock clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(RUN_READY) ## start the whole platform here and pay in it; ONCE=1 shows one round and ends
	@$(BIN)/budan demo $(if $(ONCE),--once)

test: $(DEV_READY) lint pytest ## everything that CI runs: lint, types, layers, SQL, then all tests

lint: $(DEV_READY) ## what needs no test run; Python and SQL beside each other
	@$(MAKE) --jobs=2 --output-sync=target lint-python lint-sql

.PHONY: lint-python
lint-python: $(DEV_READY)
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== types"
	@$(BIN)/basedpyright
	@echo "== import layers"
	@$(BIN)/lint-imports --no-logo

.PHONY: lint-sql
lint-sql: $(DEV_READY)
	@echo "== migrations and queries"
	@$(if $(MIGRATIONS),$(BIN)/squawk $(MIGRATIONS))
	@$(if $(QUERIES),$(BIN)/sqlfluff lint $(QUERIES))
	@$(BIN)/sqlfluff lint --config .sqlfluff-duckdb src/budan/channels/sql src/budan/store/bill_sql src/budan/proof/bill_sql

fix: $(DEV_READY) ## mend what ruff and sqlfluff can mend by themselves
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .
	@$(if $(QUERIES),$(BIN)/sqlfluff fix --quiet $(QUERIES) || true)
	@$(BIN)/sqlfluff fix --quiet --config .sqlfluff-duckdb src/budan/channels/sql src/budan/store/bill_sql src/budan/proof/bill_sql || true

pytest: $(DEV_READY) chromium ## the tests with branch coverage; ARGS="-k door" chooses
	@echo "== tests"
	@$(BIN)/pytest -n $(TESTERS) --dist loadscope $(if $(ARGS),$(ARGS),--cov --cov-report=term)

# The console's tests look at real pages. A missing browser stops the run: a skipped test would look like a passed one.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "== installing chromium"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
		echo "The tests need Chromium: sudo apt-get install chromium" >&2; exit 1; \
	fi

invariants: $(DEV_READY) ## write docs/invariants.md from the markers in the tests
	@PYTHONPATH=tests $(BIN)/python -m tidy.invariants

lock: $(UV_READY) ## write the lock files from the .in files; UPGRADE=1 takes new versions
	@$(COMPILE) requirements-bootstrap.in -o requirements-bootstrap.lock
	@$(COMPILE) requirements.in -o requirements.lock
	@$(COMPILE) requirements-dev.in -c requirements.lock -o requirements-dev.lock
	@git --no-pager diff --stat -- '*.lock'

clean: ## remove the environment and all caches; keeps what the demo stored
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV_READY): requirements-bootstrap.lock
	@[ -n "$(PYTHON)" ] || { echo "budan needs Python 3.11 or newer, and none was found: sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make an environment: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "== making .venv with $$($(PYTHON) --version)"
	@$(BIN)/python -c pass 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	@touch $@

# `install` and not `sync`: a demo after a test run must not take the test tools away.
$(RUN_READY): requirements.lock pyproject.toml | $(UV_READY)
	@echo "== installing what budan runs on (230 MB on disk, most of it PostgreSQL)"
	@$(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps -e .
	@touch $@

$(DEV_READY): requirements-dev.lock requirements.lock pyproject.toml | $(UV_READY)
	@echo "== installing what budan and its tests run on"
	@$(BIN)/uv pip sync --quiet --require-hashes requirements-dev.lock
	@$(BIN)/uv pip install --quiet --no-deps -e .
	@touch $(RUN_READY) $@
