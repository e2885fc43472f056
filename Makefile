# make test    everything a change must pass: lint, types, layers, tests (installs what is missing)
# make lint    only the first three
# make bench   our batch against bare Celery groups and a hand-written chord, on real RabbitMQ and PostgreSQL

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: test lint bench venv packages

test: packages lint
	$(BIN)/python -m pytest --session-timeout=1800 $(PYTEST_ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: packages venv
	$(BIN)/python -m bench $(BENCH_ARGS)

venv: $(STAMP)

# Again only when a requirements file has changed: the stamp holds their contents.
$(STAMP): requirements.txt requirements-embedded.txt requirements-dev.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if ! cat $^ | cmp -s - $@; then $(BIN)/python -m pip install -q -r requirements-dev.txt && cat $^ > $@; else touch $@; fi

# RabbitMQ and Redis for the tests, which start their own private servers from these programs.
packages:
	@sh tests/services/packages.sh
