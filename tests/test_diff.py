"""`xraygen diff`: whether the verdict is right, on real repositories with git and DVC."""

import contextlib
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REGIONS
from scipy import stats

pytest.importorskip("dvc")

from revisions_project import PROXY, Project, base, right, slipping, studies

from xraygen.core.regions import Regions
from xraygen.evaluation.resampling import holm
from xraygen.evaluation.scores import by_study
from xraygen.judges import Judge, Opinion
from xraygen.revisions.difference import Difference, difference
from xraygen.revisions.escaping import plain
from xraygen.revisions.notes import notes
from xraygen.revisions.rendering import markdown, terminal
from xraygen.revisions.rules import Gate, gate
from xraygen.revisions.verdict import verdict


@pytest.fixture(scope="module")
def at_base(tmp_path_factory) -> Project:
    return base(tmp_path_factory.mktemp("diff") / "base")


@pytest.fixture
def project(at_base, tmp_path, monkeypatch) -> Project:
    copied = at_base.copied(tmp_path / "project")
    monkeypatch.chdir(copied.folder)
    return copied


def found(project: Project, old: str = "base", new: str | None = None) -> Difference:
    return difference(project.folder, old, new)


def said(found: Difference) -> str:
    return verdict(found, plain)


def noted(found: Difference) -> str:
    return "\n".join(notes(found, plain))


def changed(project: Project, *, save: bool = False, **answers) -> Difference:
    """With other answers, which a changed setting stands for, locked in the working tree."""
    project.approaches |= answers
    project.settings |= {name: {"annotator": "recorded", "try": 2} for name in answers}
    project.write()
    project.lock()
    return found(project)


# The verdict


def test_nothing_changed(project):
    assert said(found(project)) == "None of the three approaches changed."
    assert noted(found(project)) == ""


def test_a_change_that_matters(project):
    difference = changed(project, router=slipping(2))
    assert re.fullmatch(
        r"router got significantly worse on test: score 0\.\d{3} to 0\.\d{3} \(-0\.\d{3}, "
        r"p = \.\d{3}\); the other two did not change\.",
        said(difference),
    )
    text = terminal(difference)
    assert " ".join(text.split()).startswith(said(difference))
    assert "+ approaches.router.try: 2" in text
    assert max(map(len, text.split("Params and prompts")[0].splitlines())) <= 100


def test_a_change_that_does_not_matter(project):
    difference = changed(project, router=slipping(11))
    assert said(difference).startswith("No approach changed significantly on test: router, score ")
    assert "; the other two did not change." in said(difference)


def test_better_is_not_worse(project):
    assert "brief got significantly better on test" in said(changed(project, brief=slipping(24)))


def test_differences_and_p_values_are_those_by_hand(project):
    """On ten studies scipy counts all 1,024 permutations, and so does the command."""
    project.studies = studies(10)
    project.compare |= {"resamples": 5000}
    project.save("ten")
    judged = {name: [project.judged(name)] for name in ("router", "brief")}
    project.approaches |= {"router": slipping(2), "brief": right}
    project.save("changed")
    ps = []
    for name, sides in judged.items():
        sides.append(project.judged(name))
        # The mean over regions of each study; no cell is empty.
        old, new = (by_study(side, REGIONS.scored).score.mean(axis=1) for side in sides)
        by_hand = stats.permutation_test(
            (new, old),
            lambda a, b: a.mean() - b.mean(),
            permutation_type="samples",
            n_resamples=math.inf,
            vectorized=False,
        )
        ps.append((name, by_hand.pvalue, new.mean() - old.mean()))
    tested = {
        one.name: one.tested["score"]
        for one in found(project, "ten", "changed").changes
        if one.tested
    }
    assert [name for name, *_ in ps] == list(tested)
    for (name, p, by_hand), p_holm in zip(ps, holm([p for _, p, _ in ps]), strict=True):
        assert tested[name].p == pytest.approx(p) and 0 < p < 1
        assert tested[name].p_holm == pytest.approx(p_holm)
        assert tested[name].difference == pytest.approx(by_hand)
        assert tested[name].new - tested[name].old == pytest.approx(by_hand)


