# SPDX-License-Identifier: Apache-2.0
# make demo    set all up, then build, flash and boot a virtual Raspberry Pi 4
# make test    set all up, then the tests (LONG=1: the long ones too)
# make bench   the benchmarks
# make lock    renew requirements.lock from pyproject.toml

VENV := .venv
PYTHON := $(VENV)/bin/python
PYTEST := $(PYTHON) -m pytest -n 2 --dist loadgroup
LONG ?=

.PHONY: demo test bench setup packages lock

demo: setup
	@tools/demo

test: setup
	$(PYTEST) $(if $(LONG),,-m "not long") $(ARGS)

bench: setup
	$(PYTHON) -m benchmarks

setup: packages $(VENV)/farm.stamp

packages:
	@tools/install-packages

# Every package is pinned with its hashes; farm itself is installed in place.
$(VENV)/farm.stamp: requirements.lock pyproject.toml
	@echo "making the virtual environment $(VENV)"
	@/usr/bin/python3 -m venv --clear $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header --upgrade --extra dev pyproject.toml --output-file requirements.lock
