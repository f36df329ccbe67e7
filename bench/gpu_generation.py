"""What gpu.py measures of generation: annotation by Qwen2-VL-2B, and GREEN's 7B Llama."""

import contextlib
import copy
import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import gpu_counts
import gpu_models
from generate import stock  # bench/generate.py
from gpu_training import empty_cache, stock_attention

from xraygen import params
from xraygen.annotators.base import Project
from xraygen.annotators.vlm import Vlm
from xraygen.annotators.vlm_settings import VlmSettings
from xraygen.core.errors import UserError
from xraygen.core.study import Case
from xraygen.engines.generation import CausalModel, without_cudnn_attention
from xraygen.prompting import encoding

_MOST = 1024  # tokens of an answer


class Batch(NamedTuple):
    """Lengths of its prompts and answers, and seconds of the annotator's work on it."""

    prompts: list[int]
    answers: list[int]
    seconds: float


class RandomVlm(Vlm):
    """The annotator `vlm` on random weights: an answer has the length of the case's reference, but
    at most `limit` tokens, and is not stored. `batch`: cases at a time. `batches`: done since the
    caller emptied the list.
    """

    def __init__(self, measure, references: dict[str, int]):
        from xraygen.annotators import vlm
        from xraygen.engines.model import placement

        scale = gpu_models.scale(measure.smoke)
        settings = VlmSettings(
            annotator="vlm",
            reads="models/2b",
            hub=str(measure.folder / "2b"),
            inputs="image+report",
            prompt=gpu_models.PROMPT,
            max_views=1,
            max_pixels=scale.view,
            max_batch_tokens=1,
            max_new_tokens=_MOST,
        )
        stated = params.load()
        vlm.identity = lambda name: name  # a hash of the weights, to store answers under
        super().__init__(
            settings,
            Project(measure.folder, measure.folder, stated.regions, stated.llm),
            devices=[placement()[0]],  # one, on a machine with several GPUs too
        )
        self.kept = _NothingKept()
        # What random weights say has no words, for which this would be slow.
        self._tokens.chances = lambda *_: []
        self.model.generation_config.eos_token_id = None  # random weights may say it at any time
        self.measure, self.references = measure, references
        self.limit = _MOST
        self.batch = 1
        self.batches: list[Batch] = []
        self._rows: dict[int, int] = {}  # id of a row: tokens of its answer

    def row(self, case: Case):
        row = super().row(case)
        self._rows[id(row)] = self.references[case.id]
        return row

    def _answers(self, rows):
        longest = max(len(row["input_ids"]) for row in rows)
        self.max_batch_tokens = self.batch * (longest + _MOST)
        return super()._answers(rows)

    def _generate(self, rows: list[dict]):
        start = self.measure.now()
        self.asked = [min(self.limit, self._rows[id(row)]) for row in rows]
        made = super()._generate(rows)
        seconds = self.measure.now() - start
        prompts = [len(row["input_ids"]) for row in rows]
        self.batches.append(Batch(prompts, self.asked, seconds))
        return made


class RandomLlama(CausalModel):
    """The model of the judge `green` with random weights, made on the device: written and read,
    13.5 GB take longer than all that is measured.
    """

    def __init__(self, smoke: bool, limit: int):
        without_cudnn_attention()
        self.model = gpu_models.llama(smoke).eval()
        self.device = self.model.device
        self.end, self.limit, self.batch = gpu_models.LLAMA_END, limit, 1


class _NothingKept:
    def find(self, keys: list[str]) -> dict:
        return {}

    def keep(self, key: str, question: dict, answer: str) -> None:
        pass