def test_other_bytes_of_the_same_judgements_are_no_change(project):
    """Nor do they make Holm's correction stricter for those that changed."""
    project.approaches["router"] = slipping(2)
    project.write()
    for name in ("floor", "brief"):
        path = project.folder / f"data/judgements/{name}/test.jsonl"
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    project.lock()
    difference = found(project)
    router = next(one for one in difference.changes if one.name == "router")
    assert router.tested["score"].p_holm == router.tested["score"].p
    assert said(difference).endswith("; the other two did not change.")
    assert markdown(difference).count(" of 192 differ") == 3  # by each measure, of router


def test_new_and_removed_approaches(project):
    project.approaches["careful"] = right
    del project.approaches["brief"]
    project.save("other")
    difference = found(project, "base", "other")
    assert said(difference) == (
        "careful (score 1.000) is new; brief is gone; the other two did not change."
    )
    back = said(found(project, "other", "base"))
    assert back.startswith("brief (score 0.9") and "careful is gone" in back


def test_an_approach_without_results_yet(project):
    project.approaches["later"] = right
    project.write_params()
    difference = found(project)
    assert "later (no results yet) is new" in said(difference)
    assert "but the results of the working tree are out of date" in said(difference)


def test_changed_data_tests_the_shared_studies_and_says_both_numbers(project):
    project.studies = studies(48, first=12)
    difference = changed(project, router=slipping(2))
    (change,) = (one for one in difference.changes if one.name == "router")
    assert change.studies == (48, 48, 36)
    assert "The test studies changed: 48 before, 48 now, 36 of them on both sides" in noted(
        difference
    )
    tested = change.tested["score"]
    assert tested.old != change.old["score"] and tested.new != change.new["score"]
    on_all = f"{change.old['score']:.3f} to {change.new['score']:.3f} on all 48 and 48"
    assert f"on the 36 studies of both sides, {on_all}" in said(difference)
    # The floor's answers did not change; on other studies they have other scores.
    (floor,) = (one for one in difference.changes if one.name == "floor")
    assert floor.tested["score"].difference == 0 and floor.old != floor.new
    assert "the other two did not change on the studies of both sides" in said(difference)


def test_no_shared_study(project):
    project.studies = studies(20, first=100)
    difference = changed(project, router=slipping(2))
    assert said(difference).startswith("Whether the change is significant cannot be determined for")
    assert "no study was judged on both sides" in noted(difference)


class Strict(Judge):
    """Half of the proxy's score, and no clinical score."""

    name = "strict"

    def judge(self, pairs):
        return [
            Opinion(score=(one.score or 0) / 2, verdict=one.verdict) for one in PROXY.judge(pairs)
        ]

    def about(self) -> str:
        return "strict"


def test_a_changed_judge_is_a_changed_yardstick(project):
    project.judge = Strict()
    project.evaluate["judge"] = "strict"
    project.save("strict")
    difference = found(project, "base", "strict")
    assert said(difference).startswith(
        "The judge changed and the answers are the same: floor scored significantly lower: score "
    )
    assert said(difference).endswith("; router and brief differ, but not significantly.")
    assert "got significantly worse" not in said(difference)
    rules = difference.rules._replace(gate="any")
    assert not gate(rules, difference.old, difference.changes, plain).failed
    assert "The yardstick changed: the judge was proxy and is strict" in noted(difference)
    # From one judge to another only scores are compared; the strict one tells nothing clinical.
    for change in difference.changes:
        assert "clinical" not in change.tested or change.name == "floor"
    assert "| clinical score" in markdown(difference) and "→ –" in markdown(difference)


class Refusing(Judge):
    """No score for a pneumothorax, and for other texts one that differs from text to text."""

    name = "refusing"

    def judge(self, pairs):
        return [
            Opinion(score=None, verdict="unparseable")
            if "pneumothorax" in candidate
            else Opinion(score=len(reference) % 7 / 7, verdict="judged")
            for reference, candidate in pairs
        ]

    def about(self) -> str:
        return "refusing"


