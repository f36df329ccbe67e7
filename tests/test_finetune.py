"""Fine-tuning: what the loss is over, what a step takes, the same weights whatever happens on the
way, the best pass kept.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import forked
import pytest
from conftest import annotation
from PIL import Image as Pictures
from pydantic import ValidationError

from xraygen.core.errors import UserError
from xraygen.core.json_lines import first_problem, read_json, read_jsonl, write_jsonl
from xraygen.core.study import Image, Study
from xraygen.sources.phantom import draw, phantom

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("dvclive")

from xraygen.engines.model import load
from xraygen.engines.precision import resolve
from xraygen.prompting import encoding
from xraygen.training import loss, trainer
from xraygen.training import network as networks
from xraygen.training import run as run_of_training
from xraygen.training.batches import batched, plan
from xraygen.training.checkpoints import last_checkpoint
from xraygen.training.dataset import Rows, precompute_views
from xraygen.training.finetune import finetune
from xraygen.training.history import best, patience_is_over
from xraygen.training.merge import merge
from xraygen.training.params import FinetuneParams

PARAMS = FinetuneParams(
    base="models/tiny",
    method="lora",
    targets=["language"],
    lora_r=4,
    lora_alpha=8,
    lora_dropout=0.1,
    inputs="image+report",
    max_views=1,
    max_pixels=56 * 56,
    max_tokens=600,
    word_swap_rate=0.5,
    learning_rate=3e-3,
    lr_scheduler_type="cosine",
    warmup_ratio=0.1,
    epochs=3,
    max_batch_tokens=1200,
    gradient_accumulation_steps=1,
    gradient_checkpointing=False,
    precision="auto",
    optimizer="adamw_torch_fused",
    early_stopping_patience=None,
    seed=0,
)
RUN = """
import sys
from pathlib import Path
from xraygen.core.json_lines import read_jsonl, write_json
from xraygen.core.study import Study
from xraygen.training.finetune import finetune
from xraygen.training.params import FinetuneParams

train, dev = (list(read_jsonl(f"{split}.jsonl", Study)) for split in ("train", "dev"))
settings = FinetuneParams.model_validate_json(sys.argv[1])
metrics = finetune(settings, train, dev, Path(), Path("adapter"), Path("curves"))
if metrics:
    write_json("metrics.json", metrics)
"""


def params(**changes) -> FinetuneParams:
    return FinetuneParams(**(PARAMS.model_dump() | changes))


def made(root: Path, ks: range, split: str) -> list[Study]:
    """Phantom studies with a frontal view of 56 pixels; every fifth has none."""
    studies = []
    for k in ks:
        one, images = phantom(0, k), []
        if k % 5:
            Pictures.fromarray(draw(one.findings, 0, k, 56)[0]).save(root / f"{k}.png")
            images = [Image(path=f"{k}.png", projection="frontal")]
        studies.append(
            Study(
                id=one.id,
                uid=one.uid,
                split=split,
                report=one.report,
                images=images,
                reference=one.reference,
            )
        )
    return studies


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_vlm) -> Path:
    """A folder with models/tiny and studies to train on."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(tiny_vlm, folder / "models" / "tiny")
    write_jsonl(folder / "train.jsonl", made(folder, range(30), "train"))
    write_jsonl(folder / "dev.jsonl", made(folder, range(30, 38), "dev"))
    return folder


@pytest.fixture
def here(project, tmp_path, monkeypatch) -> Path:
    """A copy of it, in which nothing was trained."""
    folder = tmp_path / "here"
    shutil.copytree(project, folder)
    monkeypatch.chdir(folder)
    return folder


def studies(folder: Path, split: str) -> list[Study]:
    return list(read_jsonl(folder / f"{split}.jsonl", Study))


def run(folder: Path, settings: FinetuneParams = PARAMS) -> dict:
    metrics = finetune(
        settings,
        studies(folder, "train"),
        studies(folder, "dev"),
        Path(),
        Path("adapter"),
        Path("curves"),
    )
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return metrics


def results(folder: Path) -> dict[str, bytes | dict]:
    """What has to be the same on every run: all but how fast it went."""
    paths = [*folder.glob("adapter/**/*"), *folder.glob("curves/**/*")]
    made = {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}
    return made | {
        "metrics": {
            name: value
            for name, value in read_json(folder / "metrics.json").items()
            if name != "speed"
        }
    }


