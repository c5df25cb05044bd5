# Each target sets up what it needs: a virtual environment in .venv, renewed when
# pyproject.toml or constraints.txt changes. `make PYTHON=/path/to/python` chooses its Python.

CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/.ready

export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help demo test test-all check clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      train on the embedded data set and evaluate: runs/shapes_soft"
	@echo "make test      the quick tests"
	@echo "make test-all  the slow tests too"
	@echo "make check     lint, format, types and layers of imports"
	@echo "make clean     remove the virtual environment and caches; runs/ stays"

demo: $(READY)
	$(BIN)/python -m sat_tf.train --flagfile=experiments/shapes_soft.flags

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-all: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "slow or not slow"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@for python in $(CANDIDATES) ""; do \
		[ -z "$$python" ] && break; \
		"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
			2>/dev/null && break; \
	done; \
	if [ -z "$$python" ]; then \
		echo "error: sat_tf needs Python 3.11, 3.12 or 3.13, and none of these is one:" \
			"$(CANDIDATES). Name yours: make PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi; \
	echo "setting up .venv with $$("$$python" --version): a download of about 1 GB"; \
	"$$python" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[dev]'
	@touch $@
