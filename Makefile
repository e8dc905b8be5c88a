# make serve   runs the daemon on 127.0.0.1:12345 with its journal in ./log
# make test    runs the tests that need nothing but Python and pip
# make help    lists the rest
#
# Everything goes into the active virtual environment, or into .venv where none is active.

PYTHON ?= python3
VENV := $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Arguments for the daemon, for instance: make serve ARGS="--port=22122 --reliable=sync"
ARGS ?=
# Arguments for pytest, for instance: make test PYTEST_ARGS="-k options"
PYTEST_ARGS ?=

.PHONY: help serve test test-all test-compiled lint man bench bench-celery bench-backlog crash fuzz bench-abuse deb test-deb container clean

help:
	@echo "make serve      install and run the daemon on 127.0.0.1:12345, journal in ./log (ARGS=... for its options);"
	@echo "                compiled where there is a C compiler, unless REDQUEUE_COMPILE=0"
	@echo "make test       install and run the tests (PYTEST_ARGS=... for pytest)"
	@echo "make test-all   the same and those that need Debian packages (clients in other languages, peers)"
	@echo "make test-compiled  those of engine, protocol, journal and server against a compiled build"
	@echo "make lint       ruff and mypy"
	@echo "make man        write the manual pages redqueue(1) and redqueue_server(8) to build/man"
	@echo "make crash      kill -9 under load against a ledger (ROUNDS=200 SEED=1 RELIABLE=both), power failures on a made-up disk (LIVES=40)"
	@echo "make fuzz       random conversations with the protocol layer (MINUTES=60 SEED=1)"
	@echo "make bench      compare speed with memcached, beanstalkd and redis, those that are installed"
	@echo "make bench-celery  compare Celery on RedQueue, redis-server and rabbitmq-server, those that are installed"
	@echo "make bench-backlog  measure what a long backlog costs: memory, speed, disk, recovery, pauses"
	@echo "make bench-abuse  measure what clients that behave badly do to the answers that others get"
	@echo "make deb        build the Debian package into dist/ (apt install build-essential debhelper python3-dev python3-pip)"
	@echo "make test-deb   build it, and run its server out of a directory into which it is unpacked"
	@echo "make container  build the container image redqueue, with podman or docker"
	@echo "make clean      remove .venv and what the tools leave behind, but no journal"

# Debian has venv without ensurepip where python3-venv is not installed: then the pip of $(PYTHON) serves.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "RedQueue needs Python 3.10 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		$(PYTHON) -m venv $(VENV); \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --without-pip $(VENV) && \
		$(PYTHON) -m pip --quiet --disable-pip-version-check --python $(VENV)/bin/python install pip; \
	else false; fi || \
		{ rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.redqueue: $(BIN)/python pyproject.toml setup.py
	$(PIP) install --editable .
	@touch $@

$(VENV)/.redqueue-test: $(VENV)/.redqueue
	$(PIP) install --editable '.[test,lint]'
	@touch $@

serve: $(VENV)/.redqueue
	exec $(BIN)/python build_backend/compiled_copy.py serve $(ARGS)

test: $(VENV)/.redqueue-test
	$(BIN)/python -m pytest -n 2 -m "not extra" $(PYTEST_ARGS)

test-all: $(VENV)/.redqueue-test
	tests/install-extra.sh $(BIN)/python
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

test-compiled: $(VENV)/.redqueue-test
	REDQUEUE_COMPILE=1 $(BIN)/python build_backend/compiled_copy.py run pytest -n 2 -m "not extra and not plain" $(PYTEST_ARGS) \
		tests/engine tests/protocol tests/journal tests/server tests/clients

lint: $(VENV)/.redqueue-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

man: $(VENV)/.redqueue
	$(BIN)/python build_backend/man_pages.py build/man

ROUNDS ?= 200
SEED ?= 1
RELIABLE ?= both
LIVES ?= 40
crash: $(VENV)/.redqueue-test
	$(BIN)/python -m tests.crash --rounds $(ROUNDS) --seed $(SEED) --reliable $(RELIABLE) --lives $(LIVES)

MINUTES ?= 60
fuzz: $(VENV)/.redqueue-test
	$(BIN)/python -m tests.fuzz_protocol --minutes $(MINUTES) --seed $(SEED)

bench: $(VENV)/.redqueue
	$(BIN)/python build_backend/compiled_copy.py run benchmarks.compare

bench-celery: $(VENV)/.redqueue-test
	$(PIP) install redis
	$(BIN)/python build_backend/compiled_copy.py run benchmarks.celery

bench-backlog: $(VENV)/.redqueue
	$(BIN)/python -m benchmarks.backlog

bench-abuse: $(VENV)/.redqueue
	$(BIN)/python -m benchmarks.abuse

deb:
	contrib/debian/build.sh dist

test-deb: $(VENV)/.redqueue-test
	$(BIN)/python -m pytest tests/packages/deb.py $(PYTEST_ARGS)

CONTAINER ?= $(firstword $(foreach engine,podman docker,$(if $(shell command -v $(engine)),$(engine))))
container:
	@test -n "$(CONTAINER)" || { echo "there is neither podman nor docker here: apt install podman" >&2; exit 1; }
	$(CONTAINER) build --tag redqueue --file contrib/container/Containerfile .

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .schemathesis .mypy_cache .pytest_cache .ruff_cache
