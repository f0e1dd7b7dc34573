# Thin over scripts/: each of these can be called by itself, and says more with --help.
.DEFAULT_GOAL := help
.PHONY: help demo test lint types imports unit contract migrations integration e2e siege faults \
        bench format migration build lock clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z0-9 ]+:.*## /{printf "  %-28s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo:  ## Start Airflow with webhooks here and post the first ones
	scripts/demo

test:  ## Run all checks and all test rooms
	scripts/test

lint types imports unit contract migrations integration e2e siege:  ## Run one check or room
	scripts/test $@

bench:  ## Measure beside what a user would pick instead; the goals alone: scripts/bench --quick
	scripts/bench

faults:  ## Play every fault, a line each: about 15 minutes (scripts/test faults: the main ones)
	scripts/faults

format:  ## Format the code, and repair what can be repaired by itself
	.test/venv/bin/ruff check --fix --quiet
	.test/venv/bin/ruff format

migration:  ## Write a migration for what changed in db/tables.py: make migration m="what changed"
	scripts/migration "$(m)"

build:  ## Build the wheel and the source distribution into dist/
	scripts/build

lock:  ## Pin requirements/*.in again; newest versions: scripts/lock --upgrade
	scripts/lock

clean:  ## Remove what the scripts made: environments, reports, the demonstration's data
	rm -rf .bench .demo .test build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