def test_a_pair_that_was_scored_on_one_side_counts_on_neither(project):
    def wordy(every: int):
        slips = slipping(every)
        return lambda number, study: {
            region: text and f"{text} Seen before." for region, text in slips(number, study).items()
        }

    project.judge = Refusing()
    project.approaches = {"router": wordy(100)}
    project.save("all-scored")
    project.approaches = {"router": wordy(2)}
    project.save("half-scored")
    difference = found(project, "all-scored", "half-scored")
    (change,) = difference.changes
    assert change.yardstick.answers == 23 and change.old["score"] != change.new["score"]
    assert change.tested["score"].difference == 0
    assert re.search(r"router +(0\.\d{3}) → \1 0\.000 ", terminal(difference))
    assert "+0.000" not in terminal(difference)


def test_changed_references_are_a_changed_yardstick(project):
    def corrected(number, study):
        if number % 3:
            return study
        reference = study.reference | {"heart": "Severe cardiomegaly."}
        return study.model_copy(update={"reference": reference})

    answers = {study.id: study.reference for study in project.studies}
    project.approaches["router"] = lambda number, study: answers[study.id]
    project.save("before")
    project.studies = [corrected(*pair) for pair in enumerate(project.studies)]
    project.save("after")
    project.approaches["router"] = lambda number, study: (
        answers[study.id] | ({"bone": "A rib is fractured."} if number == 1 else {})
    )
    project.save("one-answer")
    difference = found(project, "before", "after")
    assert "16 of 192 references differ" in noted(difference)
    assert re.match(
        r"16 references and the answers of brief changed: "
        r"two approaches scored significantly lower with the same answers, because the yardstick "
        r"changed \(score; p after Holm's correction over three approaches\): router 1\.000 to ",
        said(difference),
    )
    difference = found(project, "before", "one-answer")
    assert "router scored significantly lower with other answers and by another yardstick" in said(
        difference
    )
    assert "got significantly worse" not in said(difference)
    result = gated(difference, "any")
    assert not result.failed and "router and brief the yardstick changed, so" in result.text


def test_changed_regions_test_the_shared_ones(project):
    fewer = {name: region.model_dump() for name, region in REGIONS.root.items()}
    fewer["bone"]["scored"] = False
    project.regions = Regions.model_validate(fewer)
    difference = changed(project, router=slipping(2))
    assert "scored on one side only: bone" in noted(difference)
    (change,) = (one for one in difference.changes if one.name == "router")
    assert change.yardstick.pairs == 48 * 3
    assert "router got significantly worse" in said(difference)


# What is not there


def test_without_a_cache_committed_scores_are_compared(project):
    project.approaches["router"] = slipping(2)
    project.save("other")
    project.drop_cache()
    shutil.rmtree(project.folder / "data")
    for new in ("other", None):
        difference = found(project, "base", new)
        assert re.match(
            r"Whether the change is significant cannot be determined for router "
            r"\(score 0\.\d{3} to 0\.\d{3}, -0\.\d{3}\); the other two did not change\.",
            said(difference),
        )
        assert "judgements of router in base" in noted(difference)
        assert "are not in DVC's cache" in noted(difference)
        assert "git switch --detach" in noted(difference)
        assert "committed in metrics/scores" in noted(difference)
        assert "The judge was" not in noted(difference)
    project.evaluate["judge"] = "green"
    project.write_params()
    assert "The judge was proxy and is green." in noted(found(project))


def test_nothing_is_fetched_from_a_remote(project, tmp_path):
    project.approaches["router"] = slipping(2)
    project.save("other")
    with project.repo() as repo, repo.config.edit() as config:
        config["remote"]["store"] = {"url": str(tmp_path / "store")}
        config["core"]["remote"] = "store"
    for tag in ("base", "other"):
        project.git("checkout", "-q", tag, "--", "dvc.lock")
        with project.repo() as repo:
            repo.push()
    assert any((tmp_path / "store").rglob("*"))
    project.drop_cache()
    assert "cannot be determined for router" in said(found(project, "base", "other"))
    assert not list((project.folder / ".dvc" / "cache").rglob("*"))
    for tag in ("base", "other"):
        project.git("checkout", "-q", tag, "--", "dvc.lock")
        with project.repo() as repo:
            repo.fetch()
    assert "router got significantly worse" in said(found(project, "base", "other"))


