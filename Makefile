# Two commands do everything: `make tune` and `make test`. Both set up what they need first; a second call is instant.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first interpreter that is new enough. `make PYTHON=/path/to/python ...` chooses another one.
PYTHON ?= $(shell for candidate in python3.11 python3 python3.12 python3.13; do \
	if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$candidate; break; fi; done)

.DEFAULT_GOAL := help
.PHONY: help tune serve predict-health predict-text predict-positive predict-negative test lint bench doctor tensorboard docs clean
# Where a server answers, and the API key that it asks for (none in development mode).
URL ?= http://127.0.0.1:8000
KEY ?=
TEXT ?= The sole came off after a week.
export URL KEY TEXT

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

tune: $(STAMP)  ## install, then tune a sentiment adapter on the embedded base and data
	$(BIN)/tuner tune sentiment

serve: $(STAMP)  ## install, then serve every promoted adapter in development mode
	$(BIN)/tuner serve --development

predict-health: $(STAMP)  ## ask a running server how it is
	$(BIN)/python -m serve.ask health

predict-text: $(STAMP)  ## ask a running server about a text: make predict-text TEXT="..."
	$(BIN)/python -m serve.ask "$$TEXT"

predict-positive: $(STAMP)  ## ask a running server about a friendly text
	$(BIN)/python -m serve.ask "I love these boots, they fit perfectly and still look new."

predict-negative: $(STAMP)  ## ask a running server about an unfriendly text
	$(BIN)/python -m serve.ask "The sole came off after a week and nobody answers my mails."

test: lint  ## install, lint, check types and run every test
	$(BIN)/python -m pytest -q

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)  ## run one benchmark: make bench NAME=makespan
	@test -n "$(NAME)" || { echo "Say which: make bench NAME=<name>. There are:"; \
		sed -n 's/^| `make bench NAME=\([a-z_]*\)`.*/  \1/p' tests/benchmarks/README.md; exit 2; }
	$(BIN)/python -m tests.benchmarks.$(NAME)

doctor: $(STAMP)  ## check Python, Ray, torch, devices, disk and ports
	$(BIN)/tuner doctor

tensorboard: $(STAMP)  ## open every study's curves
	$(BIN)/tensorboard --logdir results

docs: $(STAMP)  ## rewrite the parts of the README that repeat what the code says
	$(BIN)/python -m tests.readme

clean:  ## remove the virtual environment and caches; results stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found." \
		"Install it, or name one: make PYTHON=/path/to/python3.11 tune"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment;" \
		"on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
