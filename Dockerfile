# The graph in a container, as a user without rights; the README says how to run it.
#   docker build -t xraygen .                                       torch for CPUs
#   docker build -t xraygen --build-arg TORCH_BACKEND=cu130 .       torch for CUDA; run it with --gpus all
FROM debian:bookworm-slim AS environment
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends ca-certificates make python3-venv
WORKDIR /app
COPY Makefile constraints.txt pyproject.toml ./
ARG TORCH_BACKEND=cpu
# Without the code yet, so that a change of it installs nothing again.
RUN mkdir xraygen && touch LICENSE README.md xraygen/__init__.py \
 && make UV_TORCH_BACKEND=$TORCH_BACKEND .venv/.installed-pipeline,vlm,llm \
 && rm .venv/bin/uv* && find .venv -name __pycache__ -prune -exec rm -r {} +

FROM debian:bookworm-slim
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
 && useradd --uid 1000 --create-home xraygen
WORKDIR /app
COPY --from=environment /app/.venv .venv
COPY . .
# DVC works without git here, and keeps its cache in the volume .cache. The folders that a run writes are open to whichever
# user `--user` names. What ships in data/ and models/ is kept a second time, for volumes that are mounted over them.
RUN printf '[core]\n    no_scm = true\n[cache]\n    dir = ../.cache/dvc\n' > .dvc/config.local \
 && mkdir -p .cache metrics reports /opt/shipped \
 && cp -R data models /opt/shipped \
 && chmod a+rwx . && chmod -R a+rwX .cache .dvc data metrics models reports
# Compiled modules go where that user can write.
ENV PATH=/app/.venv/bin:$PATH PYTHONPYCACHEPREFIX=/app/.cache/python HF_HOME=/app/.cache/huggingface HOME=/tmp USER=xraygen
USER xraygen
ENTRYPOINT ["./docker-entrypoint.sh"]
CMD ["sh", "-c", "dvc repro && cat reports/comparison.md"]
