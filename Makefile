# What people and CI call. `make help` lists it.
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
# Test peers (dockerd, docker-registry) are unpacked there, never installed.
TOOLS := $(CURDIR)/.cache/tools
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH):$(TOOLS)/usr/bin:$(TOOLS)/usr/sbin:/usr/sbin:/sbin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo "sudo -E env PATH=$$PATH")
export SKERRY_ROOT ?= /var/lib/skerry
export SKERRY_RUN ?= /run/skerry
# Layers are mounted from files by EROFS, which a tmpfs (what /tmp is on some hosts) does not allow.
export TMPDIR := /var/tmp
# Most tests wait for something most of the time: more of them at once than there are processors.
JOBS ?= 3
PYTEST := $(SUDO) $(PYTHON) -m pytest -p no:cacheprovider --durations=30 --durations-min=3

.PHONY: help install up down status test test-long test-guest check lint types imports protos check-protos lock bench conformance setup-test setup-check fmt clean

help: ## lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: ## installs what the engine needs (apt packages, .venv, a docker command)
	@deploy/setup.sh run

up: install ## starts the engine in the background and runs a first container (NETNS=name: inside that network namespace)
	@$(SUDO) NETNS=$(NETNS) deploy/up.sh

down: ## stops the engine; containers go on
	@$(SUDO) deploy/down.sh

status: ## shows the services
	@$(PYTHON) -m skerry.cli status

setup-test:
	@deploy/setup.sh test

test: setup-test ## runs all tests (units, contracts, real kernel, docker CLI, faults); under 20 minutes
	@failed=0; \
	$(PYTEST) -n $(JOBS) --dist loadfile -m "not long and not alone" tests || failed=1; \
	$(PYTEST) -m "alone and not long" tests || failed=1; \
	exit $$failed

test-long: setup-test ## runs the long forms too
	$(PYTEST) -m long --timeout 7200 tests

test-guest: setup-test ## boots Debian with cgroup v2 and systemd in an emulated machine and tries the engine there, reboot included; about eight minutes
	$(SUDO) $(PYTHON) -m tests.guest

conformance: setup-test ## runs the docker CLI cases on dockerd and on Skerry and prints one table (a case counts only when dockerd passes it)
	$(SUDO) $(PYTHON) -m tests.conformance.compare

bench: setup-test ## measures Skerry beside dockerd and prints ratios
	$(SUDO) $(PYTHON) -m tests.bench

setup-check:
	@deploy/setup.sh check

check: setup-check lint types imports check-protos ## static checks

lint:
	ruff check services tests
	ruff format --check services tests
	cd protos && buf lint

types:
	mypy

imports:
	PYTHONPATH=services lint-imports

protos: ## generates services/skerry/api
	PYTHON=$(PYTHON) protos/generate.sh

check-protos:
	@rm -rf .cache/protos && mkdir -p .cache/protos && PYTHON=$(PYTHON) protos/generate.sh .cache/protos >/dev/null 2>&1
	@diff -r -x __pycache__ services/skerry/api .cache/protos/skerry/api && echo "generated code is current"

lock: ## writes requirements.lock anew
	$(VENV)/bin/pip install -q uv
	$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --extra dev --no-header --no-emit-index-url --no-annotate pyproject.toml -o requirements.lock

fmt: ## formats the code
	ruff format services tests
	ruff check --fix services tests

clean: ## removes caches and .venv
	rm -rf .cache .venv dist .mypy_cache .ruff_cache .pytest_cache