def test_outs_of_another_branch_do_not_count(project):
    """`git switch` alone leaves the outs of the other branch."""
    right_judgements = Path("data/judgements/router/test.jsonl").read_bytes()
    project.approaches["router"] = slipping(2)
    project.save("other")
    project.git("switch", "-q", "--detach", "base")
    assert said(found(project)) == "None of the three approaches changed."
    assert "Outs of the stage evaluate@router differ from dvc.lock" in noted(found(project))
    # Nor where the right ones are not in the cache.
    for path in Path(".dvc/cache/files/md5").rglob("*"):
        if path.is_file() and path.read_bytes() == right_judgements:
            path.unlink()
    assert "cannot be determined for router" in said(found(project, "other"))


def test_params_that_have_not_run_are_said_to_be_out_of_date(project):
    project.settings["router"] = {"annotator": "recorded", "try": 3}
    project.write_params()
    difference = found(project)
    assert "but the results of the working tree are out of date" in said(difference)
    assert "the stage evaluate@router ran with other code, data or params" in noted(difference)
    project.commit("forgotten")
    assert "but the results of forgotten (" in said(found(project, "base", "forgotten"))
    assert "the stage evaluate@router ran with other params." in noted(
        found(project, "base", "forgotten")
    )


def test_folders_that_a_clone_has_in_part_are_not_out_of_date(project, tmp_path):
    """As `models` and `data/references` are without `dvc pull`: git has a file of each, DVC the
    others.
    """
    names = ("models/tiny/config.json", "models/adapter/config.json", "references/README.md")
    for name in (*names, "references/references.jsonl"):
        path = project.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    project.graph["stages"] |= {
        "finetune": {"cmd": "true", "outs": ["models/adapter"]},
        "release": {"cmd": "true", "deps": ["models", "references"]},
    }
    tracked = project.folder / "references/references.jsonl.dvc"
    tracked.write_text("outs:\n- path: references.jsonl\n  hash: md5\n")
    with (project.folder / ".gitignore").open("a") as file:
        file.write("/models/adapter\n/references/*.jsonl\n")
    project.save("folders")
    clone = tmp_path / "clone"
    project.git("clone", "-q", ".", str(clone))
    with contextlib.chdir(clone):
        assert said(difference(clone, "folders", None)) == "None of the three approaches changed."
        (clone / "models/adapter").mkdir()
        (clone / "models/adapter/config.json").write_text(names[1])
        (clone / "references/references.jsonl").write_text("edited")
        edited = difference(clone, "folders", None)
    assert said(edited) == "None of the three approaches changed."
    pending = (
        "No score depends on it, but in the working tree the stage release ran with other code"
    )
    assert pending in noted(edited) and "out of date" not in noted(edited)


@pytest.mark.parametrize("content", [None, "<<<<<<< HEAD\nstages:\n"])
def test_a_dvc_lock_that_is_missing_or_damaged(project, content):
    lock = project.folder / "dvc.lock"
    lock.unlink()
    if content is not None:
        lock.write_text(content)
    word = "no" if content is None else "a damaged"
    assert f"The working tree has {word} dvc.lock." in noted(found(project))
    project.approaches["router"] = slipping(2)
    project.write()
    assert "router got significantly worse" in said(found(project))


@pytest.mark.parametrize(
    "text, problem",
    [
        ("approaches: [", "a params.yaml that is not YAML"),
        ("a: &a [*a]\n", "a params.yaml that is not YAML"),
        ("- router\n", "a params.yaml without approaches"),
        ("compare: {alpha: 0.05}\n", "a params.yaml without approaches"),
        ("", "an empty params.yaml"),
    ],
)
def test_params_that_cannot_be_read_are_said_first(project, text, problem):
    (project.folder / "params.yaml").write_text(text)
    rest = (
        f"has {problem}, so its approaches are those with scores in metrics/scores; "
        "none of the three approaches changed."
    )
    assert said(found(project)) == f"The working tree {rest}"
    assert terminal(found(project)).count(problem) == 1
    project.commit("broken")
    project.git("checkout", "-q", "base", "--", "params.yaml")
    difference = found(project, "broken")
    assert said(difference) == f"broken ({project.git('rev-parse', 'broken')[:7]}) {rest}"
    assert "params.yaml" not in noted(difference)


