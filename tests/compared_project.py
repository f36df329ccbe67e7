"""A small project in git and DVC, with a branch for each kind of change that a pull request can
make. Its stages leave a file behind and fail, so that a comparison which ran one would show.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from conftest import ROOT

REGIONS = ("bone", "heart", "lung", "mediastinal")
RAN = "a-stage-ran"  # in the repository's folder, and not in git
PROMPTS = {"brief": "Quote the report by region.", "rules": "Keep the report's words."}
REWORDED = "Quote, by region, the report."
BETTER = "Quote the report by region, word by word."
WORSE = "Say what you think."
EFFECT = {BETTER: 0.08, WORSE: -0.08}  # on the mean score; the words of other prompts have none

NAMES = {  # of who commits
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org",
}
CONFIG = "[core]\n    analytics = false\n"
GRAPH = {
    "prepare": {
        "cmd": f"touch {RAN} && false",
        "params": ["data"],
        "metrics": [{"metrics/data.json": {"cache": False}}],
    },
    "evaluate": {
        "foreach": "${approaches}",
        "do": {
            "cmd": f"touch {RAN} && false",
            "deps": ["metrics/data.json"],
            "params": ["approaches.${key}"],
            "outs": ["data/judgements/${key}/test.jsonl"],
            "metrics": [{"metrics/scores/${key}.json": {"cache": False}}],
        },
    },
    "compare": {
        "cmd": f"touch {RAN} && false",
        "deps": ["data/judgements"],
        "outs": ["reports/comparison.json"],
    },
    "report": {
        "cmd": f"touch {RAN} && false",
        "deps": ["reports/comparison.json"],
        "outs": ["reports/index.html", "reports/studies"],
    },
}


class Repository:
    """A folder in which commands are run; each has to succeed."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, command: str, **variables: str) -> str:
        done = self.run(command, **variables)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = os.environ | NAMES | {"PATH": path, "PYTHONPATH": str(ROOT)} | variables
        command = f"set -euo pipefail; {command}"
        return subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=env, capture_output=True, text=True
        )

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text, encoding="utf-8")


def build(folder: Path, remote: str) -> Repository:
    """The branches better, worse, reworded, added and more-data start at the first commit of main,
    which has a second one with another approach. All but that first commit have a DVC remote.
    """
    folder.mkdir()
    repository = Repository(folder)
    repository("git init -q -b main && dvc init -q")
    repository.write(".dvc/config", CONFIG)
    repository.write(".gitignore", f"/data/judgements/\n/reports/\n/comparison/\n/.venv\n/{RAN}\n")
    repository.write("dvc.yaml", yaml.safe_dump({"stages": GRAPH}))
    shutil.copytree(ROOT / ".github", folder / ".github")
    commit(repository, {"brief": PROMPTS["brief"]}, 60)
    with_remote = f"{CONFIG}    remote = store\n['remote \"store\"']\n    url = {remote}\n"
    for branch, prompts, studies in (
        ("better", {"brief": BETTER}, 60),
        ("reworded", {"brief": REWORDED}, 60),
        ("worse", {"brief": WORSE}, 60),
        ("added", PROMPTS, 60),
        ("more-data", {"brief": PROMPTS["brief"]}, 80),
    ):
        repository(f"git checkout -q -b {branch} main")
        repository.write(".dvc/config", with_remote)
        commit(repository, prompts, studies)
    repository("git checkout -q main")
    repository.write(".dvc/config", with_remote)
    commit(repository, PROMPTS, 60)
    return repository


def commit(repository: Repository, prompts: dict[str, str], studies: int) -> None:
    """The results of approaches with these prompts on this number of test studies, as `dvc repro`
    would have left them, in git and in DVC's cache.
    """
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    approaches = params["approaches"]
    chosen = {name: approaches[name] | {"user": prompt} for name, prompt in prompts.items()}
    params["approaches"] = {"constant": approaches["constant"]} | chosen
    params["data"]["seed"] = studies
    params["compare"]["gate"] = "any"
    repository.write("params.yaml", yaml.safe_dump(params, sort_keys=False))
    counts = {split: {"studies": studies} for split in ("train", "dev", "test", "val")}
    repository.write("metrics/data.json", json.dumps({"source": "phantom", "splits": counts}))
    for name in params["approaches"]:
        judgements = [
            judgement(name, f"S{number}", region, prompts.get(name, ""))
            for number in range(studies)
            for region in REGIONS
        ]
        lines = "".join(f"{json.dumps(row)}\n" for row in judgements)
        repository.write(f"data/judgements/{name}/test.jsonl", lines)
        score = sum(row["score"] for row in judgements) / len(judgements)
        macro = {"score": round(score, 4), "clinical": None, "token_f1": round(score, 4)}
        test = {"macro": macro, "failed_annotations": 0, "unscored_pairs": 0}
        content = {"judge": "proxy", "dev": test, "test": test, "test_novel": test}
        repository.write(f"metrics/scores/{name}.json", json.dumps(content))
    repository.write("reports/comparison.json", "{}")
    repository.write("reports/index.html", f"<p>{sorted(prompts.values())}, {studies} studies")
    repository.write("reports/studies/index.js", "xraygen.index({})")
    repository("dvc commit -q -f && git add . && git commit -q -m results")


def judgement(approach: str, study: str, region: str, prompt: str) -> dict:
    """Each prompt gives other scores, of the same distribution but for EFFECT."""
    mean = 0.5 if approach == "constant" else 0.7 + EFFECT.get(prompt, 0)
    score = mean + random.Random(f"{study} {region} {prompt}").uniform(-0.2, 0.2)
    return {
        "id": study,
        "region": region,
        "reference": f"{region} unremarkable",
        "candidate": f"{region} as asked: {prompt}",
        "score": round(score, 4),
        "verdict": "judged",
        "judge": "proxy",
    }
