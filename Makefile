# Everything a developer or CI does. On a fresh machine only Python 3.10 or newer is needed, and Go for `backends`.
.PHONY: demo test check docs backends bench soak clean
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# Remade when the dependencies change. The dev group is for `test` and `check`; the demo needs the package alone.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@

.demo/installed: pyproject.toml
	$(PYTHON) -m venv .demo
	.demo/bin/pip install --quiet --editable .
	touch $@

demo: .demo/installed  ## a real pipeline, no server: its run summary
	@.demo/bin/otel-pipeline run -- .demo/bin/python examples/stdlib_index.py

test: $(VENV)/installed  ## all tests; those of the real servers where `make backends` has installed them
	$(BIN)/python -m pytest -n auto --dist loadgroup

check: $(VENV)/installed  ## lint, types, import contracts, generated docs, the docs' examples
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_docs.py --check
	$(BIN)/python -m pytest -q tests/docs

docs: $(VENV)/installed  ## write the generated pages
	$(BIN)/python scripts/generate_docs.py

backends:  ## the real servers for tests and bench, built once into the cache in the home folder
	scripts/backends

bench: $(VENV)/installed  ## side by side with peers, as ratios; writes bench/report.md
	$(BIN)/python -m bench

soak: $(VENV)/installed  ## the whole of each heavy matrix; writes its report
	$(BIN)/python -m tests.soak

clean:
	rm -rf $(VENV) .demo