def test_params_that_todays_code_refuses_are_compared(project):
    params = "approaches:\n  router: {annotator: router, model: a, price: 1}\nphantom: {seed: 0}\n"
    (project.folder / "params.yaml").write_text(params)
    project.commit("old-layout")
    project.git("checkout", "-q", "base", "--", "params.yaml")
    lines = [line for block in found(project, "old-layout").settings for line in block]
    assert "- approaches.router.model: a" in lines and "- phantom.seed: 0" in lines


def test_a_revision_before_there_was_anything(project):
    project.git("switch", "-q", "--orphan", "empty")
    project.git("commit", "-qm", "empty", "--allow-empty")
    project.git("tag", "nothing")
    text = said(found(project, "nothing", "base"))
    assert text.startswith("floor (score 0.3") and "are new" in text
    assert "Nothing has no params.yaml" not in text
    assert "nothing (" in noted(found(project, "nothing", "base"))


def test_scores_of_before_there_was_a_clinical_score(project):
    project.judge = Strict()
    project.save("before")
    path = project.folder / "metrics/scores/router.json"
    assert "clinical" not in path.read_text()
    project.judge = PROXY
    project.save("after")
    difference = found(project, "before", "after")
    (change,) = (one for one in difference.changes if one.name == "router")
    assert change.old["clinical"] is None and change.new["clinical"] is not None
    assert "– → " in terminal(difference)


def test_the_cache_is_where_dvc_has_it_and_the_project_may_be_in_a_subfolder(tmp_path, monkeypatch):
    outer = tmp_path / "mono"
    outer.mkdir()
    project = Project(outer / "project")
    subprocess.run(["git", "init", "-q", str(outer)], check=True)
    project.start_below()
    project.reports = True
    with project.repo() as repo, repo.config.edit("local") as config:
        config["cache"]["dir"] = str(tmp_path / "elsewhere")
    project.approaches = {"router": right}
    project.save("one")
    project.approaches["router"] = slipping(2)
    project.save("two")
    assert (tmp_path / "elsewhere" / "files").is_dir()
    monkeypatch.chdir(project.folder)
    assert "router got significantly worse" in said(found(project, "one", "two"))


def test_judgements_in_a_folder_that_is_one_out(project):
    graph = project.graph
    graph["stages"]["evaluate"]["do"]["outs"] = ["data/judgements/${key}"]
    project.save("folders")
    project.approaches["router"] = slipping(2)
    project.save("other")
    shutil.rmtree(project.folder / "data")
    difference = found(project, "folders", "other")
    assert "router got significantly worse" in said(difference)
    assert "the other two did not change" in said(difference)
    # What was cut off while it was written is not in the cache.
    for listing in (project.folder / ".dvc/cache/files/md5").rglob("*.dir"):
        listing.chmod(0o644)
        listing.write_bytes(listing.read_bytes()[:20])
    difference = found(project, "folders", "other")
    assert "cannot be determined for router" in said(difference)
    assert "are not in DVC's cache" in noted(difference)


def test_an_experiment_is_found_by_its_name(project):
    project.approaches["router"] = slipping(2)
    project.save("other")
    project.git("update-ref", "refs/exps/12/3456/bold-try", "other")
    assert "router got significantly worse" in said(found(project, "base", "bold-try"))


def test_too_few_studies(project):
    project.studies = studies(4)
    project.save("few")
    project.approaches["router"] = slipping(1)
    project.save("fewer-right")
    difference = found(project, "few", "fewer-right")
    assert "No approach changed significantly" in said(difference)
    assert "4 studies are too few for a difference to be significant." in noted(difference)


def test_studies_that_are_too_few_for_a_test_of_all_approaches(project):
    """Of one approach alone a difference on six studies may hold (p = 1/32), of two it cannot."""
    project.studies = studies(6)
    project.approaches = {"router": right, "brief": right}
    project.save("six")
    project.approaches["router"] = slipping(1)
    project.save("one")
    difference = found(project, "six", "one")
    assert "router got significantly worse" in said(difference)
    assert "too few" not in noted(difference)
    project.approaches["brief"] = slipping(1)
    project.save("two")
    note = "6 studies are too few for a difference to be significant after Holm's correction over "
    difference = found(project, "six", "two")
    assert f"{note}two approaches." in noted(difference)
    result = gated(difference, "any")
    assert not result.failed and "for router and brief too few studies are on both" in result.text


# The gate


