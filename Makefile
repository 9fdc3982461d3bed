# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0

# Every target builds the environment in $(VENV) if it is missing; `make VENV=elsewhere test` uses another one.
VENV ?= .venv
OLDEST_VENV ?= .venv-oldest
LATEST_VENV ?= .venv-latest
PYTHON ?= python3
BIN := $(VENV)/bin
# what there is of it: what training needs, what tests need too, what benchmarks need too
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
BENCHMARK_READY := $(VENV)/.ready-benchmark

# make quickstart TASK=classification DATA=path/to/pictures MODEL=gpvit-nano ARGS="--num_train_epochs 5"
QUICKSTART := $(if $(TASK),--task $(TASK)) $(if $(DATA),--data "$(DATA)") $(if $(MODEL),--model "$(MODEL)") $(ARGS)

# The versions that an environment is built from; none: the newest that setup.py allows, in a VENV of its own.
CONSTRAINTS ?= constraints.txt
UPGRADE ?=
PIP_INSTALL := $(BIN)/python -m pip install $(UPGRADE) $(addprefix --constraint ,$(CONSTRAINTS))
# builds the package itself with locked tools too
PIP_EDITABLE := $(PIP_INSTALL) $(addprefix --build-constraint ,$(CONSTRAINTS)) --editable

# `make lock` takes the newest of all else: these install on every platform.
LOCKED := torch==2.14.1 torchvision==0.29.1

.PHONY: help quickstart test test-all test-oldest test-latest lock conformance benchmark scaling ablations \
	small-ablations long-run lint format

help:
	@echo "make quickstart   trains a small model in five minutes and draws what it sees; TASK=classification,"
	@echo "                  segmentation, detection or instance-segmentation, DATA=folder of pictures, MODEL=preset or"
	@echo "                  folder, ARGS=\"further arguments\""
	@echo "make test         the default tests, under ten minutes on two cores"
	@echo "make test-all     the slow ones too"
	@echo "make test-oldest  the default tests and make conformance with the oldest versions that setup.py allows, in"
	@echo "                  an environment of its own, OLDEST_VENV=$(OLDEST_VENV)"
	@echo "make test-latest  the same with the newest versions, in LATEST_VENV=$(LATEST_VENV)"
	@echo "make lock         renews constraints.txt, the versions that all other environments are built from"
	@echo "make conformance  transformers' own model tests on our classes (fetches its source distribution)"
	@echo "make benchmark    speed and memory next to timm's and transformers' models, in minutes; ARGS=\"--suite"
	@echo "                  classification --dtypes bfloat16\", or ARGS=--help for what there is"
	@echo "make scaling      multiply-adds, time and memory against the size of the image; ARGS as above"
	@echo "make ablations    the papers' tables and Figure 5 beside ours; ARGS=\"--counts_only\" in minutes, ARGS=\"--tables"
	@echo "                  gpvit-7 hrvit-5\", or ARGS=\"--figures 6 --model folder --image picture\""
	@echo "make long-run     memory over half an hour of inference and of training; ARGS=\"--minutes 120\""
	@echo "make small-ablations  rows of the papers' tables trained at nano size, in about an hour; ARGS=--list says what"
	@echo "                  it does, ARGS=\"--keys gpvit-nano-lepe-none gpvit-nano-lepe-gp --seeds 0 1\" does a part"
	@echo "make lint         check style"
	@echo "make format       fix style"

$(READY): setup.py $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --upgrade pip
	$(PIP_EDITABLE) ".[train]"
	touch $(READY)

$(DEV_READY): $(READY)
	$(PIP_EDITABLE) ".[dev]"
	touch $(DEV_READY)

$(BENCHMARK_READY): $(DEV_READY)
	$(PIP_EDITABLE) ".[benchmark]"
	touch $(BENCHMARK_READY)

quickstart: $(READY)
	$(BIN)/python scripts/quickstart.py $(QUICKSTART)

test: $(DEV_READY)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-all: $(DEV_READY)
	$(BIN)/python -m pytest -m "not conformance"

test-oldest:
	$(MAKE) test conformance VENV="$(OLDEST_VENV)" CONSTRAINTS=tests/oldest.txt

test-latest:
	rm -f "$(LATEST_VENV)/.ready" "$(LATEST_VENV)/.ready-dev"
	$(MAKE) test conformance VENV="$(LATEST_VENV)" CONSTRAINTS= UPGRADE="--upgrade --upgrade-strategy eager"

lock:
	environment="$$(mktemp -d)" && trap 'rm -rf "$$environment"' EXIT && $(PYTHON) -m venv "$$environment" && \
	"$$environment/bin/python" -m pip install --quiet uv && \
	printf '%s\n' pip setuptools $(LOCKED) | "$$environment/bin/uv" pip compile --quiet --universal --upgrade \
		--python-version 3.11 --all-extras --no-header --no-annotate setup.py - >"$$environment/versions" && \
	{ sed '/^$$/q' constraints.txt && cat "$$environment/versions"; } >constraints.txt.partial && \
	mv constraints.txt.partial constraints.txt

conformance: $(DEV_READY)
	$(BIN)/python tests/conformance/run.py

benchmark: $(BENCHMARK_READY)
	$(BIN)/python benchmarks/speed.py $(ARGS)

scaling: $(BENCHMARK_READY)
	$(BIN)/python benchmarks/scaling.py $(ARGS)

ablations: $(BENCHMARK_READY)
	$(BIN)/python benchmarks/ablations.py $(ARGS)

long-run: $(BENCHMARK_READY)
	$(BIN)/python benchmarks/long_run.py $(ARGS)

small-ablations: $(BENCHMARK_READY)
	$(BIN)/python benchmarks/small_ablations.py $(ARGS)

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
