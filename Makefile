# Everything a contributor needs. Python >= 3.11 and make are enough: each target builds .venv when it is missing or out of date.
#   make run      start the hub with the example project           make bench   measure (QUICK=1 for a minute's worth)
#   make test     run the tests on all cores (ARGS="-k name")      make soak    the long runs: thousands of kills and programs, 30 years of cron, 100,000 messages
#   make lint     ruff, mypy --strict, repository rules            make clean   remove .venv and everything generated
# PYTHON=/path/to/python chooses the interpreter that .venv is built from.

VENV := .venv
BIN := $(VENV)/bin
PROJECT ?= config/examples/starter
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN || echo 1) + 1 )))  # processes of the test run; one waits while the others work

.PHONY: run test lint bench soak clean help
.DEFAULT_GOAL := help

help:
	@sed -n '2,6s/^# \{0,1\}//p' Makefile

run: $(VENV)/.installed
	@$(BIN)/hub dev $(PROJECT)

test: $(VENV)/.installed-dev
	@$(BIN)/python -m compileall -q -j 0 hub triggers connectors  # the tests start hubs by the hundred
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/repo

bench: $(VENV)/.installed-dev
	$(BIN)/python -m tests.bench $(ARGS)

soak: $(VENV)/.installed-dev
	$(BIN)/python -m tests.crash.soak $(ARGS)
	$(BIN)/python -m tests.programs
	$(BIN)/python -m tests.api.spec_fuzz
	$(BIN)/python -m tests.triggers.cron_oracle
	$(BIN)/python -m tests.crash.slot_soak
	$(BIN)/python -m tests.crash.flow_soak
	$(BIN)/python -m tests.crash.queue_soak
	$(BIN)/python -m tests.crash.cluster_soak

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml
	@.ci/venv $(VENV) .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml
	@.ci/venv $(VENV) '.[dev]'
	@touch $@ $(VENV)/.installed
