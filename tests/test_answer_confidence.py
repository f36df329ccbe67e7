"""How sure a model is of each region's text: probabilities of its tokens, agreement of samples."""

import json
import math

import pytest
from conftest import NAMES, REGIONS, annotation, parse, project_of

from xraygen.annotators.answer_confidence import Tokens, from_samples, from_tokens
from xraygen.annotators.reader import Reader
from xraygen.annotators.vlm import Vlm, VlmSettings
from xraygen.core.study import Case
from xraygen.prompting.conversation import completion
from xraygen.sources.phantom import phantom

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

READER = Reader(REGIONS, None, "the approach")


@pytest.fixture(scope="module")
def model(tiny_llama):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()


@pytest.mark.parametrize("most", [1, 12])
def test_log_probabilities_are_those_of_the_model_in_one_pass_also_after_rows_have_left(
    model, most
):
    from transformers import GenerationConfig

    from xraygen.engines.decoding import decode

    draw = torch.Generator().manual_seed(1)
    prompts = torch.randint(3, 500, (7, 9), generator=draw)
    batch = {"input_ids": prompts, "attention_mask": torch.ones_like(prompts)}
    config = GenerationConfig(max_new_tokens=most, eos_token_id=-1, pad_token_id=0)
    ends = [2, 12, 5, 3, 9, 2, 12]
    log_probs: dict[int, list[float]] = {}
    for row, said in decode(
        model, batch, lambda row, said: len(said) >= ends[row], config, log_probs=log_probs
    ):
        assert len(log_probs[row]) == len(said) == min(most, ends[row])
        whole = torch.cat([prompts[row], torch.tensor(said)])[None]
        with torch.no_grad():
            logits = model(whole[:, :-1]).logits[0, -len(said) :].double()
        expected = logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0]
        assert log_probs[row] == pytest.approx(expected.tolist(), abs=1e-4)
    assert sorted(log_probs) == list(range(7))
    assert min(value for row in log_probs.values() for value in row) < -0.1


@pytest.mark.parametrize("text", ["No effusion.", "5 µm, 2 × 3 cm; Größe ∅ “İ” 胸"])
def test_tokens_end_where_their_text_ends_also_where_a_letter_has_several(tiny_vlm, text):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_vlm)
    tokens = tokenizer.encode(text, add_special_tokens=False)
    chances = Tokens(tokenizer).chances(tokens, [-k for k in range(len(tokens))], text)
    assert [value for _, value in chances] == [-k for k in range(len(tokens))]
    ends = [end for end, _ in chances]
    assert ends == sorted(ends) and ends[-1] == len(text)
    for count, end in enumerate(ends, 1):
        said = tokenizer.decode(tokens[:count])
        assert said.endswith("\ufffd") or said == text[:end]
    assert Tokens(tokenizer).chances(tokens, [], text) == []


def chances_of(parts: list[tuple[str, float]]) -> tuple[str, list[tuple[int, float]]]:
    """An answer made of tokens with these probabilities."""
    answer, chances = "", []
    for part, probability in parts:
        answer += part
        chances.append((len(answer), math.log(probability)))
    return answer, chances


def test_a_region_has_the_geometric_mean_of_its_own_tokens_or_of_the_whole_answer():
    answer, chances = chances_of(
        [
            ('{"', 0.1),
            ("lungs", 0.1),
            ('": "', 0.1),
            ("Clear", 0.9),
            (" lungs", 0.4),
            ('.",', 1.0),
            (' "heart": ', 0.1),
            ('""', 0.7),
            (', "bone": null', 0.2),
            (', "others": ["Tube', 0.3),
            ('."]', 0.6),
            ("}", 0.1),
        ]
    )
    found = {region: one.confidence for region, one in from_tokens(answer, chances, NAMES).items()}
    whole = math.exp(sum(value for _, value in chances) / len(chances))
    assert found == pytest.approx(
        {
            "bone": 0.2,
            "heart": 0.7,
            "lung": (0.9 * 0.4 * 1.0) ** (1 / 3),
            "mediastinal": whole,
            "others": (0.3 * 0.6) ** 0.5,
        },
        abs=1e-4,
    )


def test_the_last_text_under_a_key_counts_and_quotes_in_a_text_do_not_end_it():
    answer, chances = chances_of(
        [('{"heart": "A', 0.1), ('"} {"heart": "', 0.5), ('A \\"big\\" one', 0.8), ('"}', 0.2)]
    )
    assert from_tokens(answer, chances, NAMES)["heart"].confidence == pytest.approx(0.8)


def test_an_overflow_of_the_model_is_no_confidence():
    chances = [(9, -0.1), (16, math.nan), (18, -0.2)]
    found = from_tokens('{"lung": "Clear."}', chances, NAMES)
    assert {one.confidence for one in found.values()} == {None}


def test_agreement_is_the_mean_token_f1_with_the_other_samples():
    said = annotation(lung="Lungs clear.", heart="")
    read = [
        said,
        annotation(lung="Lungs clear.", heart="Normal heart."),
        annotation(lung="Clear."),
    ]
    found = {region: one.confidence for region, one in from_samples(said, read, 4).items()}
    assert found["lung"] == pytest.approx((1 + 2 / 3 + 0) / 3, abs=1e-4)  # one was not read
    assert found["heart"] == pytest.approx((0 + 1 + 0) / 3, abs=1e-4)
    assert found["bone"] == pytest.approx(2 / 3, abs=1e-4)
    alone = from_samples(said, [said], 1)
    assert {one.confidence for one in alone.values()} == {None}


def test_an_answer_without_probabilities_has_no_confidence_and_a_failed_one_no_evidence():
    case, whole = Case(id="x", report="Clear."), completion(annotation(lung="Clear."))
    record = READER.record(case, [whole], {}, [""])
    assert {one.confidence for one in record.evidence.values()} == {None}
    assert READER.record(case, ["no"], {}, [""], [(2, -0.1)]).evidence == {}


def test_a_real_answer_has_confidences_which_are_stored_with_it(root, tmp_path, monkeypatch):
    """The small model that ships."""
    monkeypatch.setattr("xraygen.engines.answers.cache_folder", lambda: tmp_path)
    approach = VlmSettings(
        annotator="vlm",
        reads="models/tiny-qwen2-vl",
        inputs="report",
        prompt="Quote the report by region, in JSON.",
        max_views=1,
        max_pixels=112 * 112,
        max_batch_tokens=24_000,
        max_new_tokens=128,
    )
    cases = [phantom(5, k) for k in range(6)]
    cases = [Case(id=one.id, report=one.report) for one in cases]
    annotate = Vlm(approach, project_of(root))
    first = list(annotate(cases))
    assert any(one.annotation for one in first)
    for one in (one for one in first if one.annotation):
        values = [one.evidence[region].confidence for region in REGIONS]
        assert all(0.05 < value <= 1 for value in values) and len(set(values)) > 2

    monkeypatch.setattr(annotate, "_generate", None)  # nothing is left to ask
    assert list(annotate(cases)) == first
    sampled = list(Vlm(approach.model_copy(update={"samples": 3}), project_of(root))(cases[:2]))
    for one in (one for one in sampled if one.annotation):
        read = [parse(answer)[0] for answer in json.loads(one.raw)]
        assert one.evidence == from_samples(one.annotation, read, 3)
