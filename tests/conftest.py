"""What several tests share: the project's folder, a small language model, a server of
completions.
"""

import csv
import email
import gc
import hashlib
import importlib.util
import json
import os
import select
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from browser import browser, open_page, shared  # noqa: F401 (fixtures)
from hypothesis import settings

from xraygen.annotators import load as annotators
from xraygen.annotators.base import Annotator, Project
from xraygen.annotators.llm.params import LlmParams
from xraygen.core.regions import Regions
from xraygen.params import Params, load
from xraygen.prompting import json_answer
from xraygen.prompting.region_names import RegionNames

# The models of the tests are so small that threads only wait for one another, long where others use
# the machine too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts pytest in the background has it ignore Ctrl-C, and so all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).resolve().parents[1]
# As params.yaml declares them: bone, heart, lung, mediastinal, and others, which is not scored.
REGIONS = Regions.model_validate(
    yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["regions"]
)
NAMES = RegionNames(REGIONS)

# Of each property the same examples on every run; `pytest --hypothesis-profile=thorough` draws many
# more, others each time.
settings.register_profile("default", max_examples=300, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=10_000, deadline=None, print_blob=True)
settings.load_profile("default")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session):
    """All that the tests import is imported here, a third faster without the garbage collector.
    That never looks through it later either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# Files without a slow test that take as long as one.
LONG = "test_vlm test_pull_request test_diff test_proxy test_browser_service test_families".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests come first, then the long ones, so that no worker of
    pytest-xdist is left with one of them at the end.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    # A stable sort: within a file the order stays.
    items.sort(key=lambda item: (-slow[item.path], item.path.stem not in LONG))


def chosen_up_to_rounding(model, row: dict, said: list[int], numbers: Sequence[float] = ()) -> bool:
    """Whether the model chooses the tokens `said` after a row's prompt: the likeliest ones, or
    those in whose shares of the distribution `numbers` fall. The row is read by itself, in one
    pass.

    The other rows of a batch move the last bits of a row's logits, and each CPU in its own way.
    Where two tokens are almost equally likely, or a number falls on the border of two shares, that
    makes it another token, and another answer from there on. So an answer is compared with the
    model, not with the answer that another batch gave.
    """
    import torch

    from xraygen.prompting import encoding

    # An image token in an answer stands for no picture, so what comes after it cannot be read in
    # one pass.
    image = getattr(model.config, "image_token_id", None)
    if image in said:
        said = said[: said.index(image) + 1]
    batch = encoding.collate([row | {"completion": torch.tensor(said[:-1], dtype=torch.long)}], 0)
    batch.pop("labels", None)
    with torch.no_grad():
        logits = model(**batch, use_cache=False).logits[0, -len(said) :].double()
    tokens = torch.tensor(said)[:, None]
    if not len(numbers):
        return bool((logits.amax(1) - logits.gather(1, tokens)[:, 0]).max() < 1e-3)
    shares = logits.softmax(1)
    upto = shares.cumsum(1).gather(1, tokens)[:, 0]
    at = torch.tensor(numbers, dtype=torch.float64)[: len(said)]
    return bool(((upto - shares.gather(1, tokens)[:, 0] - at < 1e-4) & (at - upto < 1e-4)).all())


def annotation(**texts: str) -> dict[str, str]:
    """With every region."""
    return REGIONS.annotation(texts)


def parse(answer: str, ended: bool = True) -> tuple[dict[str, str], bool]:
    return json_answer.parse(answer, NAMES, ended)


def is_whole(answer: str) -> bool:
    return json_answer.is_whole(answer, NAMES)


def recorded_rows() -> list[dict]:
    """Every recorded answer of GREEN in ../shared/recorded."""
    rows = []
    for path in sorted((ROOT.parent / "shared" / "recorded").glob("green_*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file)
    return rows


def project_of(root: Path, images: Path | None = None, llm: LlmParams | None = None) -> Project:
    """What an annotator may use, with the regions and the language model of params.yaml."""
    params = load(ROOT / "params.yaml")
    return Project(root, images or root, params.regions, llm or params.llm)


def annotator_of(params: Params, name: str, root: Path) -> Annotator:
    """The annotator of an approach in these params."""
    return annotators.load(params.approaches, name, project_of(root, llm=params.llm))


@pytest.fixture(scope="session", autouse=True)
def one_certificate(tmp_path_factory) -> None:
    """The tests' servers are on loopback, without TLS, but every client of one reads all
    certificates of the machine first, 25 ms each time.
    """
    if "SSL_CERT_FILE" not in os.environ:
        for certificate in ssl.create_default_context().get_ca_certs(binary_form=True)[:1]:
            path = tmp_path_factory.mktemp("tls") / "one.pem"
            path.write_text(ssl.DER_cert_to_PEM_cert(certificate))
            os.environ["SSL_CERT_FILE"] = str(path)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> Path:
    """A folder with a small Llama of random weights, as bench/green.py makes it."""
    pytest.importorskip("green_score")
    from xraygen.judges.green.answers import prompt

    spec = importlib.util.spec_from_file_location("bench_green", ROOT / "bench" / "green.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    folder = tmp_path_factory.mktemp("model") / "llama"
    bench.random_llama(
        folder,
        [
            prompt(
                "Small left effusion, heart size normal.", "No focal consolidation or pneumothorax."
            )
        ],
    )
    return folder


ANSWER = """\
[Explanation]:
The candidate names {extra}, which the reference lacks.

