# Images of the pipeline and of the service; docs/installation.md and docs/service.md say how to run them.
#   docker build -t xraygen .                           cpu, the last one: everything, with torch for CPUs
#   docker build -t xraygen:cuda --target cuda .        everything, with torch for CUDA; run it with --gpus all
#   docker build -t xraygen:router --target router .    the service with what needs no torch
# `--build-arg COMMIT=$(git rev-parse HEAD)` is what the service then says it was built from.
# What is installed is locked with hashes in requirements/; `make lock` writes that.

# DL3008: Debian keeps one version of a package at a time, so that a pinned one soon cannot be installed.
# hadolint global ignore=DL3008

FROM debian:bookworm-slim AS base
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
 && useradd --uid 1000 --create-home xraygen
WORKDIR /app
# Compiled modules go where the user can write.
ENV PATH=/app/.venv/bin:$PATH PYTHONPYCACHEPREFIX=/app/.cache/python HF_HOME=/app/.cache/huggingface HOME=/tmp USER=xraygen
LABEL org.opencontainers.image.title="xraygen" \
      org.opencontainers.image.description="Annotates chest X-ray studies by region. Research only." \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 8000
STOPSIGNAL SIGTERM

FROM base AS build
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_NO_DEPS=1
COPY pyproject.toml requirements/build.txt ./
# Without the code yet, so that a change of it installs nothing again.
RUN mkdir xraygen && touch LICENSE README.md xraygen/__init__.py \
 && python3 -m venv .venv \
 && pip install -q --require-hashes -r build.txt \
 && pip install -q --no-build-isolation -e .

FROM build AS router-packages
COPY requirements/router.txt ./
RUN pip install -q --require-hashes -r router.txt \
 && pip uninstall -q -y setuptools pip \
 && find .venv -name __pycache__ -prune -exec rm -r {} +

FROM build AS cpu-packages
COPY requirements/torch-cpu.txt requirements/cpu.txt ./
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# green-score asks for Python 3.12, and runs on 3.11.
RUN pip install -q --require-hashes --extra-index-url "$TORCH_INDEX" -r torch-cpu.txt \
 && pip install -q --require-hashes --ignore-requires-python -r cpu.txt \
 && pip uninstall -q -y pip \
 && find .venv -name __pycache__ -prune -exec rm -r {} +

FROM build AS cuda-packages
COPY requirements/cuda.txt ./
RUN pip install -q --require-hashes --ignore-requires-python -r cuda.txt \
 && pip uninstall -q -y pip \
 && find .venv -name __pycache__ -prune -exec rm -r {} +

# The service alone. compose.yaml mounts what it reads: models/, metrics/ and reports/.
FROM base AS router
COPY --from=router-packages /app/.venv .venv
COPY params.yaml ./
COPY plugins plugins
COPY xraygen xraygen
RUN mkdir .cache data metrics models reports && chmod a+rwx .cache data
ARG COMMIT=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.revision="$COMMIT" org.opencontainers.image.version="$VERSION"
ENV XRAYGEN_COMMIT=$COMMIT
USER 1000:1000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["xraygen", "serve", "--host", "0.0.0.0"]

# The pipeline and the service, without the packages yet.
FROM base AS project
COPY . .
# DVC works without git here, and keeps its cache in the volume .cache. The folders that a run writes are open to whichever
# user `--user` names. What ships in data/ and models/ is kept a second time, for volumes that are mounted over them.
RUN printf '[core]\n    no_scm = true\n[cache]\n    dir = ../.cache/dvc\n' > .dvc/config.local \
 && mkdir -p .cache metrics reports /opt/shipped \
 && cp -R data models /opt/shipped \
 && chmod a+rwx . && chmod -R a+rwX .cache .dvc data metrics models reports
ARG COMMIT=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.revision="$COMMIT" org.opencontainers.image.version="$VERSION"
ENV XRAYGEN_COMMIT=$COMMIT
USER 1000:1000
ENTRYPOINT ["./docker-entrypoint.sh"]
CMD ["sh", "-c", "dvc repro && cat reports/comparison.md"]

FROM project AS cuda
COPY --from=cuda-packages /app/.venv .venv

FROM project AS cpu
COPY --from=cpu-packages /app/.venv .venv
