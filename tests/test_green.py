"""The judge green: it asks what green-score asks, reads as green-score reads, asks once, and never
loses an answer.
"""

import contextlib
import csv
import importlib.util
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import forked
import pytest
import yaml
from click.testing import CliRunner
from conftest import answer_to, recorded_rows
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from xraygen import judges
from xraygen.cli import main
from xraygen.core.errors import UserError
from xraygen.core.files import identity
from xraygen.core.json_lines import read_jsonl, write_jsonl
from xraygen.core.study import AnnotationRecord, Judgement, Study
from xraygen.engines.answers import Answers
from xraygen.judges.green.answers import as_published, cleaned, conversation, prompt, read
from xraygen.judges.green.asking import tokenizer_of
from xraygen.judges.green.green import Green, GreenSettings
from xraygen.judges.green.green import given as read_given

# It is imported by the tests that need it: that takes long, and every process of pytest-xdist
# imports all files.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("green_score") is None, reason="needs green-score"
)
RECORDED = Path(__file__).resolve().parents[2] / "shared" / "recorded"
PAIRS = [
    ("Small left effusion.", "Small effusion."),
    ("Heart is large.", "Heart size normal."),
    ("Clear lungs.", "No opacity."),
]
COUNTED = (
    "a_false_finding",
    "b_missing_finding",
    "c_location",
    "d_severity",
    "e_comparison_added",
    "f_comparison_omitted",
)
WELL_FORMED = """\
The candidate leaves out the effusion.

[Clinically Significant Errors]:
(a) False report of a finding in the candidate: 0.
(b) Missing a finding present in the reference: 2. Left effusion; Rib fracture.
(d) Misassessment of the severity of a finding: 1. Mild instead of severe edema.

[Clinically Insignificant Errors]:
(e) Mentioning a comparison that isn't in the reference: 1. "Unchanged" is added.

[Matched Findings]:
3. Clear right lung; 2. Normal heart; No pneumothorax."""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder in which answers are kept."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Reading


@pytest.mark.skipif(
    not RECORDED.is_dir(), reason="no recorded answers of GREEN at ../shared/recorded"
)
def test_every_recorded_answer_reads_as_it_was_recorded():
    rows = recorded_rows()
    assert len(rows) == 1784
    for row in rows:
        opinion = read(row["completion"])
        assert as_published(row["completion"]) == (opinion.score or 0) == float(row["green_score"])
        counts = opinion.errors.model_dump().values() if opinion.errors else [0] * 6
        assert [*counts, opinion.matched_findings or 0] == [
            int(row[name]) for name in (*COUNTED, "matched_findings")
        ]
        assert (
            (opinion.verdict == "unparseable")
            == (opinion.score is None)
            == ("[Matched Findings]" not in row["completion"])
        )
        decided = judges.decide(row["reference"], row["candidate"])
        if decided and decided.verdict != "both_empty":  # the rule says what the model said
            assert decided.score == float(row["green_score"])


