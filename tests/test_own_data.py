"""Someone else's data: a CSV file, two commands, and a judge of their own, without touching the
package.
"""

import json
import os
import random
import sys
import threading
from pathlib import Path

import pytest
import yaml
from conftest import ChatServer
from pydantic import ValidationError
from test_graph import clone_of, dvc, run

from xraygen.core.json_lines import read_jsonl
from xraygen.core.regions import Regions
from xraygen.core.study import Study

JUDGE = '''\
"""A judge of the user's."""

from xraygen.judges import Judge, Opinion


class Overlap(Judge):
    """Words in common, over words in either."""

    def judge(self, pairs):
        sets = [(set(reference.split()), set(candidate.split())) for reference, candidate in pairs]
        return [Opinion(len(said & true) / len(said | true)) for true, said in sets]
'''
THREE = ("gorge", "thorax", "ventre")
SEVEN = ("voies", "plèvre", "coeur", "hiles", "squelette", "matériel", "abdomen")


class Quoting(ChatServer):
    """Answers with the first sentence of a report for its first region, and nothing for the
    others.
    """

    def __init__(self, regions: tuple[str, ...]):
        super().__init__()
        self.regions = regions

    def completion(self, body: dict, text: str | None = None, **choice) -> dict:
        report = body["messages"][-1]["content"].partition("Report: ")[2]
        said = dict.fromkeys(self.regions, "") | {self.regions[0]: report.split(". ")[0] + "."}
        return super().completion(body, json.dumps(said), **choice)


def sentences(region: str) -> list[str]:
    return [
        f"Aspect normal de {region}.",
        f"Anomalie discrète de {region}, inchangée.",
        f"Atteinte étendue de {region}, à contrôler.",
    ]


def foreign(path: Path, regions: tuple[str, ...]) -> dict[str, str]:
    """300 studies of about 100 patients, in Latin-1, with gaps; returns the patient by study."""
    rng = random.Random(len(regions))
    lines = [";".join(["examen", "sujet", "âge", "compte_rendu", *(f"ref_{r}" for r in regions)])]
    patients = {}
    for number in range(300):
        said = {r: rng.choice(sentences(r)) for r in regions if rng.random() < 0.8}
        said = said or {regions[0]: sentences(regions[0])[0]}
        patients[f"EX{number}"] = f"SUJ{number // 3}" if number % 41 else ""
        curated = number % 6 != 5
        texts = (said.get(r, "") if curated else "" for r in regions)
        report = "" if number % 67 == 66 else " ".join(said.values())
        age = str(20 + number % 70)
        row = [f"EX{number}", patients[f"EX{number}"], age, report, *texts]
        lines.append(";".join(row))
    lines.insert(5, lines[5])  # a row twice
    lines.append("EX300;SUJ100;ligne coupée")
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode("latin-1"))
    return patients


@pytest.fixture(params=[THREE, SEVEN], ids=["three", "seven"])
def regions(request) -> tuple[str, ...]:
    return request.param


@pytest.mark.slow
def test_a_csv_of_the_users_is_compared_after_two_commands(root, tmp_path, monkeypatch, regions):
    project = tmp_path / "project"
    clone_of(root, project)
    patients = foreign(tmp_path / "export.csv", regions)
    said = run(project, sys.executable, "-m", "xraygen", "init", str(tmp_path / "export.csv"))
    assert "302 rows" in said and "compte_rendu" in said and "drawn by patient" in said
    assert "1 encoding" in said and "1 row_malformed" in said and "1 row_duplicate" in said

    server = Quoting(regions)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        (project / "plugins/my_judge.py").write_text(JUDGE)
        settings = yaml.safe_load((project / "params.yaml").read_text())
        settings["llm"] |= {"provider": "openai", "base_url": server.url, "max_failed": 0.0}
        settings["evaluate"] |= {"judge": "plugins.my_judge:Overlap", "resamples": 100}
        settings["compare"]["resamples"] = 200
        settings["finetune"]["max_steps"] = 2
        (project / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        monkeypatch.setitem(os.environ, "OPENAI_API_KEY", "none")
        monkeypatch.setitem(run.__globals__["ENVIRONMENT"], "OPENAI_API_KEY", "none")
        # With the seven, without what does not depend on their number, to save time; nor does the
        # lock of the shipped results, which DVC reads and writes at each stage.
        if len(regions) > 3:
            (project / "dvc.lock").unlink()
        dvc(project, "repro", *(["compare"] if len(regions) > 3 else []))
    finally:
        server.shutdown()
        server.server_close()

    splits = {
        name: list(read_jsonl(project / f"data/prepared/{name}.jsonl", Study))
        for name in ("train", "dev", "test", "val")
    }
    assert all(len(studies) >= 15 for studies in splits.values())
    seen = {
        name: {patients[study.id] for study in splits[name]} for name in ("train", "dev", "test")
    }
    assert not (seen["train"] & seen["dev"] or seen["train"] & seen["test"])
    assert not (seen["dev"] & seen["test"]) and "" not in set().union(*seen.values())
    assert all(study.reference is None for study in splits["val"])
    curated = [study for name in seen for study in splits[name]]
    assert all(tuple(study.reference) == regions for study in curated)
    facts = json.loads((project / "metrics/data.json").read_text())
    assert facts["source"] == "table" and facts["excluded"]["row_malformed"] == 1

    comparison = json.loads((project / "reports/comparison.json").read_text())
    scores = {name: sets["test"] for name, sets in comparison["approaches"].items()}
    assert list(scores) == ["constant", "router", "router-verbatim", "brief"]
    for by_region in scores.values():
        assert {*regions, "macro"} <= by_region.keys()
        assert by_region["failed_annotations"] == 0
        for key in by_region.keys() - set(regions):
            with pytest.raises(ValidationError, match="another meaning"):
                Regions.model_validate({key: {"about": "x"}})
    macro = {name: by_region["macro"]["score"] for name, by_region in scores.items()}
    assert macro["router"] > macro["constant"] > 0 and macro["router"] > macro["brief"] > 0
    assert scores["brief"][regions[0]]["score"] > scores["constant"][regions[0]]["score"]
    assert "my_judge:Overlap" in (project / "reports/comparison.md").read_text()
    assert run(project, "git", "status", "--porcelain", "xraygen", "stages", "dvc.yaml") == ""
    assert not any(patient in question for question in server.asked for patient in ("SUJ", "EX1"))
    if len(regions) == 3:
        released = (project / "data/release/val.jsonl").read_text().splitlines()
        assert {json.loads(line)["id"] for line in released} == {s.id for s in splits["val"]}