@pytest.fixture(scope="module")
def undisturbed(project, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed") / "here"
    shutil.copytree(project, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(folder)
    return results(folder)


# What is learned


def test_loss_is_that_of_each_completion_alone(here):
    network, processor = load("models/tiny", dtype=torch.float32, device="cpu")
    rows, _ = encoding.examples(
        processor, studies(here, "train")[:7], Path(), "image+report", "Annotate.", 1, 600
    )
    assert len({len(row["input_ids"]) for row in rows}) > 2 and any(
        "pixel_values" not in row for row in rows
    )
    expected = 0.0
    for row in rows:
        ids = torch.cat([row["input_ids"], row["completion"]])[None]
        types = torch.cat(
            [
                row["mm_token_type_ids"],
                torch.zeros_like(row["completion"], dtype=row["mm_token_type_ids"].dtype),
            ]
        )[None]
        seen = {name: row[name] for name in ("pixel_values", "image_grid_thw") if name in row}
        with torch.no_grad():
            said = network(input_ids=ids, mm_token_type_ids=types, **seen).logits[0].log_softmax(-1)
        start = len(row["input_ids"])
        expected -= sum(
            said[start + i - 1, token].item() for i, token in enumerate(row["completion"])
        )
    with torch.no_grad():
        found = loss.completion_loss(
            network, encoding.collate(rows, processor.tokenizer.pad_token_id)
        )
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_a_row_is_in_every_pass_once_and_batches_keep_to_their_tokens():
    draw = random.Random(1)
    lengths = [(draw.randint(20, 300), draw.randint(10, 90)) for _ in range(300)]
    batches, ends = plan(lengths, params(epochs=3, max_batch_tokens=2000), per_step=1)
    assert ends[-1] == len(batches) and len(ends) == 3
    passes = [batches[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    for one in passes:
        assert sorted(index for batch in one for index in batch) == list(range(300))
    assert passes[0] != passes[1]
    assert all(width(batch, lengths) <= 2000 for batch in batches)
    unsorted = batched(range(300), lengths, 2000)
    assert sum(width(batch, lengths) for batch in batches) / 3 < 0.85 * sum(
        width(batch, lengths) for batch in unsorted
    )
    shared, shared_ends = plan(lengths, params(epochs=3, max_batch_tokens=2000), per_step=4)
    assert (
        shared == batches[: len(shared)]
        and len(batches) - len(shared) < 4
        and len(shared_ends) == 3
    )
    assert len(plan(lengths, params(max_steps=5), per_step=2)[0]) == 10
    with pytest.raises(UserError, match="lower gradient_accumulation_steps"):
        plan(lengths[:3], params(epochs=1), per_step=64)


def width(batch: list[int], lengths: list[tuple[int, int]]) -> int:
    """Tokens with padding."""
    return len(batch) * sum(
        max(column) for column in zip(*(lengths[i] for i in batch), strict=True)
    )


def test_what_cannot_be_learned_from_is_excluded_and_counted(here):
    some = studies(here, "train")
    some[1] = some[1].model_copy(update={"reference": None})
    some[2] = some[2].model_copy(update={"report": some[2].report * 20})
    processor = load("models/tiny", device="cpu")[1]
    rows = Rows(processor, some, params(max_tokens=400), Path(), "encode")
    assert len(rows) == 28 and rows.excluded == {"no reference": 1, "more than 400 tokens": 1}
    rows = Rows(processor, some, params(inputs="image"), Path(), "encode")
    assert rows.excluded == Counter({"the study has no image": 6, "no reference": 1})
    facts = rows.facts()
    assert facts["examples"] == 23 and facts["completion_tokens"] == sum(
        len(row["completion"]) for row in map(rows.__getitem__, range(23))
    )


@pytest.mark.parametrize("trains", [False, True])
def test_a_frozen_vision_tower_sees_the_views_once_and_the_loss_stays(here, monkeypatch, trains):
    network, processor = load("models/tiny", device="cpu", dtype=torch.float32)
    for name, weight in network.named_parameters():
        weight.requires_grad = "visual" not in name or (trains and "merger" in name)
    rows, dev = (
        Rows(processor, studies(here, split), params(max_views=1), Path(), split)
        for split in ("train", "dev")
    )
    wide = rows[1]["pixel_values"].shape[1]

    def losses() -> list[float]:
        with torch.no_grad():
            return [
                loss.completion_loss(network, encoding.collate([r[i] for i in range(8)], 0)).item()
                for r in (rows, dev)
            ]

    before = losses()
    monkeypatch.setattr("xraygen.training.dataset._VIEWS_AT_ONCE", 3)
    precompute_views(network, rows, dev)
    assert losses() == pytest.approx(before, rel=1e-5)
    assert rows[1]["pixel_values"].shape[1] == (
        wide if trains else network.config.text_config.hidden_size
    )


def test_pictures_that_do_not_fit_into_memory_are_read_again(here, monkeypatch):
    processor = load("models/tiny", device="cpu")[1]
    whole = Rows(processor, studies(here, "dev"), PARAMS, Path(), "encode")
    monkeypatch.setattr("xraygen.training.dataset._IN_MEMORY", 0)
    again = Rows(processor, studies(here, "dev"), PARAMS, Path(), "encode")
    assert again.num_workers and not whole.num_workers
    for index in range(len(whole)):
        assert all(torch.equal(value, again[index][name]) for name, value in whole[index].items())


# The same weights


def test_other_pictures_under_the_same_names_are_trained_on_anew(here, undisturbed):
    run(here)
    for path in here.glob("*.png"):
        Pictures.new("L", (56, 56), 255).save(path)
    run(here)
    name = "adapter/adapter_model.safetensors"
    assert results(here)[name] != undisturbed[name]


def test_two_runs_give_the_same_bytes(here, undisturbed, monkeypatch):
    left_to_the_model = []

    def without_positions(network, batch):
        given = networks.with_positions(network, batch).keys() - batch.keys()
        left_to_the_model.append(given)
        return batch

    monkeypatch.setattr("xraygen.training.trainer.with_positions", without_positions)
    metrics = run(here)
    assert results(here) == undisturbed
    assert {"position_ids"} in left_to_the_model
    assert (
        metrics["best_step"]
        == metrics["steps"]
        == metrics["planned_steps"]
        == metrics["speed"]["steps"]
        > 8
    )
    assert (
        metrics["speed"]["tokens_per_second"]
        > metrics["speed"]["studies_per_second"]
        > 0
        < metrics["speed"]["peak_memory_gib"]
    )
    first, *_, last = (here / "curves/plots/metrics/train/loss.tsv").read_text().splitlines()[1:]
    assert float(last.split()[1]) < float(first.split()[1])
    said = read_json(here / "adapter" / "training.json")
    assert (
        said["base"]
        == read_json(here / "adapter" / "adapter_config.json")["base_model_name_or_path"]
        == "models/tiny"
    )
    actual = {"precision": resolve("auto").name, "processes": 1}
    asked = PARAMS.model_dump(mode="json") | actual
    assert said["data"]["train"] == 30 and said["params"] == asked
    shutil.rmtree(here / "adapter")  # as DVC does before a stage runs
    monkeypatch.setattr(run_of_training, "train", None)  # what was paid for is kept
    run(here)
    assert results(here) == undisturbed
    assert not list(here.glob(".cache/finetune/*/checkpoint-*"))


@pytest.mark.parametrize("damage", ["none", "truncated", "half-written"])
def test_goes_on_from_the_last_whole_checkpoint(here, undisturbed, monkeypatch, damage):
    seal, sealed = trainer.seal, []

    def stop(folder):
        """In the middle of the third checkpoint, or just after the second."""
        if len(sealed) < 2:
            seal(folder)
            sealed.append(folder)
        if len(sealed) == 2 and (damage != "none" or folder not in sealed):
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "seal", stop)
    with pytest.raises(KeyboardInterrupt):
        run(here)
    (folder,) = here.glob(".cache/finetune/*")
    if damage == "truncated":
        (sealed[1] / "optimizer.pt").write_bytes((sealed[1] / "optimizer.pt").read_bytes()[:-100])
    if damage == "half-written":
        (sealed[1] / "trainer_state.json").unlink()
        (folder / "best.part").mkdir()
        (folder / "done.part").mkdir()
    whole = sealed[1] if damage == "none" else sealed[0]
    monkeypatch.setattr(trainer, "seal", seal)
    seen = []
    monkeypatch.setattr(
        run_of_training,
        "last_checkpoint",
        lambda path: seen.append(last_checkpoint(path)) or seen[-1],
    )
    run(here)
    assert seen == [here / whole] * 2
    assert results(here) == undisturbed


@pytest.mark.parametrize("optimizer", ["muon", "adamw_torch_fused"])
def test_so_does_a_whole_model(here, monkeypatch, optimizer):
    settings, seal, made, muon = (
        params(method="full", optimizer=optimizer, epochs=2),
        trainer.seal,
        [],
        trainer.MuonWithAdamW,
    )
    beside = shutil.copytree(here, here.with_name("beside"))

    def stop(folder):
        seal(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "seal", stop)
    monkeypatch.setattr(
        trainer, "MuonWithAdamW", lambda *given: made.append(muon(*given)) or made[-1]
    )
    with pytest.raises(KeyboardInterrupt):
        run(here, settings)
    monkeypatch.setattr(trainer, "seal", seal)
    metrics = run(here, settings)
    assert metrics["speed"]["steps"] < metrics["steps"] and len(made) == 2 * (optimizer == "muon")
    monkeypatch.chdir(beside)
    run(beside, settings)
    assert results(here) == results(beside)


@pytest.mark.slow
def test_killed_three_times_it_ends_with_the_same_weights(here, monkeypatch):
    settings, draw = params(epochs=12), random.Random()
    beside = here.with_name("beside")
    shutil.copytree(here, beside)
    (here / "run.py").write_text(RUN)
    for _ in range(3):
        before = steps_kept(here)
        process = forked.start("run", settings.model_dump_json(), cwd=here)
        while process.is_alive() and steps_kept(here) <= before:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.6))
        assert process.is_alive(), "over before it was killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    process = forked.start("run", settings.model_dump_json(), cwd=here)
    process.join()
    assert process.exitcode == 0
    metrics = read_json(here / "metrics.json")
    assert metrics["speed"]["steps"] < metrics["steps"]
    # In this process, whose hash seed is another one.
    monkeypatch.chdir(beside)
    run(beside, settings)
    assert results(here) == results(beside)


def steps_kept(folder: Path) -> int:
    return max(
        (
            int(path.parent.name.partition("-")[2])
            for path in folder.glob(".cache/finetune/*/*/files.json")
        ),
        default=0,
    )


@pytest.mark.slow
def test_two_processes_see_what_one_sees_with_twice_the_accumulation(here):
    beside = here.with_name("beside")
    shutil.copytree(here, beside)
    plain = params(
        lora_dropout=0.0, precision="float32", targets=["language", "vision", "projector"]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(beside)
        run(beside, plain.model_copy(update={"gradient_accumulation_steps": 2}))
    (here / "run.py").write_text(RUN)
    launcher = "python -m torch.distributed.run --standalone --nproc_per_node=2 --no-python"
    subprocess.run(
        [*launcher.split(), "python", "-m", "run", plain.model_dump_json()],
        cwd=here,
        env=os.environ | {"PATH": forked.path()},
        check=True,
    )
    assert read_json(here / "metrics.json")["speed"]["device"].startswith("2 processes on ")
    for name in ("train/loss", "dev/loss"):
        here_, beside_ = (
            (folder / f"curves/plots/metrics/{name}.tsv").read_text().split()[2:]
            for folder in (here, beside)
        )
        assert len(here_) == len(beside_) > 2
        assert list(map(float, here_)) == pytest.approx(list(map(float, beside_)), abs=1e-3)
    assert results(here).keys() == results(beside).keys()


# The best


def test_the_best_pass_is_kept_and_training_stops_when_dev_gets_no_better(here):
    strange = [
        one.model_copy(update={"reference": annotation(lung="0123456789 " * 9)})
        for one in studies(here, "dev")
    ]
    write_jsonl(
        here / "dev.jsonl", strange
    )  # what is learned of the others makes these less likely, soon or late
    metrics = run(
        here, params(learning_rate=0.05, epochs=12, early_stopping_patience=1, precision="float32")
    )
    assert metrics["best_step"] < metrics["steps"] < metrics["planned_steps"]
    network, processor = load("adapter", dtype=torch.float32, device="cpu")
    rows, _ = encoding.examples(
        processor, studies(here, "dev"), Path(), "image+report", PARAMS.prompt, 1, 600
    )
    with torch.no_grad():
        found = loss.completion_loss(
            network, encoding.collate(rows, processor.tokenizer.pad_token_id)
        )
    assert found.item() / metrics["dev"]["completion_tokens"] == pytest.approx(
        metrics["dev_loss"], abs=2e-4
    )


def test_patience():
    history = [
        {"step": 1, "loss": 0.1},
        *({"step": step, "dev_loss": loss} for step, loss in enumerate([3.0, 2.0, 2.0, 2.5])),
    ]
    assert best(history)["step"] == 1  # the earliest of equals
    assert (
        patience_is_over(history, 2)
        and not patience_is_over(history, 3)
        and not patience_is_over(history, None)
    )
    assert not patience_is_over([], 1)


def test_a_loss_that_is_not_finite_ends_the_run_in_one_line(here):
    with pytest.raises(UserError, match="the loss is NaN or infinite; lower learning_rate"):
        run(
            here,
            params(
                learning_rate=1e30,
                warmup_ratio=0.0,
                lr_scheduler_type="constant_with_warmup",
                precision="float32",
            ),
        )
    assert not (here / "adapter").exists()


# What comes out


def test_auto_is_the_precision_it_stands_for_and_says_so(here, capsys):
    chosen = resolve("auto")
    speed = run(here, params(precision="auto", epochs=1, max_steps=2))["speed"]
    said = [line for line in capsys.readouterr().err.splitlines() if "precision" in line]
    assert said == [chosen.message] and speed["precision"] == chosen.name
    assert read_json(here / "adapter/training.json")["params"]["precision"] == chosen.name
    first = results(here)
    run(here, params(precision=chosen.name, epochs=1, max_steps=2))
    assert results(here) == first and len(list(here.glob(".cache/finetune/*"))) == 1, (
        "the same training"
    )
    other = {"bfloat16": "float32", "float32": "bfloat16"}[chosen.name]
    run(here, params(precision=other, epochs=1, max_steps=2))
    assert read_json(here / "adapter/training.json")["params"]["precision"] == other
    assert len(list(here.glob(".cache/finetune/*"))) == 2, "another training"


def test_a_word_for_a_commit_is_kept_as_the_commit(here, tmp_path, monkeypatch):
    """As in the hub's cache, which is all that is looked at offline: main is moved from one commit
    to the next.
    """
    folder, commits = tmp_path / "hub/models--someone--tiny", ["1" * 40, "2" * 40]
    for commit in commits:
        shutil.copytree(here / "models/tiny", folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for commit in commits:
        (folder / "refs/main").write_text(commit)
        run(here, params(base="someone/tiny", revision="main", epochs=1, max_steps=1))
        assert read_json(here / "adapter/training.json")["revision"] == commit
        assert read_json(here / "adapter/adapter_config.json")["revision"] == commit
    assert len(list(here.glob(".cache/finetune/*"))) == 2, (
        "what main meant before is not taken for what it means now"
    )
    network, _ = load("adapter", dtype=torch.float32, device="cpu")
    assert network.config._commit_hash == commits[1]


def test_targets_choose_the_part_that_learns(here):
    from safetensors.torch import load_file

    run(here, params(targets=["vision", "projector"], epochs=1, max_steps=2))
    names = load_file(here / "adapter" / "adapter_model.safetensors").keys()
    assert all("visual" in name for name in names)
    assert any("merger" in name for name in names) and any("attn.qkv" in name for name in names)


def test_a_batch_without_pictures_is_a_step_like_any_other_where_only_vision_learns(here):
    assert (
        run(here, params(targets=["vision"], epochs=1, max_batch_tokens=300, max_tokens=300))[
            "steps"
        ]
        > 12
    )


@pytest.mark.slow
def test_so_it_is_in_two_processes(here):
    settings = params(targets=["vision"], epochs=1, max_batch_tokens=300, max_tokens=300)
    (here / "run.py").write_text(RUN)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes = [
        forked.start("run", settings.model_dump_json(), cwd=here, variables=launched(rank, port))
        for rank in range(2)
    ]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    metrics = read_json(here / "metrics.json")
    assert metrics["steps"] > 6 and metrics["speed"]["device"].startswith("2 processes on ")


def launched(rank: int, port: int) -> dict[str, str]:
    """What torch.distributed.run tells each of two processes; the test of the accumulation starts
    it.
    """
    ranks = {name: str(rank) for name in ("RANK", "LOCAL_RANK")}
    sizes = {name: "2" for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    return ranks | sizes | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def test_checkpointing_saves_memory_and_changes_no_weight(here):
    from safetensors.torch import load_file

    plain = params(
        max_steps=3,
        precision="float32",
        gradient_accumulation_steps=2,
        targets=["language", "vision", "projector"],
    )
    weights = []
    for checkpointing in (False, True):
        run(here, plain.model_copy(update={"gradient_checkpointing": checkpointing}))
        weights.append(load_file(here / "adapter" / "adapter_model.safetensors"))
    assert all(
        torch.allclose(weight, weights[1][name], atol=1e-6) for name, weight in weights[0].items()
    )


def test_full_writes_the_whole_model_with_its_processor(here):
    from safetensors.torch import load_file

    run(here, params(method="full", max_steps=2))
    network, processor = load("adapter", dtype=torch.float32, device="cpu")
    base = load_file(here / "models/tiny/model.safetensors")
    changed = {
        name
        for name, weight in load_file(here / "adapter/model.safetensors").items()
        if not torch.equal(weight, base[name].float())
    }
    assert changed and not any("visual" in name for name in changed)
    assert read_json(here / "adapter" / "training.json")["params"]["method"] == "full"


def test_merged_it_is_a_model_that_says_what_base_and_adapter_say(here):
    run(here, params(max_steps=4, learning_rate=0.05))
    merge(Path("adapter"), Path("merged"))
    (base, processor), (tuned, _), (merged, _) = (
        load(name, dtype=torch.float32, device="cpu", merge=False)
        for name in ("models/tiny", "adapter", "merged")
    )
    rows, _ = encoding.examples(
        processor, studies(here, "dev"), Path(), "image+report", PARAMS.prompt, 1, 600
    )
    batch = encoding.collate(rows, processor.tokenizer.pad_token_id)
    with torch.no_grad():
        losses = [
            loss.completion_loss(network.eval(), batch).item() for network in (base, tuned, merged)
        ]
    assert losses[2] == pytest.approx(losses[1], rel=1e-4) and abs(losses[2] - losses[0]) > 10
    with pytest.raises(UserError, match="merged: exists already"):
        merge(Path("adapter"), Path("merged"))
    with pytest.raises(UserError, match="models/tiny: no adapter"):
        merge(Path("models/tiny"), Path("other"))
    assert not list(here.glob(".*.part"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methode": "lora"}, "methode: Extra inputs"),
        ({"lora_dropout": 1.0}, "lora_dropout: Input should be less than 1"),
        ({"targets": []}, "targets: Tuple should have at least 1"),
        (
            {"inputs": "report", "targets": ["language", "vision"]},
            "with inputs: report there are no pictures",
        ),
        ({"optimizer": "muon", "fsdp": True}, "muon needs whole matrices"),
        ({"max_tokens": 2000}, "max_tokens is 2,000, more than fit into a batch"),
    ],
)
def test_a_wrong_setting_is_named(changes, said):
    with pytest.raises(ValidationError) as error:
        params(**changes)
    assert said in first_problem(error.value)


def test_a_base_that_is_not_there_is_named(here):
    with pytest.raises(UserError, match="models/other"):
        run(here, params(base="models/other"))
    with pytest.raises(
        UserError, match="no study is left to train on; skipped: .*more than 5 tokens"
    ):
        run(here, params(max_tokens=5))
    with pytest.raises(UserError, match="finetune.fsdp needs several GPUs"):
        run(here, params(fsdp=True))


def test_qlora_trains_beside_weights_in_4_bits(here, root):
    pytest.importorskip("bitsandbytes")
    base = {
        "base": str(root / "models/tiny-qwen2-vl"),
        "max_steps": 2,
    }  # on a CPU layers have to be multiples of 64 wide
    metrics = run(here, params(**base, method="qlora", precision="float32"))
    network, _ = load("adapter", device="cpu", dtype=torch.float32, four_bit=True)
    assert "Params4bit" in {type(weight).__name__ for weight in network.parameters()}
    assert (
        metrics["steps"] == 2
        and metrics["trained_parameters"] == run(here, params(**base))["trained_parameters"]
    )
