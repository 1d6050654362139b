# Two commands set up everything: `make demo` and `make test`. Each makes .venv first if it isn't there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ONLY ?=
# Processes of the tests; each wants 4 GB.
WORKERS ?= 2
# Where pip may look for a CPU build of torch first, e.g. on a Linux machine without a GPU: make install TORCH_INDEX=<index>
TORCH_INDEX ?=
FILTER = $(if $(ONLY),--only $(ONLY),)

.PHONY: install demo test test-all notebooks lint validate bench lock

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "theratwin needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Name one: make PYTHON=python3.11 demo")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment: install the venv module (Debian: python3-venv)" >&2; exit 1; }
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt --index-url $(TORCH_INDEX) torch,)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/theratwin demo --out demo-out

test: $(STAMP)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

test-all: $(STAMP)
	$(BIN)/python -m pytest -q -m "not gpu" -n $(WORKERS) --dist loadfile

notebooks: $(STAMP)
	$(BIN)/python -m tests.notebooks.run

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --level error
	$(BIN)/lint-imports

validate: $(STAMP)
	$(BIN)/python -m tests.validate $(FILTER) --out docs/validation/results.json

bench: $(STAMP)
	$(BIN)/python -m tests.bench $(FILTER) --out docs/performance/results.json

lock: $(STAMP)
	$(BIN)/python -m tests.lock constraints.txt