def test_an_answer_becomes_counts_and_the_findings_behind_them():
    opinion = read(WELL_FORMED)
    assert opinion.score == 3 / 6 and opinion.matched_findings == 3 and opinion.verdict == "judged"
    assert opinion.errors.model_dump() == {"a": 0, "b": 2, "c": 0, "d": 1, "e": 0, "f": 0}
    assert opinion.explanation == "The candidate leaves out the effusion."
    assert opinion.listed.matched == ("Clear right lung", "Normal heart", "No pneumothorax")
    assert opinion.listed.significant == {
        "b": ("Left effusion", "Rib fracture"),
        "d": ("Mild instead of severe edema",),
    }
    assert opinion.listed.insignificant == {"e": ('"Unchanged" is added',)}
    assert (
        read(re.sub(r"\(([a-f])\)", lambda found: f"({ord(found[1]) - 96})", WELL_FORMED)).listed
        == opinion.listed
    )


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Please provide the reference report.",
        WELL_FORMED.partition("[Matched Findings]")[0],
        WELL_FORMED.partition("3. Clear")[0],
        WELL_FORMED.replace("3. Clear", "Clear"),
        WELL_FORMED.replace("[Clinically Significant Errors]", "[Errors]"),
    ],
)
def test_what_cannot_be_read_is_unscored(answer):
    opinion = read(answer)
    assert (opinion.verdict, opinion.score, opinion.matched_findings, opinion.errors) == (
        "unparseable",
        None,
        None,
        None,
    )


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(WELL_FORMED)),
            st.integers(0, 30),
            st.text("(a1) .:;\n[]No0fx", max_size=6),
        ),
        max_size=4,
    )
)
def test_whatever_can_be_read_has_green_scores_own_counts(cuts):
    from green_score import GREEN

    text = WELL_FORMED
    for at, length, put in cuts:
        text = text[:at] + put + text[at + length :]
    opinion, upstream = read(text), GREEN(model_name=None, cpu=True)
    if opinion.score is not None:
        assert opinion.score == upstream.compute_green(text)
        assert [
            *opinion.errors.model_dump().values(),
            opinion.matched_findings,
        ] == upstream.compute_error_count(text)
        assert opinion.matched_findings or not opinion.listed.matched


def test_a_completion_at_hand_gives_counts_and_the_rule_keeps_its_score():
    assert read_given("a", "b", WELL_FORMED) == read(WELL_FORMED)
    empty = read_given("", " ", "The reports are missing.")
    assert (empty.score, empty.verdict, empty.errors) == (1.0, "both_empty", None)
    same = read_given("a", "a", WELL_FORMED)
    assert (same.score, same.verdict, same.matched_findings) == (1.0, "identical", 3)


# Asking


def test_the_model_is_shown_what_green_score_shows_it(tiny_llama, monkeypatch):
    from green_score import GREEN
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    monkeypatch.setattr(
        PreTrainedTokenizerBase,
        "batch_encode_plus",
        PreTrainedTokenizerBase.__call__,
        raising=False,
    )
    upstream = GREEN(str(tiny_llama), cpu=True, compute_summary_stats=False)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama, add_eos_token=True)
    for pair in PAIRS:
        messages = [{"from": "human", "value": prompt(*pair)}, {"from": "gpt", "value": ""}]
        theirs = upstream.tokenize_batch_as_chat([messages])["input_ids"][0].tolist()
        assert tokenizer(conversation(prompt(*pair), tokenizer.eos_token))["input_ids"] == theirs


def test_completions_are_those_of_green_scores_own_class(tiny_llama, here, monkeypatch):
    from datasets import disable_progress_bars
    from green_score import GREEN
    from transformers import PreTrainedTokenizerBase

    disable_progress_bars()
    monkeypatch.setattr(
        PreTrainedTokenizerBase,
        "batch_encode_plus",
        PreTrainedTokenizerBase.__call__,
        raising=False,
    )
    upstream = GREEN(str(tiny_llama), cpu=True, compute_summary_stats=False)
    upstream.model.float()
    upstream([reference for reference, _ in PAIRS], [candidate for _, candidate in PAIRS])
    ours = [
        opinion.completion
        for opinion in Green(GreenSettings(model=str(tiny_llama), batch=2)).judge(PAIRS)
    ]
    assert ours == upstream.completions and len(set(ours)) == len(PAIRS)


def test_the_conversation_before_an_answer_is_no_part_of_it():
    whole = conversation(prompt("a", "b"), "</s>") + "[Explanation]:" + WELL_FORMED
    assert cleaned(whole) == cleaned("[Explanation]:" + WELL_FORMED) == WELL_FORMED


def served(server, **changes) -> Green:
    return Green(GreenSettings(**{"model": "served-green", "base_url": server.url} | changes))