class Bench:
    """Cases with one view of 256 image tokens, annotated in batches."""

    def __init__(self, measure):
        from xraygen.engines import decoding

        self.measure = measure
        self.text = gpu_models.scale(measure.smoke).text
        self.decode = decoding.decode
        studies = gpu_models.studies(measure.folder, 1)
        self.cases = [study.case() for study in studies]
        references: dict[str, int] = {}
        start = time.perf_counter()
        self.annotator = RandomVlm(measure, references)
        measure.line("load", load_seconds=time.perf_counter() - start)
        tokenizer = self.annotator.processor.tokenizer
        for study in studies:
            references[study.id] = len(encoding.answer(tokenizer, study.reference))

    def annotate(
        self, cases: int, batch: int, decode: Callable | None = None, log_probs: bool = True
    ) -> dict:
        """Fields of a line: this many cases, `batch` at a time, by `decode` instead of the
        project's.
        """
        asked = [self.cases[k % len(self.cases)] for k in range(cases)]
        empty_cache()
        with self._decoding(decode or self.decode, log_probs):
            self.run(asked[:batch], batch, 2)  # what happens once
            self.run(asked[:batch], batch, 1)
            read = self.generating
            seconds = self.run(asked, batch, _MOST)
        done = self.annotator.batches
        generating = self.generating
        tokens = sum(sum(each.answers) for each in done)
        steps = sum(max(each.answers) - 1 for each in done)
        decoding = generating - read * cases / min(batch, cases)
        needed = sum(
            gpu_counts.generation_bytes(self.text, each.prompts, each.answers) for each in done
        )
        return {
            "cases": cases,
            "batch": max(len(each.answers) for each in done),
            "prompt_tokens": sum(sum(each.prompts) for each in done) / cases,
            "answer_tokens": tokens / cases,
            "seconds": seconds,
            "encode_seconds": seconds - generating,
            "read_seconds": read,
            "cases_per_second": cases / seconds,
            "tokens_per_second": tokens / generating,
            "step_milliseconds": 1000 * decoding / steps,
            **self.measure.roofline(needed, decoding),
            **self.measure.memory(),
        }

    def run(self, cases: list[Case], batch: int, limit: int) -> float:
        """Annotate them; returns seconds. UserError: not in such batches, for lack of memory."""
        annotator = self.annotator
        annotator.limit, annotator.batch = limit, batch
        annotator.batches.clear()
        start = self.measure.now()
        list(annotator(cases))
        seconds = self.measure.now() - start
        if len(annotator.batches[0].answers) < min(batch, len(cases)):
            raise UserError("out of memory")
        return seconds

    @property
    def generating(self) -> float:
        return sum(each.seconds for each in self.annotator.batches)

    @contextlib.contextmanager
    def _decoding(self, decode: Callable, log_probs: bool) -> Iterator[None]:
        from xraygen.engines import decoding

        def to_length(model, batch, stop, config, samples, noted):
            ends = self.annotator.asked
            noted = noted if log_probs else None
            said = {}
            own = lambda row, said: len(said) >= ends[row]  # noqa: E731
            for row, tokens in decode(model, batch, own, config, samples, noted):
                said[row] = len(tokens)
                yield row, tokens
            if [said[row] for row in range(len(ends))] != ends:
                raise AssertionError("answers are not as long as they should be")

        decoding.decode = to_length
        try:
            yield
        finally:
            decoding.decode = self.decode


def generation(measure) -> None:
    """Annotation one case at a time, 64, and the fastest number, with stock `generate` next to
    it.
    """
    bench = Bench(measure)
    middle = 4 if measure.smoke else 64
    one = measure.part("batch 1", bench.annotate, 1 if measure.smoke else 2, 1)

    def in_batches(batch: int) -> dict:
        line = bench.annotate(batch, batch)
        if one:
            line["times_batch_1"] = line["tokens_per_second"] / one["tokens_per_second"]
        return line

    ours = measure.part(f"batch {middle}", in_batches, middle)

    def stock_line() -> dict:
        line = bench.annotate(middle, middle, stock)
        if ours:
            times = ours["tokens_per_second"] / line["tokens_per_second"]
            line["ours_times_stock"] = times
        return line

    def stock_as_torch_comes() -> dict:
        with stock_attention():
            return stock_line()

    name = f"stock generate, batch {middle}"
    measure.part(f"{name}, our attention kernel", stock_line)
    best, batch = ours, middle
    while best and batch < 256 and not measure.smoke:
        batch *= 2
        line = measure.part(f"batch {batch}", in_batches, batch)
        if not line or line["tokens_per_second"] < 1.05 * best["tokens_per_second"]:
            break
        best = line
    measure.part(f"{name}, torch's attention kernel", stock_as_torch_comes)