[Clinically Significant Errors]:
(a) False report of a finding in the candidate: 1. {extra}.

[Clinically Insignificant Errors]:
None.

[Matched Findings]:
1. {matched}."""


class CompletionServer(ThreadingHTTPServer):
    """Speaks /v1/completions on loopback. `asked`: the prompts in order of arrival; `answered`:
    those whose answer found its asker still there; `script`: what to do with the next requests
    instead of answering: a status, or (status, headers), or "hang up", "not JSON", "no choices";
    `spoilt`: the same for all requests with a prompt.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, delay: float = 0.0, script: Sequence = ()):
        super().__init__(("127.0.0.1", 0), _Completions)
        self.delay, self.script, self.spoilt = delay, list(script), {}
        self.asked, self.answered, self.keys, self.bodies = [], [], set(), []
        self.now, self.most, self.lock = 0, 0, threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        pass  # an asker that was killed


class _Completions(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(asked["prompt"])
            server.keys.add(self.headers["Authorization"])
            server.bodies.append({name: value for name, value in asked.items() if name != "prompt"})
            server.now += 1
            server.most = max(server.most, server.now)
            act = server.spoilt.get(asked["prompt"]) or (
                server.script.pop(0) if server.script else 200
            )
        time.sleep(server.delay)
        try:
            self.act(act, asked)
        finally:
            with server.lock:
                server.now -= 1

    def act(self, act, asked: dict) -> None:
        status, headers = act if isinstance(act, tuple) else (act, {})
        body = {
            "choices": [{"text": answer_to(asked["prompt"]), "index": 0, "finish_reason": "stop"}]
        }
        if act == "hang up":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if act == "no choices":
            body["choices"] = []
        elif isinstance(act, dict):
            body["choices"][0] |= act
        elif isinstance(status, int) and status >= 400:
            body = {"error": {"message": f"so the server says: {status}"}}
        content = b"<html>" if act == "not JSON" else json.dumps(body).encode()
        self.send_response(status if isinstance(status, int) else 200)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if not select.select([self.connection], [], [], 0)[0]:  # readable now = closed by its asker
            self.server.answered.append(asked["prompt"])
            self.wfile.write(content)


def answer_to(prompt: str) -> str:
    """An answer in GREEN's form that hangs on the prompt alone."""
    mark = hashlib.sha256(prompt.encode()).hexdigest()[:6]
    return ANSWER.format(extra=f"opacity {mark}", matched=f"finding {mark}")


@pytest.fixture
def completion_server():
    """Starts servers; they stop with the test."""
    servers = []

    def start(**settings) -> CompletionServer:
        servers.append(CompletionServer(**settings))
        threading.Thread(
            target=servers[-1].serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class ChatServer(ThreadingHTTPServer):
    """Speaks /v1/chat/completions and the batch API of OpenAI on loopback, and says of a report
    that all of it speaks of the lungs.

    `script`: what to do with the next requests instead of answering, or that by a request's number;
    see `_Chat.act`. `spoilt`: the same for all requests about a report. `refuses`: of a request's
    fields the status and error (or, as bytes, body) that it gets, or None. `asked`: the questions
    in order of arrival, at `times`; `answered`: those whose answer found its asker still there;
    `bodies`: all fields; `billed`: (tokens in, tokens out) of each answer, by `tokens` of a
    request's fields. `batch_script`: what becomes of the next batches, "expire" with every other
    line answered, "expire all" with none, "fail" as a whole, "hang up" when one is made; a set of
    numbers = these lines fail; each is ended when it was looked at `looks` times.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        delay: float = 0.0,
        script=(),
        refuses=lambda body: None,
        tokens=None,
        batch_script=(),
        looks: int = 1,
    ):
        super().__init__(("127.0.0.1", 0), _Chat)
        self.delay, self.refuses = delay, refuses
        self.script, self.batch_script, self.looks = (
            script if callable(script) else list(script),
            list(batch_script),
            looks,
        )
        self.tokens = tokens or (lambda body: (len(question_of(body)) // 4, 20))
        self.asked, self.times, self.answered, self.bodies, self.billed, self.keys = (
            [],
            [],
            [],
            [],
            [],
            set(),
        )
        self.spoilt: dict[str, object] = {}
        self.files, self.batches, self.now, self.most, self.lock = {}, {}, 0, 0, threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        pass  # an asker that was killed

    def completion(self, body: dict, text: str | None = None, **choice) -> dict:
        usage = (
            dict(zip(("prompt_tokens", "completion_tokens"), self.tokens(body), strict=True))
            if self.tokens(body)
            else None
        )
        message = {"role": "assistant", "content": spoken(body) if text is None else text}
        told = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "usage": usage,
        }
        return told | {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"} | choice]
        }


def question_of(body: dict) -> str:
    return json.dumps(body["messages"])


def spoken(body: dict) -> str:
    """The answer to a request, which hangs on its report alone."""
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    return json.dumps(
        {
            "bone": "",
            "heart": "",
            "lung": text.partition("Report: ")[2],
            "mediastinal": "",
            "others": "",
        }
    )


class _Chat(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # 40 ms for each answer

    def log_message(self, *_):
        pass

    def do_POST(self):
        server, content = self.server, self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/chat/completions":
            with server.lock:
                server.keys.add(self.headers["Authorization"])
                made = (
                    self.upload(content)
                    if self.path == "/v1/files"
                    else self.batch(json.loads(content))
                )
            if made:
                self.say(made)
            return
        body = json.loads(content)
        with server.lock:
            number = len(server.asked)
            server.asked.append(question_of(body))
            server.times.append(time.monotonic())
            server.keys.add(self.headers["Authorization"])
            server.bodies.append(body)
            server.now += 1
            server.most = max(server.most, server.now)
            if callable(server.script):
                act = server.script(number)
            else:
                act = server.script.pop(0) if server.script else 200
            act = server.spoilt.get(json.loads(spoken(body))["lung"], act)
        time.sleep(server.delay(number) if callable(server.delay) else server.delay)
        try:
            self.act(act, body)
        finally:
            with server.lock:
                server.now -= 1

    def act(self, act, body: dict) -> None:
        """200, another status, (status, headers), (status, headers, error); "hang up", "late", "not
        JSON", "no choices", "empty", "truncated", "cut" = of the body half is sent, "drip" = it is
        sent letter by letter; "tell" = a refusal that repeats the key; a dict: fields of the
        choice, or with `text` what is answered, in which {key} is the key.
        """
        server = self.server
        status, headers, error = (*act, {})[:3] if isinstance(act, tuple) else (act, {}, {})
        key = self.headers["Authorization"]
        if refused := act == 200 and server.refuses(body):
            status, error = refused
        if act == "hang up":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif act == "late":
            select.select([self.connection], [], [], 10)  # readable = closed by its asker
            self.close_connection = True
        elif act == "not JSON":
            self.say("<html>")
        elif act == "no choices":
            self.say(server.completion(body) | {"choices": []})
        elif act == "tell":
            self.say({"error": {"message": f"{'x' * 170} no to {key}"}}, 400)
        elif isinstance(status, int) and status >= 400:
            body = (
                error
                if isinstance(error, bytes)
                else {"error": {"message": f"so the server says: {status}"} | error}
            )
            self.say(body, status, headers)
        else:
            text = (
                {"empty": "", "truncated": spoken(body)[: len(spoken(body)) // 2]}.get(act)
                if isinstance(act, str)
                else None
            )
            choice = dict(act) if isinstance(act, dict) else {}
            text = choice.pop("text").replace("{key}", key) if "text" in choice else text
            self.say(server.completion(body, text, **choice), 200, headers, act, question_of(body))

    def say(
        self, body, status: int = 200, headers=(), act=None, question: str | None = None
    ) -> None:
        content = (
            body
            if isinstance(body, bytes)
            else (body if isinstance(body, str) else json.dumps(body)).encode()
        )
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **dict(headers),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if act == "drip":
            for letter in content:
                self.wfile.write(bytes([letter]))
                time.sleep(0.02)
        elif act == "cut":
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif not select.select([self.connection], [], [], 0)[
            0
        ]:  # readable now = closed by its asker
            if question:
                usage = body["usage"]
                self.server.answered.append(question)
                self.server.billed += (
                    [(usage["prompt_tokens"], usage["completion_tokens"])] if usage else []
                )
            self.wfile.write(content)

    # The batch API

    def upload(self, content: bytes) -> dict:
        message = email.message_from_bytes(
            f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + content
        )
        (file,) = [
            part.get_payload(decode=True) for part in message.get_payload() if part.get_filename()
        ]
        id = f"file-{len(self.server.files)}"
        self.server.files[id] = file
        return {
            "id": id,
            "object": "file",
            "bytes": len(file),
            "created_at": 1,
            "filename": "x",
            "purpose": "batch",
            "status": "processed",
        }

    def batch(self, sent: dict) -> dict | None:
        server = self.server
        lines = [json.loads(line) for line in server.files[sent["input_file_id"]].splitlines()]
        act = server.batch_script.pop(0) if server.batch_script else None
        id = f"batch-{len(server.batches)}"
        out, failed = [], []
        for number, line in enumerate(lines if act != "fail" else ()):
            body = line["body"]
            said = {
                "id": f"r{number}",
                "custom_id": line["custom_id"],
                "error": None,
                "response": None,
            }
            server.asked.append(question_of(body))
            server.bodies.append(body)
            if refused := server.refuses(body):
                error = {
                    "message": f"{self.headers['Authorization']}: no",
                    "code": None,
                    "param": None,
                } | refused[1]
                failed.append(
                    said | {"response": {"status_code": refused[0], "body": {"error": error}}}
                )
            elif isinstance(act, set) and number in act:
                failed.append(
                    said
                    | {
                        "response": {
                            "status_code": 500,
                            "body": {"error": {"message": "it happens"}},
                        }
                    }
                )
            elif act == "expire all" or act == "expire" and number % 2:
                failed.append(
                    said
                    | {
                        "error": {
                            "code": "batch_expired",
                            "message": "This request could not be executed in time.",
                        }
                    }
                )
            else:
                server.answered.append(question_of(body))
                server.billed.append(server.tokens(body))
                out.append(
                    said | {"response": {"status_code": 200, "body": server.completion(body)}}
                )
        made = {
            "id": id,
            "object": "batch",
            "created_at": 1,
            "status": "validating",
            "metadata": sent["metadata"],
            "errors": None,
        }
        made |= {name: sent[name] for name in ("endpoint", "input_file_id", "completion_window")}
        for name, said in (("output_file_id", out), ("error_file_id", failed)):
            made[name] = f"{id}-{name}" if said else None
            server.files[made[name]] = "".join(
                json.dumps(line, ensure_ascii=False) + "\n" for line in said
            ).encode()
        made["ended"] = {"expire": "expired", "expire all": "expired", "fail": "failed"}.get(
            act if isinstance(act, str) else None, "completed"
        )
        if act == "fail":
            made["errors"] = {
                "object": "list",
                "data": [{"code": "invalid", "message": "no such model", "line": 1, "param": None}],
            }
        server.batches[id] = made | {"looks": 0, "lines": lines}
        if act == "hang up":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        return self.shown(id)

    def shown(self, id: str) -> dict:
        return {
            name: value
            for name, value in self.server.batches[id].items()
            if name not in ("looks", "lines", "ended")
        }

    def do_GET(self):
        server, path = self.server, self.path.partition("?")[0].removeprefix("/v1/").split("/")
        if path == ["batches"]:
            newest_first = [self.shown(id) for id in reversed(server.batches)]
            self.say({"object": "list", "data": newest_first, "has_more": False})
        elif path[0] == "batches" and path[1] in server.batches:
            batch = server.batches[path[1]]
            batch["looks"] += 1
            batch["status"] = batch["ended"] if batch["looks"] >= server.looks else "in_progress"
            self.say(self.shown(path[1]))
        elif path[0] == "files" and path[1] in server.files:
            self.say(server.files[path[1]])
        else:
            self.say({"error": {"message": "no such thing"}}, 404)


@pytest.fixture
def chat_server():
    """Starts servers; they stop with the test."""
    servers = []

    def start(**settings) -> ChatServer:
        servers.append(ChatServer(**settings))
        threading.Thread(
            target=servers[-1].serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


CHAT = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n"
    "{% for part in turn['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory) -> Path:
    """A folder with an untrained Qwen2-VL: 2 layers, 64 wide, byte-level BPE of some phantom
    reports.
    """
    pytest.importorskip("transformers")
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from xraygen.engines.processor import Qwen2VLProcessor
    from xraygen.prompting.conversation import completion
    from xraygen.sources.phantom import phantom

    marks = [
        "endoftext",
        "im_start",
        "im_end",
        "vision_start",
        "vision_end",
        "image_pad",
        "video_pad",
    ]
    special = [f"<|{mark}|>" for mark in marks]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    made = [phantom(0, k) for k in range(100)]
    texts = [text for one in made for text in (one.report, completion(one.reference))]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=1000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=special,
        chat_template=CHAT,
    )
    ids = dict(zip(marks, tokenizer.convert_tokens_to_ids(special), strict=True))
    rope = {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1e6}
    text = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
    }
    config = Qwen2VLConfig(
        text_config=text
        | {"vocab_size": len(tokenizer), "max_position_embeddings": 2048, "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "hidden_size": 64,
            "patch_size": 14,
        },
        **{
            f"{name}_token_id": ids[mark]
            for name, mark in (("image", "image_pad"), ("video", "video_pad"))
        },
        **{f"{mark}_token_id": ids[mark] for mark in ("vision_start", "vision_end")},
    )
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(config)
    with torch.no_grad():
        for (
            name,
            weight,
        ) in (
            model.named_parameters()
        ):  # so wide that answers differ from case to case, and with the pictures
            if weight.ndim > 1:
                weight.normal_(0, 1.0 if "embed_tokens" in name else 0.2)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = (
        ids["im_end"],
        ids["endoftext"],
    )
    folder = tmp_path_factory.mktemp("vlm") / "tiny"
    model.save_pretrained(folder)
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112})
    Qwen2VLProcessor(images, tokenizer, chat_template=CHAT).save_pretrained(folder)
    return folder
