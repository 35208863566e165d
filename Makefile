# Every target sets itself up: a virtual environment with the versions of constraints.txt, this package editable in it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(VENV)/.peers

.PHONY: help setup demo test types lint bench bench-gpu results site clean test-paper

help: ## This list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,site,browser,timm,peft]'
	@touch $@

setup: $(STAMP) ## Virtual environment and install.

demo: $(STAMP) ## Train SupCon's mini experiment afresh (2 seeds) beside what is on record; it says how long at once.
	rm -rf results-demo
	$(BIN)/papers rerun supcon --experiment digits --seeds 2 --results results-demo

test: $(STAMP) ## All tests.
	$(BIN)/pytest -n 2

test-paper: $(STAMP) ## What every paper promises, and the paper's own tests: make test-paper SLUG=simcse.
	@test -n "$(SLUG)" || { echo "make test-paper SLUG=..., as in SLUG=simcse"; exit 2; }
	$(BIN)/pytest tests/papers -k "$(SLUG)"

types: $(STAMP) ## The type checker, over the files that pyproject.toml names.
	$(BIN)/python -m mypy

lint: types ## Style, formatting and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(PEERS): $(STAMP) constraints-bench.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -c constraints-bench.txt -e '.[bench]'
	@touch $@

bench: $(PEERS) ## Measure losses, recall, training steps and gradients beside other libraries, into results/bench.
	$(BIN)/python -m bench

bench-gpu: $(PEERS) ## The losses on a GPU beside other libraries, within 8 minutes, into results/bench/gpu.md.
	$(BIN)/python -m bench.gpu

results: $(STAMP) ## Write results/ and the generated blocks again from the records, then check them.
	$(BIN)/papers report
	$(BIN)/papers verify

site: $(STAMP) ## Build pages of everything on record into build/site; they open from the disk, without a network.
	$(BIN)/python -m harness.site

clean: ## Remove the environment and what runs leave behind; records stay.
	rm -rf $(VENV) build *.egg-info logs results-demo
