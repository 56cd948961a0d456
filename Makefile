PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint format bench docs

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv and install the package with its development tools

demo: setup ## edit the shipped training split with two Ray workers; writes out/demo
	$(VENV)/bin/augment expand configs/expand/emoji.yaml

test: setup ## run the tests (without those marked slow, gpu or browser)
	$(VENV)/bin/python -m pytest -n 2 --no-loadscope-reorder

test-slow: setup ## run the tests marked slow
	$(VENV)/bin/python -m pytest -n 2 --no-loadscope-reorder -m slow

lint: setup ## ruff, mypy and the import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: setup ## sort imports and format
	$(VENV)/bin/ruff check --select I --fix .
	$(VENV)/bin/ruff format .

docs: setup ## draw the layers, list the commands, build the documentation; writes out/site
	$(VENV)/bin/python -m jobs.draw_layers
	$(VENV)/bin/python -m jobs.render_commands
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

bench: setup ## reconstruction quality of every solver on the embedded model; writes out/benchmark
	$(VENV)/bin/augment benchmark configs/benchmark/emoji.yaml --out out/benchmark

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make setup: '$(PYTHON)' was not found. Install Python 3.11 or newer, or name one: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make setup: '$(PYTHON)' is $$($(PYTHON) --version), but 3.11 or newer is needed. Name one: make setup PYTHON=python3.12"; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make setup: '$(PYTHON) -m venv' failed. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
