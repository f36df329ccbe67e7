"""The router learns the practice of whoever curated its training studies: here a small invented
practice of our own.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REGIONS, annotation
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from xraygen.annotators.router.router import Router, RouterParams, fit
from xraygen.core.errors import UserError
from xraygen.core.study import Case, Study
from xraygen.language.text import sentences, tokens

# (sentence, region -> what our curators make of it)
JOINT = [
    (
        f"The cardiomediastinal outline is {how}.",
        {"heart": f"Heart outline {how}.", "mediastinal": f"Mediastinal outline {how}."},
    )
    for how in (
        "ordinary",
        "regular",
        "smooth",
        "unaltered",
        "sharp",
        "crisp",
        "narrow",
        "even",
        "steady",
        "tidy",
    )
]
LUNG = [
    (f"There is no {what}.", {"lung": f"No {what}."})
    for what in (
        "infiltrate",
        "collapse",
        "lung nodule",
        "pleural fluid",
        "air leak",
        "cavity",
        "effusion",
        "thickening",
        "blunting",
    )
]
LUNG += [
    (f"The {side} lung is clear.", {"lung": f"The {side} lung is clear."})
    for side in ("left", "right", "upper", "lower")
]
BONE = [
    (f"The {which} ribs are {how}.", {"bone": f"The {which} ribs are {how}."})
    for which in ("left", "right", "lower")
    for how in ("whole", "intact")
]
CHATTER = [("Two views were taken.", {}), ("Compared with an earlier film.", {})]


def practice() -> list[Study]:
    combinations = itertools.islice(
        itertools.product(JOINT, LUNG, [None, *BONE], CHATTER), 0, None, 7
    )
    return [study(k, [part for part in parts if part]) for k, parts in enumerate(combinations)]


def study(k: int, parts: list) -> Study:
    said = {
        region: " ".join(made[region] for _, made in parts if region in made) for region in REGIONS
    }
    report = " ".join(sentence for sentence, _ in parts)
    return Study(id=f"S{k}", uid=str(k), split="train", report=report, reference=annotation(**said))


@pytest.fixture(scope="module")
def router() -> Router:
    return fit(practice(), RouterParams(), REGIONS)


def test_a_joint_sentence_serves_both_regions_as_the_curators_reword_it(router):
    said = router.annotate("The cardiomediastinal outline is smooth.")
    assert (said["heart"], said["mediastinal"]) == (
        "Heart outline smooth.",
        "Mediastinal outline smooth.",
    )
    assert (said["bone"], said["lung"], said["others"]) == ("", "", "")


def test_a_joint_sentence_never_seen_is_reworded_alike(router):
    said = router.annotate("The cardiomediastinal outline is unchanged.")
    assert (said["heart"], said["mediastinal"]) == (
        "Heart outline unchanged.",
        "Mediastinal outline unchanged.",
    )


def test_an_unseen_sentence_goes_to_its_region_reworded(router):
    said = router.annotate("There is no pleural nodule. The upper ribs are intact.")
    assert said == annotation(lung="No pleural nodule.", bone="The upper ribs are intact.")


def test_silence_stays_silence(router):
    assert router.annotate("Two views were taken.") == annotation()
    assert router.annotate("") == annotation()
    assert router.annotate("The left lung is clear.")["bone"] == ""


def test_verbatim_routes_alike_and_rewords_nothing(router):
    report = "The cardiomediastinal outline is smooth. There is no collapse. Two views were taken."
    learned, verbatim = router.annotate(report), router.annotate(report, "verbatim")
    assert verbatim == annotation(
        heart=sentences(report)[0], mediastinal=sentences(report)[0], lung=sentences(report)[1]
    )
    assert [bool(learned[region]) for region in REGIONS] == [
        bool(verbatim[region]) for region in REGIONS
    ]
    assert learned["lung"] == "No collapse." != verbatim["lung"]


def test_the_practice_is_learned_not_built_in():
    """Curators who keep every word, and file the lungs under others, are followed as readily."""
    contrary = [
        study(
            k,
            [
                (sentence, {"others" if "lung" in made else region: sentence for region in made})
                for sentence, made in parts
            ],
        )
        for k, parts in enumerate(
            itertools.islice(itertools.product(JOINT, LUNG, BONE), 0, None, 5)
        )
    ]
    said = fit(contrary, RouterParams(), REGIONS).annotate(
        "There is no pleural nodule. The cardiomediastinal outline is smooth."
    )
    joint = "The cardiomediastinal outline is smooth."
    assert said == annotation(others="There is no pleural nodule.", heart=joint, mediastinal=joint)


def test_an_answer_depends_on_the_report_alone(router):
    reports = [study.report for study in practice()[:40]]
    alone = [router.annotate(report) for report in reports]
    assert [router.annotate(report) for report in reversed(reports)] == alone[::-1]
    assert not {"reference"} & set(Case.model_fields)


def test_a_loaded_router_answers_as_the_fitted_one(router, tmp_path):
    router.save(tmp_path / "model")
    loaded = Router.load(tmp_path / "model")
    for report in [study.report for study in practice()] + [
        "Nothing known here, nor there.",
        "There is no pleural nodule.",
    ]:
        assert loaded.annotate(report) == router.annotate(report)


def test_the_same_bytes_whatever_the_hash_seed_and_number_of_threads(router, tmp_path):
    """Fitted in this process, with one thread, and in another."""
    program = (
        "import sys, test_router as t\n"
        "t.fit(t.practice(), t.RouterParams(), t.REGIONS).save(t.Path(sys.argv[1]))"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1",
        "OMP_NUM_THREADS": "2",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
    }
    command = [sys.executable, "-c", program, str(tmp_path / "there")]
    subprocess.run(command, env=environment, check=True)
    router.save(tmp_path / "here")
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / folder).iterdir()}
        for folder in ("here", "there")
    )
    assert first and first == second


def test_a_missing_model_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"is missing.*dvc repro fit_router"):
        Router.load(tmp_path / "none")


def test_any_damaged_file_is_a_user_error(router, tmp_path):
    router.save(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for damage in (b"", whole[: len(whole) // 2], b"{}", b"[1, 2]", b"\xff\xfe" + whole):
            path.write_bytes(damage)
            with pytest.raises(UserError, match="dvc repro fit_router"):
                Router.load(tmp_path)
        path.write_bytes(whole)
    Router.load(tmp_path)


def test_no_study_with_a_reference_is_a_user_error():
    with pytest.raises(UserError, match="reference"):
        fit(
            [study.model_copy(update={"reference": None}) for study in practice()[:3]],
            RouterParams(),
            REGIONS,
        )


def test_an_unknown_parameter_is_an_error():
    with pytest.raises(ValidationError):
        RouterParams(neighbors=3)


LEARNED = {
    token for study in practice() for region in REGIONS for token in tokens(study.reference[region])
}
WORDS = sorted({word for study in practice() for word in study.report.split()})


@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=5)), max_size=20).map(" ".join))
def test_any_text_is_answered_in_sentences_without_invented_words(router, report):
    for wording in ("learned", "verbatim"):
        said = router.annotate(report, wording)
        for region in REGIONS:
            assert set(tokens(said[region])) <= set(tokens(report)) | LEARNED
            if wording == "learned" and said[region]:
                assert said[region][-1] in ".!?" and not said[region][0].islower()
