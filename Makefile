# `make` prints this manual. Everything sets itself up in .venv; only Python 3.11, a C compiler
# (pytricia has no wheels) and make are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PACKAGES := flowpeer core/flowpeer_core ingest/flowpeer_ingest reports/flowpeer_reports sql/flowpeer_sql sample_data/flowpeer_sample
DEMO := flowpeer-demo
WORKERS ?= 2
SECONDS ?= 600

.DEFAULT_GOAL := help
.PHONY: help demo test check format lint types arrows bench wheel wheel-test test-spark test-readers test-sql-tools image bom fuzz soak lock docs docs-check site pictures clean

help:  ## print this manual
	@echo "flowpeer: from NetFlow/IPFIX exports to a ranked, feasible list of peering candidates"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12 make test   chooses the interpreter for a new .venv"

demo: $(VENV)/.run  ## run the whole pipeline on the sample network and show the answers
	@$(BIN)/flowpeer demo $(DEMO)

test: $(VENV)/.dev  ## run all tests
	@echo "running the tests on $(WORKERS) workers"
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal --durations 25

check: lint types arrows docs-check  ## lint, types, direction of the imports, generated pages

lint: $(VENV)/.dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy

arrows: $(VENV)/.dev  ## import-linter: who may import whom
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## every benchmark, each against a peer or a limit in the same run
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --group bench \
		|| echo "py-radix and pyasn cannot be installed: bench/lpm.py goes on without them"
	@for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit; done

docs: $(VENV)/.dev  ## make the reference pages again from the tables they describe
	$(BIN)/python docs/generate.py

docs-check: $(VENV)/.dev
	$(BIN)/python docs/generate.py --check

site: $(VENV)/.dev  ## the documentation as a site in build/site, searchable and offline, its links checked
	@$(BIN)/python docs/site.py

pictures: $(VENV)/.dev  ## take the pictures of the documentation again, in chromium
	$(BIN)/python docs/pictures.py

wheel: $(VENV)/.dev  ## build the wheel into dist/
	rm -rf dist
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist

wheel-test: wheel  ## install the built wheel alone and try it: imports, demo, commands, tests without a checkout
	$(BIN)/python .ci/wheel_test.py dist/*.whl

test-spark: $(VENV)/.dev  ## roll-ups by two workers of Spark and of Dask, one of them killed, against those made here
	@$(BIN)/python .ci/engines.py build/engines

test-readers: $(VENV)/.dev  ## files of the compiled writer read back by ClickHouse and Spark
	@$(BIN)/python .ci/readers.py build/clickhouse build/engines

test-sql-tools: $(VENV)/.dev  ## recipes for other tools (duckdb CLI, pandas, notebook, Superset, dbt, …), each run by it
	@$(BIN)/python .ci/sql_tools.py build/sql-tools build/engines

image: $(VENV)/.dev  ## the container image, built and tried by Docker or Podman, else its steps in a plain root folder
	@$(BIN)/python .ci/image.py build/image

bom: $(VENV)/.dev  ## what it is made of (CycloneDX), and whether every licence is fine
	@$(BIN)/python .ci/bom.py

soak: $(VENV)/.dev  ## hours of kills, faults, floods and random examples; the output stays in soak.log
	@WORKERS=$(WORKERS) .ci/soak $(BIN)/python

fuzz: $(VENV)/.dev  ## the compiled core under sanitizers, and every entry fuzzed for SECONDS
	@$(BIN)/python tests/fuzz/fuzz.py --tests --seconds $(SECONDS)
	@$(BIN)/python tests/fuzz/entries.py --seconds $(SECONDS) --workers $(WORKERS)

lock: $(VENV)/.dev  ## resolve the requirements again, with hashes and without addresses
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
		--python-version 3.11 --extra all pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
		--python-version 3.11 --extra all --extra serve --extra s3 --extra iceberg --group dev --group docs pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header \
		--python-version 3.11 .ci/sql-tools.in -o .ci/sql-tools.lock

clean:  ## remove what was built; the demo folder stays
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: Python 3.11 or later is needed"; echo "try: make PYTHON=python3.11"; exit 1; }
	@command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 \
		|| { echo "error: no C compiler, which pytricia needs"; echo "try: apt-get install gcc"; exit 1; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "installing flowpeer and what it needs into $(VENV)"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python requirements-dev.lock pyproject.toml
	@echo "installing flowpeer, what it needs and the development tools into $(VENV)"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run