def confidence(measure) -> None:
    """Annotation in batches with and without the probabilities of the tokens, in turn."""
    bench = Bench(measure)
    batch = 4 if measure.smoke else 64
    rates: dict[bool, list[float]] = {True: [], False: []}
    for log_probs in (True, False) if measure.smoke else (True, False, True, False):
        name = "with" if log_probs else "without"
        line = measure.part(name, bench.annotate, batch, batch, None, log_probs)
        if line:
            rates[log_probs].append(line["tokens_per_second"])
    if all(rates.values()):
        measure.line("cost", share_of_time=1 - max(rates[True]) / max(rates[False]))


def static_cache(measure) -> None:
    """--try static-cache: one call of `generate` a batch, with a cache of fixed size, in which
    transformers compiles a step and replays it as a CUDA graph.
    """
    bench = Bench(measure)

    def static(model, batch, stop, config, samples, log_probs):
        batch.pop("past_key_values", None)
        config = copy.deepcopy(config)
        config.max_new_tokens = max(bench.annotator.asked)
        if config.max_new_tokens > 2:
            config.cache_implementation = "static"
            config.disable_compile = measure.smoke
        yield from stock(model, batch, stop, config)

    for batch in (1, 4) if measure.smoke else (1, 64):
        measure.part(f"batch {batch}", bench.annotate, batch, batch)
        name = f"batch {batch}, static cache"
        measure.part(f"{name}, first", bench.annotate, batch, batch, static)
        measure.part(f"{name}, again", bench.annotate, batch, batch, static)


def green(measure) -> None:
    """A Llama of GREEN's size in float16, by the engine of the judge `green`: prompts of some 500
    tokens, answers of some 200, 16 at a time as by default, and 64; stock `generate` next to it.
    """
    from xraygen.engines import decoding

    text = gpu_models.scale(measure.smoke).llama
    prompt, answer = (50, 20) if measure.smoke else (500, 200)
    start = measure.now()
    model = RandomLlama(measure.smoke, prompt + answer)
    measure.line("load", load_seconds=measure.now() - start)
    draw = random.Random(0)

    def pairs(count: int, batch: int, decode: Callable) -> dict:
        lengths = [draw.randint(prompt * 9 // 10, prompt * 11 // 10) for _ in range(count)]
        prompts = [[draw.randrange(3, text.vocabulary) for _ in range(n)] for n in lengths]
        model.batch = batch
        empty_cache()
        decoding.decode = decode
        try:
            start = measure.now()
            said = [(row, len(tokens)) for row, tokens in model.generate(prompts)]
            seconds = measure.now() - start
        finally:
            decoding.decode = ours
        if model.batch < batch:
            raise UserError("out of memory")
        answers = {row: tokens for row, tokens in said}
        order = sorted(range(count), key=lambda row: -lengths[row])
        chosen = [order[at : at + batch] for at in range(0, count, batch)]
        needed = sum(
            gpu_counts.generation_bytes(
                text, [lengths[row] for row in rows], [answers[row] for row in rows]
            )
            for rows in chosen
        )
        return {
            "pairs": count,
            "batch": batch,
            "prompt_tokens": sum(lengths) / count,
            "answer_tokens": sum(answers.values()) / count,
            "seconds": seconds,
            "pairs_per_second": count / seconds,
            "tokens_per_second": sum(answers.values()) / seconds,
            **measure.roofline(needed, seconds),
            **measure.memory(),
        }

    ours = decoding.decode
    small, large = (2, 4) if measure.smoke else (16, 64)
    model.limit = prompt * 11 // 10 + 2
    with contextlib.suppress(Exception):
        pairs(2, 2, ours)  # what happens once
    model.limit = prompt + answer
    measure.part(f"batch {small}", pairs, small, small, ours)
    measure.part(f"batch {large}", pairs, large, large, ours)
    measure.part(f"stock generate, batch {large}", pairs, large, large, stock)
