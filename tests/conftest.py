"""What several tests share: the project's folder, a small language model, a server of completions."""

import csv
import hashlib
import importlib.util
import json
import os
import select
import socket
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# The models of the tests are so small that threads only wait for one another, long where others use the machine too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]


def recorded_rows() -> list[dict]:
    """Every recorded answer of GREEN in ../shared/recorded."""
    rows = []
    for path in sorted((ROOT.parent / "shared" / "recorded").glob("green_*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file)
    return rows


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> Path:
    """A folder with a small Llama of random weights, as bench/green.py makes it."""
    pytest.importorskip("green_score")
    from xraygen.judges.green_answers import prompt

    spec = importlib.util.spec_from_file_location("bench_green", ROOT / "bench" / "green.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    folder = tmp_path_factory.mktemp("model") / "llama"
    bench.random_llama(folder, [prompt("Small left effusion, heart size normal.", "No focal consolidation or pneumothorax.")])
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
    """Speaks /v1/completions on loopback. `asked`: the prompts in order of arrival; `answered`: those whose answer found its asker
    still there; `script`: what to do with the next requests instead of answering: a status, or (status, headers), or "hang up",
    "not JSON", "no choices"."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, delay: float = 0.0, script: Sequence = ()):
        super().__init__(("127.0.0.1", 0), _Completions)
        self.delay, self.script = delay, list(script)
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
            act = server.script.pop(0) if server.script else 200
        time.sleep(server.delay)
        try:
            self.act(act, asked)
        finally:
            with server.lock:
                server.now -= 1

    def act(self, act, asked: dict) -> None:
        status, headers = act if isinstance(act, tuple) else (act, {})
        body = {"choices": [{"text": answer_to(asked["prompt"]), "index": 0, "finish_reason": "stop"}]}
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
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
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
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


CHAT = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{% for part in turn['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory) -> Path:
    """A folder with an untrained Qwen2-VL: 2 layers, 64 wide, byte-level BPE of some phantom reports."""
    pytest.importorskip("transformers")
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from xraygen.sources.phantom import phantom
    from xraygen.vlm.conversation import completion
    from xraygen.vlm.processor import Qwen2VLProcessor

    marks = ["endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad"]
    special = [f"<|{mark}|>" for mark in marks]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = [phantom(0, k) for k in range(100)]
    texts = [text for one in made for text in (one.report, completion(one.reference))]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1000, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
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
        text_config=text | {"vocab_size": len(tokenizer), "max_position_embeddings": 2048, "rope_parameters": rope},
        vision_config={"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2, "hidden_size": 64, "patch_size": 14},
        **{f"{name}_token_id": ids[mark] for name, mark in (("image", "image_pad"), ("video", "video_pad"))},
        **{f"{mark}_token_id": ids[mark] for mark in ("vision_start", "vision_end")},
    )
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():  # so wide that answers differ from case to case, and with the pictures
            if weight.ndim > 1:
                weight.normal_(0, 1.0 if "embed_tokens" in name else 0.2)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = ids["im_end"], ids["endoftext"]
    folder = tmp_path_factory.mktemp("vlm") / "tiny"
    model.save_pretrained(folder)
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112})
    Qwen2VLProcessor(images, tokenizer, chat_template=CHAT).save_pretrained(folder)
    return folder
