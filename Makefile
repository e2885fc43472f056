# make demo    the whole product in one process on http://127.0.0.1:8000 (PORT= changes it), with nothing installed first
# make services  web pages, a node and a worker on RabbitMQ, PostgreSQL and Redis that you have (README, "Services")
# make test    everything a change must pass: lint, types, layers, tests (installs what is missing)
# make lint    only the first three
# make bench   our batch against bare Celery groups and a hand-written chord, on real RabbitMQ and PostgreSQL
# make chaos   batches on private servers while processes, connections and servers fail; then every row is checked
#              (SECONDS=60, SEED= a random one; README, "Tests")
# make soak    the same for longer (SECONDS=3600), one fault each ten seconds, and nothing may grow meanwhile
# make screenshots   pictures of all pages in var/screenshots (FOLDER= changes it), and those that the README shows

PYTHON ?= python3
# The first counts what is left behind, so nothing of other tests may be there; the second asserts that an update is on
# the screen within a second.
ALONE := tests/integration/test_many_batches.py tests/browser/test_speed.py
BIN := .venv/bin
STAMP := .venv/.installed
DEMO_STAMP := .venv/.installed-for-the-demo
SERVICES_STAMP := .venv/.installed-for-services
PORT ?= 8000
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, each of the hundreds of processes that the tests start would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo services test lint bench chaos soak screenshots venv packages

# First of all targets, so what make alone does. exec: a signal to make reaches the process that has to hear it.
demo: $(DEMO_STAMP)
	@PORT=$(PORT) exec $(BIN)/python manage.py demo

services: export PATH := $(CURDIR)/$(BIN):$(PATH)
services: export PORT := $(PORT)
services: export ORCHESTRATOR_HOME := $(or $(ORCHESTRATOR_HOME),$(CURDIR)/var)
services: $(SERVICES_STAMP)
	@test -n "$$AMQP_URL" && test -n "$$DATABASE_URL" && test -n "$$REDIS_URL" \
	    || { echo 'Set AMQP_URL, DATABASE_URL, REDIS_URL and what else README ("Services") names.' >&2; exit 1; }
	@mkdir -p "$$ORCHESTRATOR_HOME"
	@python manage.py migrate_all --verbosity 0
	@exec supervisord -c deploy/supervisord.conf

test: packages lint
	$(BIN)/python -m pytest --session-timeout=300 $(ALONE)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --session-timeout=1800 $(ALONE:%=--ignore=%) $(PYTEST_ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: packages venv
	$(BIN)/python -m bench $(BENCH_ARGS)

chaos: packages venv
	@$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),60) $(SEED:%=--seed %)

soak: packages venv
	@$(BIN)/python -m tests.chaos --soak --seconds $(or $(SECONDS),3600) $(SEED:%=--seed %)

screenshots: packages venv
	$(BIN)/python -m tests.browser.screenshots $(FOLDER)

venv: $(STAMP)

# Again only when a requirements file has changed: the stamp holds their contents.
$(DEMO_STAMP): requirements.txt requirements-embedded.txt | $(BIN)/python
	@if ! cat $^ | cmp -s - $@; then \
	    echo "Installing packages into .venv (a minute or so, the first time) …"; \
	    $(BIN)/python -m pip install -q -r requirements-embedded.txt && cat $^ > $@; else touch $@; fi

$(SERVICES_STAMP): requirements.txt requirements-services.txt | $(BIN)/python
	@if ! cat $^ | cmp -s - $@; then $(BIN)/python -m pip install -q -r requirements-services.txt && cat $^ > $@; else touch $@; fi

# A virtual environment that could not be made to its end is taken away again, or the next run would believe in it.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed; say which one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making a virtual environment in .venv …"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

$(STAMP): requirements.txt requirements-embedded.txt requirements-services.txt requirements-dev.txt | $(BIN)/python
	@if ! cat $^ | cmp -s - $@; then $(BIN)/python -m pip install -q -r requirements-dev.txt && cat $^ > $@; else touch $@; fi

# RabbitMQ and Redis for the tests, which start their own private servers from these programs.
packages:
	@sh tests/services/packages.sh
