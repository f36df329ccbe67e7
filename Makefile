# make repro   sets up .venv, runs the whole graph and shows the comparison        make test   sets up .venv and runs the tests
# make tiny-model   trains the small model that ships anew, about two hours on two cores
# make green   adds to .venv what the judge green needs: torch, transformers, green-score
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
comma := ,
# Python compiles a module when it is first imported, and keeps that; compiling all of torch and its like took longer than the rest of
# the installation.
PIP := .venv/bin/pip install -q --disable-pip-version-check --no-compile
unexport PYTHONDONTWRITEBYTECODE

.PHONY: repro green test tiny-model
repro: .venv/.installed-pipeline,vlm,llm
	dvc repro
	@cat reports/comparison.md

green: .venv/.installed-pipeline,vlm,llm,green .venv/.installed-green-score

test: .venv/.installed-pipeline,vlm,llm,green,qlora,test .venv/.installed-green-score
	pytest

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "error: $(PYTHON) has to be Python 3.11, 3.12 or 3.13; name another with: make PYTHON=python3.12" >&2; exit 2; }
	@# Debian and Ubuntu ship python3 without its venv module; in a container, as root, it is fetched like any other package.
	@$(PYTHON) -m venv .venv >/dev/null || { rm -rf .venv; test "$$(id -u)" = 0 && apt-get update -qq && \
	  apt-get install -qq -y python3-venv && $(PYTHON) -m venv .venv; } || \
	  { rm -rf .venv; echo "error: $(PYTHON) cannot create environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }

tiny-model: .venv/.installed-pipeline,vlm,llm
	python -m xraygen.vlm.tiny.pretrain --out models/tiny-qwen2-vl

# green-score asks for Python 3.12.1 and the libraries of its day; it runs with ours, and its numbers are held by a test.
.venv/.installed-green-score: | .venv/bin/pip
	$(PIP) --no-deps --ignore-requires-python green-score==0.0.12
	@touch $@

.venv/.installed-%: pyproject.toml constraints.txt | .venv/bin/pip
	$(PIP) -c constraints.txt -e '.[$*]'
	@touch $@
