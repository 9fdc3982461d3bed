# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

# Every target builds the environment in $(VENV) if it is missing; `make VENV=elsewhere test` uses another one.
VENV ?= .venv
OLDEST_VENV ?= .venv-oldest
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCHMARK_READY := $(VENV)/.benchmark-ready

# make quickstart TASK=classification DATA=path/to/pictures MODEL=gpvit-nano ARGS="--num_train_epochs 5"
QUICKSTART := $(if $(TASK),--task $(TASK)) $(if $(DATA),--data "$(DATA)") $(if $(MODEL),--model "$(MODEL)") $(ARGS)

# A file for pip --constraint, when the environment is built; none: the newest versions.
CONSTRAINTS ?=

.PHONY: help quickstart test test-all test-oldest conformance benchmark scaling long-run lint format

help:
	@echo "make quickstart   trains a small model in five minutes and draws what it sees; TASK=classification or"
	@echo "                  segmentation, DATA=folder of pictures, MODEL=preset or folder, ARGS=\"further arguments\""
	@echo "make test         the default tests, under ten minutes on two cores"
	@echo "make test-all     the slow ones too"
	@echo "make test-oldest  the default tests and make conformance with the oldest versions that setup.py allows, in"
	@echo "                  an environment of its own, OLDEST_VENV=$(OLDEST_VENV)"
	@echo "make conformance  transformers' own model tests on our classes (fetches its source distribution)"
	@echo "make benchmark    speed and memory next to timm's and transformers' models, in minutes; ARGS=\"--suite"
	@echo "                  classification --dtypes bfloat16\", or ARGS=--help for what there is"
	@echo "make scaling      multiply-adds, time and memory against the size of the image; ARGS as above"
	@echo "make long-run     memory over half an hour of inference and of training; ARGS=\"--minutes 120\""
	@echo "make lint         check style"
	@echo "make format       fix style"

$(READY): setup.py $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]" $(addprefix --constraint ,$(CONSTRAINTS))
	touch $(READY)

$(BENCHMARK_READY): $(READY)
	$(BIN)/python -m pip install --quiet --editable ".[benchmark]"
	touch $(BENCHMARK_READY)

quickstart: $(READY)
	$(BIN)/python scripts/quickstart.py $(QUICKSTART)

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-all: $(READY)
	$(BIN)/python -m pytest -m "not conformance"

test-oldest:
	$(MAKE) test conformance VENV="$(OLDEST_VENV)" CONSTRAINTS=tests/oldest.txt

conformance: $(READY)
	$(BIN)/python tests/conformance/run.py

benchmark: $(BENCHMARK_READY)
	$(BIN)/python benchmarks/speed.py $(ARGS)

scaling: $(BENCHMARK_READY)
	$(BIN)/python benchmarks/scaling.py $(ARGS)

long-run: $(BENCHMARK_READY)
	$(BIN)/python benchmarks/long_run.py $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