def test_no_question_is_asked_twice(completion_server, here):
    server = completion_server()
    first = judges.opinions([*PAIRS, *PAIRS, ("a", "a"), ("", "")], served(server))
    assert len(server.asked) == 3 and [opinion.verdict for opinion in first[-3:]] == [
        "judged",
        "identical",
        "both_empty",
    ]
    for text, opinion in zip((prompt(*pair) for pair in PAIRS), first, strict=False):
        asked = conversation(text, "</s>") + "</s>"
        assert (
            asked in server.asked
            and opinion.completion == cleaned(answer_to(asked))
            and opinion.score == 0.5
        )
    assert judges.opinions(PAIRS, served(server)) == first[:3] and len(server.asked) == 3
    spaced = [(f"  {reference}\n", candidate.replace(" ", "  ")) for reference, candidate in PAIRS]
    assert judges.opinions(spaced, served(server)) == first[:3] and len(server.asked) == 3, (
        "the prompt is the same"
    )
    judges.opinions(PAIRS, served(server, revision="another"))
    assert len(server.asked) == 6
    assert served(server).plan([*PAIRS, ("New.", "Old."), ("a", "a"), PAIRS[0]])[:5] == (
        6,
        1,
        1,
        3,
        1,
    )


def test_answers_before_a_failure_are_kept(completion_server, here):
    server = completion_server(script=[200, 200, 401])
    with pytest.raises(UserError, match="GREEN_API_KEY"):
        served(server, concurrency=1).judge(PAIRS)
    served(server).judge(PAIRS)
    assert Counter(server.asked).most_common()[0][1] == 2 and len(server.asked) == 4, (
        "only the one that failed"
    )


def test_a_server_that_refuses_everything_is_one_line(completion_server, here):
    with pytest.raises(
        UserError, match="answered none of 3 questions; the first: 400: so the server says"
    ):
        served(completion_server(script=[400] * 3)).judge(PAIRS)


def test_a_prompt_that_the_model_cannot_take_is_failed(tiny_llama, here):
    opinions = Green(GreenSettings(model=str(tiny_llama))).judge([("a", "b"), ("a" * 5000, "b")])
    assert [opinion.verdict for opinion in opinions] == [
        "unparseable",
        "failed",
    ] and "more than 2,048" in opinions[1].explanation


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "http://",
        "http://[::1/v1",
        "http://127.0.0.1:99999/v1",
        "http://user:secret@host/v1",
    ],
)
def test_a_base_url_that_is_none_is_refused_at_once(url):
    with pytest.raises(ValidationError, match="base_url"):
        GreenSettings(base_url=url)


