# Everything runs in .venv, which `make` builds when pyproject.toml changes; `make demo` needs less of it.
PYTHON ?= python3
BIN := .venv/bin
DEMO := .venv/.with-demo
ALL := .venv/.with-demo,dev

.PHONY: demo test test-all check bench clean

demo: $(DEMO)
	$(BIN)/frcnn detect $$($(BIN)/python examples/photographs.py) --out demo

test: $(ALL)
	$(BIN)/pytest

test-all: $(ALL)
	$(BIN)/pytest -m ""

check: $(ALL)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(ALL)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv demo build dist

.venv/.with-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[$*]'
	touch $@
