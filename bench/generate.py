"""Generation: the annotator `vlm` in batches against the same model one case at a time, on the same
cases, in one run.

    python bench/generate.py [--size tiny|2b] [--examples 128] [--batch 32]

Run in the project's folder. Prints one JSON line. Ours is the approach vlm-base of params.yaml. The
plain side (plain_loop.py) is `generate` as transformers does it, greedy, until the model says the
end. Both read the pictures as they go. tiny is models/tiny-qwen2-vl; 2b has the size of
Qwen2-VL-2B, random weights, cases as long as those of IU X-Ray and 96 new tokens each, and is meant
for a GPU.

`same_answers`: share of cases whose answers are equal up to the end of the JSON.
"""

import functools
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import plain_loop

from xraygen import params
from xraygen.annotators.base import Project
from xraygen.annotators.vlm import VlmSettings
from xraygen.core.errors import one_line
from xraygen.core.study import Case
from xraygen.prompting import encoding

NEW_TOKENS = 96  # of each case of 2b


def ours(
    approach: VlmSettings,
    base: str,
    cases: Sequence[Case],
    images: Path,
    batch: int | None,
    endless: bool,
) -> dict:
    from xraygen.annotators.vlm import Vlm

    os.chdir(images)  # where answers are kept, so that none is there before
    with plain_loop.doing("ours: load the model"):
        params_ = params.load()
        project = Project(images, images, params_.regions, params_.llm)
        annotate = Vlm(approach.model_copy(update={"reads": base}), project)
    annotate.model.generation_config.min_new_tokens = approach.max_new_tokens if endless else None
    if batch:
        longest = max(
            len(_row(annotate.processor, approach, case, images)["input_ids"]) for case in cases
        )
        annotate.max_batch_tokens = batch * (longest + approach.max_new_tokens)
    others = [case.model_copy(update={"report": f"{case.report} Again."}) for case in cases[:2]]
    with plain_loop.doing("ours: warm up"):
        list(annotate(others))  # what happens once; other cases, as their answers are kept
    with plain_loop.doing("ours: generate"):
        start = plain_loop.now()
        records = list(annotate(cases))
        seconds = plain_loop.now() - start
    return plain_loop.measures(annotate.model.dtype) | {
        "examples": len(cases),
        "tokens": sum(record.usage["tokens_out"] for record in records),
        "seconds": seconds,
        "answers": [record.raw for record in records],
        "annotated": sum(record.annotation is not None for record in records),
    }


def plain(
    approach: VlmSettings, base: str, cases: Sequence[Case], images: Path, endless: bool
) -> dict:
    import torch
    from transformers import GenerationConfig

    from xraygen.engines.model import load

    with plain_loop.doing("plain: load the model"):
        model, processor = load(base, max_pixels=approach.max_pixels)
    tokenizer, least = processor.tokenizer, approach.max_new_tokens if endless else None
    ends = {
        "eos_token_id": model.generation_config.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=approach.max_new_tokens, min_new_tokens=least, **ends
    )

    def answer(case: Case, **length: int) -> torch.Tensor:
        batch = encoding.collate([_row(processor, approach, case, images)], tokenizer.pad_token_id)
        batch = {
            name: x.to(model.device, model.dtype if x.is_floating_point() else None)
            for name, x in batch.items()
        }
        return model.generate(**batch, **length)[0, batch["input_ids"].shape[1] :]

    with plain_loop.doing("plain: warm up"):
        answer(cases[0], max_new_tokens=4, min_new_tokens=None)
    with plain_loop.doing("plain: generate"):
        start = plain_loop.now()
        answers = [answer(case) for case in cases]
        seconds = plain_loop.now() - start
    # Counting slows each operation down, so one token and two are counted instead of whole answers;
    # a later token takes as many operations as the second, but for a little more attention.
    one, two = (
        plain_loop.flops_of(
            model, functools.partial(answer, max_new_tokens=count, min_new_tokens=None), cases
        )
        for count in (1, 2)
    )
    new_tokens = sum(map(len, answers)) / len(cases)
    return plain_loop.measures(model.dtype) | {
        "examples": len(cases),
        "tokens": sum(int((tokens != ends["eos_token_id"]).sum()) for tokens in answers),
        "seconds": seconds,
        "answers": [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in answers],
        "flops": one + (new_tokens - 1) * (two - one),
    }


def _row(processor, approach: VlmSettings, case: Case, images: Path) -> dict:
    shown = approach.inputs, approach.prompt, approach.max_views
    return encoding.encode(processor, [case], images, *shown)[0]


def to_the_end(answer: str) -> str:
    """Up to the end of the JSON, where there is one."""
    try:
        return answer[: json.JSONDecoder().raw_decode(answer, answer.index("{"))[1]]
    except ValueError:
        return answer


def main() -> None:
    parser = plain_loop.parser(__doc__)
    parser.add_argument(
        "--batch", type=int, help="cases of the longest kind at a time, instead of max_batch_tokens"
    )
    arguments = parser.parse_args()
    endless = arguments.size == "2b"
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder).resolve()
        studies, changed = plain_loop.prepare(arguments, images)
        cases, base = [study.case() for study in studies], changed.pop("base")
        approach = params.load().approaches["vlm-base"]
        approach = approach.model_copy(
            update=changed | ({"max_new_tokens": NEW_TOKENS} if endless else {})
        )
        first = plain_loop.in_child(ours, approach, base, cases, images, arguments.batch, endless)
        second = plain_loop.in_child(plain, approach, base, cases, images, endless)
    pairs = zip(first["answers"], second["answers"], strict=True)
    result = {
        "size": arguments.size,
        "device": first["device"],
        "cases": len(cases),
        "batch": arguments.batch,
        "max_batch_tokens": approach.max_batch_tokens if not arguments.batch else None,
        "annotated": first["annotated"],
        "new_tokens_per_case": round(first["tokens"] / len(cases), 1),
        **plain_loop.report(first, second["flops"], "cases"),
        **plain_loop.report(second, second["flops"], "cases", "plain_"),
        "same_answers": round(
            sum(to_the_end(a) == to_the_end(b) for a, b in pairs) / len(cases), 4
        ),
        "times_faster": round(second["seconds"] / first["seconds"], 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    with one_line():
        main()
