# make repro   sets up .venv, runs the whole graph and shows the comparison        make test   sets up .venv and runs the tests
# make tiny-model   trains the small model that ships once more, about two hours on two cores
# make lock   writes requirements/*.txt, which the images install
# make green   adds to .venv what the judge green needs: torch, transformers, green-score
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Python compiles a module when it is first imported, and keeps that; compiling all of torch here took longer than the rest.
PIP := .venv/bin/pip install -qq --disable-pip-version-check --no-compile
unexport PYTHONDONTWRITEBYTECODE
# The build of torch that uv takes: auto = for this machine's GPU, or without CUDA; cpu, cu130, ...
export UV_TORCH_BACKEND ?= auto
# Certificates as the machine has them, as pip does; uv's own list lacks what a company's proxy signs with.
export UV_SYSTEM_CERTS ?= true
UV := .venv/bin/uv pip install -q --python .venv/bin/python
FIND_LINKS := .venv/bin/pip config list | sed -n "s/.*find-links=.\(.*\).$$/\1/p" | sed "s/[\]n/ /g" | tr -s " \n" , | sed "s/^,//; s/,$$//"
UV_WITH_LINKS := env -u UV_TORCH_BACKEND UV_FIND_LINKS="$$($(FIND_LINKS))" $(UV)

.PHONY: repro green test tiny-model lock browser
repro: .venv/.installed-pipeline,vlm,llm
	dvc repro
	@cat reports/comparison.md

green: .venv/.installed-pipeline,vlm,llm,green .venv/.installed-green-score

test: .venv/.installed-pipeline,vlm,llm,green,qlora,dicom,serve,cluster,test .venv/.installed-green-score browser
	ruff check -q
	ruff format -q --check
	@# The tests wait for servers and browsers now and then; mypy uses that time. What it says comes last.
	@echo "mypy and pytest"; mypy >.venv/.mypy 2>&1 & mypy=$$!; \
	pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder; tests=$$?; \
	wait $$mypy; types=$$?; cat .venv/.mypy; test $$tests$$types = 00

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "error: $(PYTHON) has to be Python 3.11, 3.12 or 3.13; name another with: make PYTHON=python3.12" >&2; exit 2; }
	@# Debian and Ubuntu ship python3 without its venv module; in a container, as root, it is fetched like any other package.
	@$(PYTHON) -m venv .venv >/dev/null || { rm -rf .venv; test "$$(id -u)" = 0 && apt-get update -qq && \
	  apt-get install -qq -y python3-venv && $(PYTHON) -m venv .venv; } || \
	  { rm -rf .venv; echo "error: $(PYTHON) cannot create environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }

# The pages are tested in Chromium or Chrome. As root on Debian it is fetched like any other package, tried twice. Where there
# is none the tests that need it are skipped, and with CI=true they fail.
browser: | .venv/bin/pip
	@python -m recipes.chromium >/dev/null 2>&1 || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || { \
	  echo "installing Chromium for the tests of the pages"; export DEBIAN_FRONTEND=noninteractive; \
	  get="apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium"; \
	  sh -c "$$get" >/dev/null 2>&1 || { sleep 5; sh -c "$$get" >/dev/null; } || \
	  echo "Chromium cannot be installed" >&2; }

tiny-model: .venv/.installed-pipeline,vlm,llm
	python -m recipes.tiny_qwen2_vl.pretrain --out models/tiny-qwen2-vl

lock: .venv/.installed-pipeline,vlm,llm
	python -m recipes.lock

# green-score asks for Python 3.12.1 and the libraries of its day; it runs with ours, and a test pins its numbers.
.venv/.installed-green-score: | .venv/bin/pip
	$(PIP) --no-deps --ignore-requires-python green-score==0.0.12
	@touch $@

# How this environment is installed, decided once: the command stays in .venv/.installer. uv takes the build of torch that
# fits the machine, where PyPI's for Linux is always the one for CUDA, and it is several times faster than pip. It reads none
# of pip's settings: where it cannot reach its index of torch builds it is handed pip's find-links, and where another index
# has been set for pip, or uv cannot get all packages, pip installs.
.venv/.installer: | .venv/bin/pip
	@$(PIP) -c constraints.txt uv 2>/dev/null || true
	@export UV_HTTP_RETRIES=1 UV_HTTP_CONNECT_TIMEOUT=4; try="--dry-run -c constraints.txt -r pyproject.toml --all-extras"; \
	if $(UV) $$try 2>/dev/null; then \
	  printf '%s\n' '$(UV)' >$@; \
	elif ! .venv/bin/pip config list | grep -q '[.]index-url=' && $(UV_WITH_LINKS) $$try 2>/dev/null; then \
	  echo "uv cannot reach its index of torch builds: torch comes from pip's find-links, or else from PyPI" >&2; \
	  printf '%s\n' '$(UV_WITH_LINKS)' >$@; \
	else \
	  echo "uv cannot install everything from here: pip does, with its own configuration, and takes longer" >&2; \
	  printf '%s\n' '$(PIP)' >$@; \
	fi

# A killed installer leaves packages with files missing, which the next one would take for complete; hence .venv/.installing.
.venv/.installed-%: pyproject.toml constraints.txt | .venv/.installer
	@echo "installing .[$*] into .venv"
	@again=; test ! -e .venv/.installing || again=--force-reinstall; touch .venv/.installing; \
	sh -c "$$(cat .venv/.installer) $$again -c constraints.txt -e '.[$*]'" || { rm -f .venv/.installer; exit 1; }
	@rm .venv/.installing
	@touch $@
