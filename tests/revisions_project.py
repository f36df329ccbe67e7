"""A small project with git and DVC whose answers the tests write themselves: judged, summed up and
compared by the pipeline's own functions, and locked by DVC.
"""

import contextlib
import copy
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from conftest import REGIONS
from dvc.repo import Repo

from xraygen import judges
from xraygen.core.json_lines import write_json, write_jsonl, write_metrics
from xraygen.core.regions import Regions
from xraygen.core.study import AnnotationRecord, Judgement, Study
from xraygen.evaluation import compare, evaluate
from xraygen.evaluation.params import CompareParams
from xraygen.evaluation.scores import scores_of
from xraygen.judges import Judge
from xraygen.sources.phantom import phantom

PROXY = judges.load("proxy")
GRAPH = {
    "stages": {
        "evaluate": {
            "foreach": "${approaches}",
            "do": {
                "cmd": "true",
                "params": ["approaches.${key}", "evaluate"],
                "outs": ["data/judgements/${key}/test.jsonl"],
                "metrics": [{"metrics/scores/${key}.json": {"cache": False}}],
            },
        },
        "compare": {"cmd": "true", "params": ["compare"], "outs": ["reports/comparison.json"]},
    }
}
IDENTITY = {
    f"GIT_{who}_{what}": "t@example.org"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}

Answer = Callable[[int, Study], dict[str, str]]


def studies(count: int, first: int = 0) -> list[Study]:
    made = [phantom(0, first + number) for number in range(count)]
    return [
        Study(
            id=one.id,
            uid=one.uid,
            split="test",
            report=one.report,
            reference=REGIONS.annotation(one.reference),
            novel=True,
        )
        for one in made
    ]


def right(number: int, study: Study) -> dict[str, str]:
    return dict(study.reference or {})


def slipping(every: int, text: str = "There is a large right pneumothorax.") -> Answer:
    """Right, but for the lung of each `every`-th study."""

    def answer(number: int, study: Study) -> dict[str, str]:
        return right(number, study) | ({"lung": text} if number % every == 0 else {})

    return answer


def normal(number: int, study: Study) -> dict[str, str]:
    return REGIONS.annotation({region: "Normal." for region in REGIONS.scored})


class Project:
    """`approaches`: who answers what, by name; set it, or `studies`, `judge`, `regions` and params,
    and `write` the results. `reports`: whether the stage compare runs, too.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.approaches: dict[str, Answer] = {}
        self.settings: dict[str, dict] = {}
        self.studies = studies(48)
        self.judge: Judge = PROXY
        self.regions: Regions = REGIONS
        self.compare = {"resamples": 200, "alpha": 0.05, "power": 0.8, "seed": 0}
        self.evaluate: dict = {"judge": "proxy", "measure": "score"}
        self.released = "router"
        self.reports = False
        self.graph: dict = copy.deepcopy(GRAPH)

    def copied(self, folder: Path) -> "Project":
        shutil.copytree(self.folder, folder, symlinks=True)
        other = Project(folder)
        other.approaches = dict(self.approaches)
        other.settings = {name: dict(settings) for name, settings in self.settings.items()}
        return other

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=os.environ | IDENTITY,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextlib.contextmanager
    def repo(self) -> Iterator[Repo]:
        with contextlib.chdir(self.folder), Repo() as repo:
            yield repo

    def start(self) -> None:
        self.folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.start_below()

    def start_below(self) -> None:
        """In a git repository that is there already."""
        self.folder.mkdir(exist_ok=True)
        Repo.init(str(self.folder), subdir=not (self.folder / ".git").exists()).close()
        ignored = "/data/\n/reports/comparison.json\n"
        (self.folder / ".gitignore").write_text(ignored, encoding="utf-8")

    def write_params(self) -> None:
        content = {
            "approaches": {
                name: self.settings.get(name, {"annotator": "recorded"}) for name in self.approaches
            },
            "regions": {
                name: {"about": region.about, "scored": region.scored}
                for name, region in self.regions.root.items()
            },
            "evaluate": self.evaluate,
            "compare": self.compare,
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (self.folder / "params.yaml").write_text(text, encoding="utf-8")
        (self.folder / "dvc.yaml").write_text(yaml.safe_dump(self.graph), encoding="utf-8")

    def judged(self, name: str) -> list[Judgement]:
        answers = [
            AnnotationRecord(
                id=study.id, annotation=self.regions.annotation(self._known(number, study, name))
            )
            for number, study in enumerate(self.studies)
        ]
        return evaluate.judge_annotations(self.studies, answers, self.judge, self.regions)

    def _known(self, number: int, study: Study, name: str) -> dict[str, str]:
        texts = self.approaches[name](number, study)
        return {region: text for region, text in texts.items() if region in self.regions.names}

    def write(self) -> None:
        """params.yaml and the results of every approach, as the stages leave them."""
        self.write_params()
        for name in ("data/judgements", "metrics/scores", "metrics/usage"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        summaries, scores = {}, {}
        for name in self.approaches:
            judgements = {"test": self.judged(name)}
            members = {"test": self.studies}
            write_jsonl(self.folder / f"data/judgements/{name}/test.jsonl", judgements["test"])
            summaries[name] = evaluate.details(judgements, members, self.judge, self.regions, 20, 0)
            scores[name] = scores_of(judgements, members, self.regions.scored)
            metrics = evaluate.metrics(summaries[name])
            write_metrics(self.folder / f"metrics/scores/{name}.json", metrics)
            write_metrics(self.folder / f"metrics/usage/{name}.json", {"cases": len(self.studies)})
        if self.reports:
            settings = CompareParams.model_validate(self.compare | {"gate": None})
            report = compare.report_of(scores, summaries, [], settings)
            write_json(self.folder / "reports/comparison.json", report)
        data = {"source": "phantom", "splits": {"test": {"studies": len(self.studies)}}}
        write_metrics(self.folder / "metrics/data.json", data)
        write_metrics(self.folder / "metrics/release.json", {"approach": self.released})

    def lock(self) -> None:
        with self.repo() as repo:
            repo.commit(force=True)

    def commit(self, tag: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", tag)
        self.git("tag", tag)

    def save(self, tag: str) -> None:
        self.write()
        self.lock()
        self.commit(tag)

    def drop_cache(self) -> None:
        shutil.rmtree(self.folder / ".dvc" / "cache")


def base(folder: Path) -> Project:
    """A floor, a good approach and a worse one, committed as `base`."""
    project = Project(folder)
    project.start()
    project.approaches = {"floor": normal, "router": slipping(12), "brief": slipping(4)}
    project.settings = {"floor": {"annotator": "constant"}}
    project.reports = True
    project.save("base")
    return project