def test_llama_gets_a_beginning_and_an_end_as_green_score_gave_it(tiny_llama, here):
    """transformers 5 drops the beginning when it is asked for the end."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors

    made = Tokenizer(
        models.BPE(
            {token: n for n, token in enumerate(["<unk>", "<s>", "</s>", "a", "\u2581"])},
            [],
            unk_token="<unk>",
        )
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    made.decoder = decoders.Replace("\u2581", " ")
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    made.save(str(here / "tokenizer.json"))
    special = '"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"'
    (here / "tokenizer_config.json").write_text(
        f'{{"tokenizer_class": "LlamaTokenizer", {special}}}'
    )
    shutil.copy(tiny_llama / "config.json", here)
    ids = tokenizer_of(GreenSettings(model=str(here)))("a")["input_ids"]
    assert ids[0] == 1 and ids[-1] == 2


@pytest.mark.skipif(
    not RECORDED.is_dir(), reason="no recorded answers of GREEN at ../shared/recorded"
)
def test_how_many_of_the_recorded_pairs_have_to_be_asked(here):
    rows = recorded_rows()
    published = [row for row in rows if not row["approach"].startswith("llava")]
    green = Green(GreenSettings())
    for part, most in ((published, 96), ([row for row in rows if row not in published], 795)):
        pairs = [(row["reference"], row["candidate"]) for row in part]
        assert green.plan(pairs).asked <= most
        green.take(part)
        assert green.plan(pairs).asked == 0


def test_processes_that_start_together_share_the_answers(here):
    command = [
        sys.executable,
        "-c",
        "from xraygen.engines.answers import Answers; Answers({}).keep('a', {}, 'b')",
    ]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    assert [(process.communicate()[1], process.returncode) for process in running] == [("", 0)] * 6
    assert Answers({}).find(["a"]) == {"a": "b"}


def test_a_refused_question_is_failed_and_asked_again_next_time(completion_server, here):
    server = completion_server(script=[400])
    opinion = served(server, concurrency=1).judge(PAIRS)[0]
    assert (opinion.verdict, opinion.score, opinion.explanation) == (
        "failed",
        None,
        "400: so the server says: 400",
    )
    assert served(server).judge(PAIRS)[0].verdict == "judged" and len(server.asked) == 4


def test_an_answer_counts_only_where_it_was_given_and_in_the_way_it_was_given(
    completion_server, tiny_llama, here, monkeypatch
):
    server, quantised = completion_server(), completion_server()
    model = str(tiny_llama)
    for green in (
        served(server),
        served(quantised),
        served(server, model=model),
        served(server, end="<|endoftext|>"),
    ):
        assert green.plan(PAIRS).asked == 3
        green.judge(PAIRS)
        assert green.plan(PAIRS).asked == 0
    green = Green(GreenSettings(model=model))
    assert green.plan(PAIRS).asked == 3, (
        "what a server said under the model's name is not what the model says"
    )
    green.judge(PAIRS)
    assert Green(GreenSettings(model=model, end="<|endoftext|>")).plan(PAIRS).asked == 0, (
        "which only a server is told"
    )
    monkeypatch.setattr("os.sysconf", lambda name: 1)  # no memory: half precision
    assert Green(GreenSettings(model=model)).plan(PAIRS).asked == 3
    assert served(server, base_url=server.url + "/").plan(PAIRS).asked == 0


def test_imported_answers_count_wherever_the_model_runs_and_are_exported_with_its_own(
    completion_server, here
):
    server, other = completion_server(), completion_server()
    served(server).judge(PAIRS[:2])
    rows = list(served(server).export())
    assert [(row["reference"], row["candidate"]) for row in rows] == sorted(PAIRS[:2])
    assert served(other).take(rows) == (2, 0) and served(other).take(rows) == (0, 0)
    assert (
        served(other).plan(PAIRS).asked == 1
        and Green(GreenSettings(model="served-green")).plan(PAIRS).asked == 1
    )
    assert served(other, revision="another").plan(PAIRS).asked == 3, "of another revision"
    served(other).judge(PAIRS)
    assert len(other.asked) == 1 and len(list(served(other).export())) == 3
    assert (
        served(server).judge(PAIRS[:2])[0].completion == rows[1]["completion"]
        and len(server.asked) == 2
    )


def test_a_branch_that_moves_on_is_asked_again_without_a_network(tiny_llama, here, monkeypatch):
    repository = here / "hub/models--someone--green"
    (repository / "refs").mkdir(parents=True)
    for commit in ("1", "2"):
        shutil.copytree(tiny_llama, repository / "snapshots" / (40 * commit))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(here / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pairs = [("Small left effusion.", "Small effusion.")]
    settings = GreenSettings(model="someone/green")
    asked, completions = [], []
    for commit in ("1" * 40, "2" * 40, "1" * 40):
        (repository / "refs/main").write_text(commit)
        asked.append(Green(settings).plan(pairs).asked)
        completions.append(Green(settings).judge(pairs)[0].completion)
        pinned = Green(settings.model_copy(update={"revision": commit}))
        assert pinned.plan(pairs).asked == 0, "the branch and its commit are one"
    assert asked == [1, 1, 0]
    assert len(set(completions)) == 1, "the same weights, here"


def test_a_model_in_a_folder_is_known_by_its_content(tiny_llama, here):
    copy = shutil.copytree(tiny_llama, here / "elsewhere")
    assert identity(str(copy)) == identity(str(tiny_llama)) != identity("elsewhere-on-the-hub")
    with (copy / "model.safetensors").open("ab") as file:
        file.write(b" ")
    assert identity(str(copy)) != identity(str(tiny_llama))


def test_what_cannot_be_loaded_is_one_line(here):
    (here / "empty").mkdir()
    with pytest.raises(UserError, match="model empty: cannot be loaded"):
        Green(GreenSettings(model="empty")).judge(PAIRS)


def test_a_damaged_file_of_answers_is_one_line(here):
    (here / ".cache").mkdir()
    (here / ".cache" / "answers.sqlite").write_bytes(b"damaged" * 1000)
    with pytest.raises(UserError, match="answers.sqlite: kept answers cannot be used"):
        Green(GreenSettings(base_url="http://127.0.0.1:9/v1")).judge(PAIRS)


def test_a_queued_experiment_shares_the_answers_of_its_project(here, monkeypatch):
    from xraygen.engines.answers import cache_folder

    assert cache_folder() == here / ".cache"
    (copy := here / ".dvc" / "tmp" / "exps" / "copy").mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert cache_folder() == here / ".cache"


# The command line


def xraygen(*arguments: str, cwd: Path, status: int = 0) -> str:
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(main, arguments)
    assert done.exit_code == status, done.output
    return done.output


def write(path: Path, rows: list[dict]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.slow
def test_a_team_pays_once(completion_server, tmp_path):
    server, mine, theirs = completion_server(), tmp_path / "mine", tmp_path / "theirs"
    rows = [
        {"reference": reference, "candidate": candidate}
        for reference, candidate in [*PAIRS, ("a", "a")]
    ]
    for folder in (mine, theirs):
        folder.mkdir()
        write(folder / "pairs.csv", rows)
        params = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text())
        params["evaluate"]["settings"]["green"]["base_url"] = server.url
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
    assert (
        "4 pairs: 1 decided without the model, 0 repeated, 0 answered before; 3 to ask"
        in xraygen("judge", "pairs.csv", "--judge", "green", "--dry-run", cwd=mine)
    )
    assert server.asked == []
    said = xraygen("judge", "pairs.csv", "--judge", "green", "--out", "out.csv", cwd=mine)
    assert (
        "3 judged, 1 identical" in said and "green-score 0.0.12" in said and len(server.asked) == 3
    )
    xraygen("completions", "export", "answers.csv", cwd=mine)
    shutil.copy(mine / "answers.csv", theirs / "answers.csv")
    assert "3 rows read: 3 new completions" in xraygen(
        "completions", "import", "answers.csv", cwd=theirs
    )
    xraygen("judge", "pairs.csv", "--judge", "green", "--out", "out.csv", cwd=theirs)
    assert (theirs / "out.csv").read_text() == (mine / "out.csv").read_text() and len(
        server.asked
    ) == 3
    xraygen("judge", "answers.csv", "--judge", "green", "--out", "read.csv", cwd=theirs)
    with (
        (theirs / "read.csv").open(newline="") as read_file,
        (mine / "out.csv").open(newline="") as judged,
    ):
        by_sides = {
            (row["reference"], row["candidate"]): row["score"] for row in csv.DictReader(judged)
        }
        assert all(
            by_sides[row["reference"], row["candidate"]] == row["score"]
            for row in csv.DictReader(read_file)
        )
    write(theirs / "other.csv", [rows[0] | {"completion": WELL_FORMED}])
    assert "1 rows differ from an answer" in xraygen(
        "completions", "import", "other.csv", cwd=theirs
    )
    assert "no 'completion'" in xraygen("completions", "import", "pairs.csv", cwd=theirs, status=2)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--judge", "green"], "either --out or --dry-run"),
        (["--dry-run"], "proxy asks no model"),
        (["--out", "x", "--dry-run"], "either"),
    ],
)
def test_options_that_do_not_fit_are_one_line(tmp_path, arguments, said):
    write(tmp_path / "pairs.csv", [{"reference": "a", "candidate": "b"}])
    assert said in xraygen("judge", "pairs.csv", *arguments, cwd=tmp_path, status=2)


# Killed


@pytest.fixture
def project(tmp_path, root) -> Path:
    """What stages/evaluate.py reads, of 30 dev and 30 test studies."""
    draw = random.Random(0)
    findings = [
        "Small effusion",
        "Heart is large",
        "Clear lungs",
        "Rib fracture",
        "Normal contour",
        "Calcified nodule",
    ]
    for split in ("dev", "test"):
        texts = [
            {
                region: f"{draw.choice(findings)} {draw.randint(1, 40)} mm."
                for region in ("bone", "heart", "lung", "mediastinal")
            }
            for _ in range(60)
        ]
        studies = [
            Study(
                id=f"{split}{n}",
                uid=str(n),
                split=split,
                report="x",
                reference=texts[n],
                novel=True,
            )
            for n in range(30)
        ]
        answers = [AnnotationRecord(id=f"{split}{n}", annotation=texts[30 + n]) for n in range(30)]
        write_jsonl(tmp_path / f"data/prepared/{split}.jsonl", studies)
        write_jsonl(tmp_path / f"data/annotations/router/{split}.jsonl", answers)
    write_jsonl(tmp_path / "data/annotations/router/audit.jsonl", [])
    shutil.copytree(
        root / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path


def ask(project: Path, root: Path, url: str) -> None:
    """Sets the server in params.yaml."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["evaluate"] |= {"judge": "green", "resamples": 50}
    params["evaluate"]["settings"]["green"] |= {"base_url": url, "concurrency": 4}
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def evaluated(project: Path) -> int:
    """Its exit status."""
    process = forked.start("stages.evaluate", "router", cwd=project)
    process.join()
    return process.exitcode


