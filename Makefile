# Two commands do everything on a fresh machine: `make quickstart` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: install quickstart test test-slow lint generate clean

install: $(INSTALLED)

# torch comes first and alone: with its exact version pip takes the build that this machine has, and what follows
# finds it installed.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==$(shell sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/llmrecipe run examples/quickstart/recipe.yaml
	$(BIN)/llmrecipe report examples/quickstart/recipe.yaml
	$(BIN)/llmrecipe chat examples/quickstart/recipe.yaml --once "Which day comes after Monday?"
	@echo "Talk to it: $(BIN)/llmrecipe chat examples/quickstart/recipe.yaml"

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow --durations=30

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/generate.py --check
	$(BIN)/python tests/goldens.py --check

generate: $(INSTALLED)
	$(BIN)/python scripts/generate.py
	$(BIN)/python tests/goldens.py --write
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
