# make repro   sets up .venv, runs the whole graph and shows the comparison        make test   sets up .venv and runs the tests
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
comma := ,

.PHONY: repro test
repro: .venv/.installed-pipeline
	dvc repro
	@cat reports/comparison.md

test: .venv/.installed-pipeline,test
	pytest

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "error: $(PYTHON) has to be Python 3.11, 3.12 or 3.13; name another with: make PYTHON=python3.12" >&2; exit 2; }
	@# Debian and Ubuntu ship python3 without its venv module; in a container, as root, it is fetched like any other package.
	@$(PYTHON) -m venv .venv >/dev/null || { rm -rf .venv; test "$$(id -u)" = 0 && apt-get update -qq && \
	  apt-get install -qq -y python3-venv && $(PYTHON) -m venv .venv; } || \
	  { rm -rf .venv; echo "error: $(PYTHON) cannot create environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }

.venv/.installed-%: pyproject.toml constraints.txt | .venv/bin/pip
	.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@