def judged(project: Path) -> list[Judgement]:
    folder = project / "data/judgements/router"
    return [
        judgement
        for split in ("dev", "test")
        for judgement in read_jsonl(folder / f"{split}.jsonl", Judgement)
    ]


@pytest.mark.slow
def test_killed_at_ten_moments_evaluate_ends_as_undisturbed_and_asks_nothing_twice(
    completion_server, project, root
):
    quiet, server = completion_server(), completion_server(delay=0.1)
    ask(project, root, quiet.url)
    assert evaluated(project) == 0
    expected, asked = judged(project), set(quiet.answered)
    assert len(asked) == len(quiet.asked) > 150
    shutil.rmtree(project / ".cache")
    shutil.rmtree(project / "data/judgements")

    draw = random.Random(0)
    ask(project, root, server.url)
    for _ in range(10):
        before = len(server.asked)
        kept = kept_questions(project, server.url)
        running = forked.start("stages.evaluate", "router", cwd=project)
        until = before + draw.randint(1, 20)
        while len(server.asked) < until and running.is_alive():
            signal.sigtimedwait([], 0.001)
        signal.sigtimedwait([], draw.random() * 0.1)
        running.kill()
        running.join()
        assert running.exitcode == -signal.SIGKILL, "there is work left at each kill"
        signal.sigtimedwait([], 0.3)  # what was under way meets nobody
        assert not kept & set(server.asked[before:]), "what was answered is not asked again"
        assert not (project / "data/judgements/router/test.jsonl").exists()
    before, kept = len(server.asked), kept_questions(project, server.url)
    assert evaluated(project) == 0
    assert judged(project) == expected and set(server.answered) == asked
    assert set(server.asked[before:]) == asked - kept and len(server.asked[before:]) == len(
        asked - kept
    )


def kept_questions(project: Path, url: str) -> set[str]:
    """As the server sees them."""
    green = GreenSettings(base_url=url)
    answers = Answers(Green(green).asked, project / ".cache")
    return {conversation(prompt(**about), "</s>") + "</s>" for about, _ in answers.all()}


@pytest.mark.parametrize("model", ["models/green/llama", "my model"])
def test_a_mistyped_model_is_one_line(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        Green(GreenSettings(model=model)).judge([("Heart is enlarged.", "Heart is normal.")])
