# Everything a person runs here. Each target prepares .venv first; nothing outside this folder is touched.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
COMPILED := build/compiled
STAMP := $(VENV)/.installed

.PHONY: help install demo test test-long test-compiled check bench wheel compiled proto constraints clean

help:
	@echo "make demo     three clusters on this machine: join, resolve, cross, survive"
	@echo "make test     the test suite"
	@echo "make test-long  the rest of it: faults under load that take half a minute each"
	@echo "make check    the linters: ruff, mypy, import-linter"
	@echo "make bench    list the benchmarks"
	@echo "make wheel    build the distribution, its request path compiled (needs a C compiler)"
	@echo "make test-compiled  the test suite on it"
	@echo "make install  prepare .venv only"

install: $(STAMP)

$(STAMP): constraints.txt
	@test -n "$(PYTHON)" || { echo "isthmus needs Python 3.11 or newer; none was found (set PYTHON=/path/to/python3)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)
	@$(BIN)/isthmus demo

test: $(STAMP)
	$(BIN)/python -m pytest -m "not processes" -n 3 --dist loadfile
	$(BIN)/python -m pytest -m "processes and not long" -n 2 --dist loadfile --no-loadscope-reorder

test-long: $(STAMP)
	$(BIN)/python -m pytest -m long

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	@$(BIN)/python -m tests.bench

# The source is packed first: the extension modules are built beside the sources, which shall not be those of the checkout.
wheel: $(STAMP)
	@command -v cc >/dev/null 2>&1 || { echo "the request path is compiled by a C compiler; none was found (cc)" >&2; exit 1; }
	rm -rf build
	$(BIN)/python -m hatchling build -t sdist -d build
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		-w build build/isthmus-*.tar.gz

compiled: wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(COMPILED) build/isthmus-*.whl

test-compiled: compiled
	$(BIN)/python -m tests.compiled pytest -m "not processes" -n 3 --dist loadfile
	$(BIN)/python -m tests.compiled pytest -m "processes and not long" -n 2 --dist loadfile --no-loadscope-reorder

# For developers: what is generated, from what. This version's output works with every protobuf from 6.30 on (that of a newer
# one would not), and its tools need an older protobuf than ours, so they get an environment of their own.
proto: $(STAMP)
	$(PYTHON) -m venv $(VENV)/proto
	$(VENV)/proto/bin/python -m pip install --quiet --disable-pip-version-check 'grpcio-tools==1.72.*' setuptools
	$(VENV)/proto/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. federation/etcd/etcd.proto federation/workload/workload.proto

constraints:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make constraints" \
		--upgrade -o constraints.txt pyproject.toml

clean:
	rm -rf $(VENV)
