"""Greedy generation: what the model says of each prompt, whatever the batch and however many
devices, and memory that runs out.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import chosen_up_to_rounding

from xraygen.core.errors import UserError
from xraygen.engines.generation import Placement, Task, generate, placement

torch = pytest.importorskip("torch")
CPU = Placement(["cpu"], "float32", "")
END = 2


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    draw = torch.Generator().manual_seed(0)
    return [
        torch.randint(3, 500, (length,), generator=draw).tolist()
        for length in (40, 7, 90, 33, 60, 12, 21)
    ]


@pytest.fixture(scope="module")
def model(tiny_llama):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()


def are_the_models(
    model, prompts: list[list[int]], answers: dict[int, list[int]], limit: int = 150
) -> bool:
    """Whether these are the model's answers to the prompts, up to rounding, each up to the end
    token or the limit.
    """
    for index, answer in answers.items():
        whole = [*answer, END] if len(prompts[index]) + len(answer) < limit else answer
        if END in answer or not chosen_up_to_rounding(
            model, {"input_ids": torch.tensor(prompts[index])}, whole
        ):
            return False
    return sorted(answers) == list(range(len(prompts)))


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_every_batch_says_what_each_prompt_gets_alone(tiny_llama, prompts, model, batch):
    pairs = list(generate(Task(str(tiny_llama), None, END, 150, batch), CPU, prompts))
    assert len(pairs) == len(prompts) and are_the_models(model, prompts, dict(pairs))
    lengths = {len(answer) + len(prompts[index]) for index, answer in pairs}
    assert max(lengths) == 150 and min(lengths) < 150, "some end by themselves, some at the limit"
    moved = {index: pairs[at - 1][1] for at, (index, _) in enumerate(pairs)}
    assert not are_the_models(model, prompts, moved), "the check itself"


def test_two_devices_share_the_work_and_say_the_same(tiny_llama, prompts, model):
    place = Placement(["cpu", "cpu"], "float32", "")
    assert are_the_models(
        model, prompts, dict(generate(Task(str(tiny_llama), None, END, 150, 2), place, prompts))
    )


def test_what_two_devices_cannot_load_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be loaded"):
        list(
            generate(
                Task(str(tmp_path), None, END, 150, 2),
                Placement(["cpu", "cpu"], "float32", ""),
                [[5], [6], [7]],
            )
        )


def test_answers_come_as_they_end(tiny_llama, prompts):
    lengths = [
        len(answer)
        for _, answer in generate(Task(str(tiny_llama), None, END, 150, 16), CPU, prompts)
    ]
    assert lengths == sorted(lengths) and len(set(lengths)) > 3


def test_placement_says_why(tiny_llama):
    place = placement(Task(str(tiny_llama), None, END, 150, 4))
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert place.devices == ["cpu"] and place.dtype == "float32" and "no GPU" in place.reason


def test_a_folder_without_safetensors_is_refused(tiny_llama, tmp_path):
    """Pickled weights are never loaded."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_llama / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded"):
        list(generate(Task(str(tmp_path), None, END, 150, 4), CPU, [[5, 6]]))


SHARED = """
import signal, sys
from xraygen.core.errors import one_line
from xraygen.engines.generation import Placement, Task, generate

if __name__ == "__main__":
    # A shell that starts the tests in the background makes them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with one_line():
        task = Task(sys.argv[1], None, -1, 2000, 1)
        prompts = [[5, 6], *([[7] * 1500] * 50)]
        for index, _ in generate(task, Placement(["cpu", "cpu"], "float32", ""), prompts):
            print(index, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_copies_end_with_their_parent_whatever_ends_it(tiny_llama, tmp_path, sent):
    (tmp_path / "shared.py").write_text(SHARED)
    command = [sys.executable, "shared.py", tiny_llama]
    running = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with running.stdout:
        running.stdout.readline()
        os.killpg(running.pid, sent) if sent == signal.SIGINT else running.send_signal(sent)
        assert (
            running.wait(10) == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[sent]
        )
    until = time.monotonic() + 10
    while alive := [
        pid for pid in filter(str.isdigit, os.listdir("/proc")) if _session(pid) == running.pid
    ]:
        assert time.monotonic() < until, alive
        time.sleep(0.1)


def _session(pid: str) -> int | None:
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return None if state == "Z" else int(session)


OUT_OF_MEMORY = """
import json, resource, sys
from xraygen.engines.generation import CausalModel, Task
model = CausalModel(Task(sys.argv[1], None, 2, 1100, 64), "cpu", "float32")
prompts = [[5 + row % 7] * 1090 for row in range(64)]
list(CausalModel(Task(sys.argv[1], None, 2, 1100, 4), "cpu", "float32").generate(prompts[:8]))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 220 * 2**20, -1))
answers = dict(model.generate(prompts))
assert sorted(answers) == list(range(64)) and model.batch < 64
print(json.dumps([answers[row] for row in range(64)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
def test_out_of_memory_halves_the_batch_and_goes_on(tiny_llama, model):
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, tiny_llama], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "cpu: out of memory; batches of 32 from here on" in done.stderr
    answers = dict(enumerate(json.loads(done.stdout)))
    assert are_the_models(model, [[5 + row % 7] * 1090 for row in range(64)], answers, limit=1100)


def test_samples_cover_the_distribution_at_every_place():
    from xraygen.engines.decoding import drawn_at, strata

    samples = 400
    numbers = strata(samples, 3)
    assert all(
        torch.equal((column * samples).long().sort().values, torch.arange(samples))
        for column in numbers.T
    )
    assert not torch.equal(numbers[:, 0].argsort(), numbers[:, 1].argsort()) and torch.equal(
        strata(samples, 9)[:, :3], numbers
    )
    chances = torch.tensor([[0.5, 0.0, 0.2, 0.3, 0.0], [0.0, 0.01, 0.0, 0.99, 0.0], [0.2] * 5])
    chosen = drawn_at(chances.log().expand(samples, 3, 5), numbers)
    counts = torch.stack([column.bincount(minlength=5) for column in chosen.T])
    assert (counts - samples * chances).abs().max() <= 1 and counts[chances == 0].sum() == 0
