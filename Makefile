# Two commands for a fresh machine with Python 3.10+ and make: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo clients browser test compatibility lint clean

setup: $(VENV)/.ready

# Rebuilt when the dependencies change; the marker is written last, so an interrupted set-up starts again.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "edgedet needs Python 3.10 or newer; run: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[all,dev]'
	touch $@

demo: setup
	$(BIN)/edgedet demo --out demo

# Environments of the libraries that apps load our files with, in build/clients; built once, about two minutes.
clients: setup
	$(BIN)/python -m tests.clients.environments

# What the page of `edgedet bench --device browser` runs files with; afterwards it works without a network. Needs npm.
browser: setup
	$(BIN)/python -m edgedet.benchmarks.devices.browser_packages

# Tests on real data read the folder that EDGEDET_DATA names, and say "not run" without it; so do those of a client that
# this machine cannot run, unless EDGEDET_REQUIRE_CLIENTS=1 makes that a failure.
test: setup clients
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

# Measures every client on every kind of file again; MODEL is a trained model.pt for the section about resizing.
compatibility: setup clients
	$(BIN)/python -m tests.clients.table --out docs/compatibility.md $(if $(MODEL),--model $(MODEL))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# The folders export/ and benchmarks/ are installed inside the package edgedet; mypy sees them there through links.
	mkdir -p build/types/edgedet
	ln -sfn $(CURDIR)/edgedet/* $(CURDIR)/export $(CURDIR)/benchmarks $(CURDIR)/configs build/types/edgedet/
	cd build/types && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml

clean:
	rm -rf $(VENV) demo build *.egg-info
