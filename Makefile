# Each command makes the virtual environment it needs; the second time that is done already.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench pictures release

demo: .venv/installed
	$(BIN)/python docs/demo.py

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/copier copy --quiet --defaults --overwrite --vcs-ref HEAD . build/lint
	cd build/lint && ../../$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python benchmarks/bench.py $(FIGURES)

pictures: .venv/installed
	$(BIN)/python docs/pictures.py

release: .venv/installed
	$(BIN)/python docs/release.py $(VERSION)

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	touch $@