def gated(difference: Difference, *rule: str) -> Gate:
    rules = difference.rules._replace(gate=rule[0]) if rule else difference.rules
    return gate(rules, difference.old, difference.changes, plain)


def test_the_gate(project):
    """Who got worse, and by which rule that fails."""
    project.approaches |= {"router": slipping(11), "brief": slipping(1)}
    project.save("brief-worse")
    project.approaches |= {"router": slipping(2), "brief": right}
    project.save("router-worse")

    def result(new: str, rule: str | None) -> str:
        difference = found(project, "base", new)
        rules = difference.rules._replace(gate=rule)
        failed, text, _ = gate(rules, difference.old, difference.changes, plain)
        assert text.startswith("The gate fails: ") is failed
        return text.removeprefix("The gate fails: ").split(" (compare.gate")[0]

    assert result("router-worse", "released") == "router got significantly worse"
    assert result("router-worse", "any") == "router got significantly worse"
    assert result("brief-worse", "released") == "The gate passes"
    assert result("brief-worse", "any") == "brief got significantly worse"
    assert result("base", "any") == "The gate passes"
    assert result("router-worse", None).endswith("there is no gate.")


def test_a_change_cannot_switch_off_the_gate_that_it_is_judged_by(project):
    project.compare["gate"] = "released"
    project.save("gated")
    project.approaches["router"] = slipping(2)
    project.write()
    project.compare |= {"gate": None, "alpha": 1e-9}
    project.write_params()
    project.lock()
    project.commit("sly")
    difference = found(project, "gated", "sly")
    assert gated(difference).failed
    assert "compare.gate changes from released to null" in noted(difference)
    assert "what counts here is that of gated (" in noted(difference)


def test_the_gate_fails_where_the_released_approach_is_gone(project):
    project.compare["gate"] = "released"
    project.save("gated")
    project.approaches["renamed"] = project.approaches.pop("router")
    project.save("gone")
    result = gated(found(project, "gated", "gone"))
    assert result.failed and "router, which is released there, is gone" in result.text


def test_the_gate_does_not_fail_where_nothing_can_be_told(project):
    project.compare["gate"] = "released"
    project.save("gated")
    project.approaches["router"] = slipping(2)
    project.save("worse")
    project.drop_cache()
    result = gated(found(project, "gated", "worse"))
    assert not result.failed and "for router significance cannot be determined" in result.text


def test_the_measure_that_decides_is_evaluate_measure(project):
    """Other words for the same findings: only token F1 falls."""
    project.evaluate["measure"] = "token_f1"
    project.compare["gate"] = "any"
    project.save("f1")

    def wordy(number, study):
        texts = right(number, study)
        return {region: text and f"{text} {text}" for region, text in texts.items()}

    project.approaches["router"] = wordy
    project.save("wordy")
    difference = found(project, "f1", "wordy")
    assert "router got significantly worse on test: token F1" in said(difference)
    assert gated(difference).failed


# The command


def xraygen(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "xraygen", "diff", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_the_command_exits_with_1_where_the_gate_fails(project):
    project.compare["gate"] = "released"
    project.save("gated")
    project.approaches["router"] = slipping(2)
    project.save("worse")
    done = xraygen(project.folder, "gated", "--md", "--gate")
    assert done.returncode == 1, done.stderr
    assert done.stderr == (
        f"The gate fails: router got significantly worse (compare.gate at gated "
        f"({project.git('rev-parse', 'gated')[:7]}) is released).\n"
    )
    assert done.stdout.startswith("**`router` got significantly worse on test")
    assert xraygen(project.folder, "gated").returncode == 0


def test_mistakes_are_one_line(project, tmp_path):
    project.compare["gate"] = "sometimes"
    project.save("mistaken")
    done = xraygen(project.folder, "mistaken", "--gate")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: compare.gate at mistaken (")
    assert "is sometimes, which is no gate; there are: null, released, any." in done.stderr
    done = xraygen(project.folder, "nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: nowhere: git knows no such revision")
    (tmp_path / "plain").mkdir()
    done = xraygen(tmp_path / "plain")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "git" in done.stderr
    (project.folder / "empty").mkdir()
    done = xraygen(project.folder / "empty")
    assert done.returncode == 2 and "run this in the project's folder" in done.stderr
