"""IU X-Ray written as a table and read by the source `table` is the same data set as through
`iu-xray`: the same studies in the same splits, so the router is fitted on and asked the same.
"""

import json
import shutil
from pathlib import Path

import pytest
from conftest import REGIONS

from xraygen import params
from xraygen.core.study import Study
from xraygen.sources import prepare
from xraygen.sources.iu_xray import read as iu_xray
from xraygen.sources.table.init import init
from xraygen.sources.table.table import Table, TableSettings

SHARED = Path(__file__).resolve().parents[2] / "shared"
pytestmark = pytest.mark.skipif(
    not (SHARED / "iu-xray").is_dir(), reason="needs the IU X-Ray files in ../shared/iu-xray"
)


def plain(study: Study) -> dict:
    """Without what names the source: the number of the report, and the folder of images."""
    images = [(Path(image.path).name, image.projection, image.sha256) for image in study.images]
    return study.model_dump(exclude={"uid", "images"}) | {"images": images}


def test_iu_xray_reads_the_same_through_a_table(tmp_path, root):
    folder = tmp_path / "given"
    (folder / "images").mkdir(parents=True)
    studies = iu_xray.read(SHARED / "iu-xray", SHARED, REGIONS).studies
    lines = []
    for study in studies:
        for image in study.images:
            shutil.copy(SHARED / image.path, folder / "images")
        images = [
            {"path": f"images/{Path(image.path).name}", "projection": image.projection}
            for image in study.images
        ]
        row = {"id": study.id, "report": study.report, "images": images, "split": study.split}
        lines.append(json.dumps(row | {"reference": study.reference}))
    (folder / "iu.jsonl").write_text("\n".join(reversed(lines)) + "\n")

    shutil.copy(root / "params.yaml", tmp_path)
    data = prepare.DataParams(source="phantom", settings={}, seed=0, dev_share=0.1, sample={})
    said = init(folder / "iu.jsonl", {}, [], data, [], tmp_path, check=params.parse)
    for words in ("report      report", "split       split", "images      images: "):
        assert words in said, said
    settings = TableSettings(
        file="iu.jsonl", images="images", split="split", reference="reference", seed=0
    )
    raw = tmp_path / "data/raw/table"
    read = Table(settings, REGIONS).read(raw, tmp_path / "drawn", tmp_path)
    assert read.incidents == []
    assert len(read.studies) == len(studies) > 2000
    expected = prepare.split(studies, seed=0, dev_share=0.1)
    splits = prepare.split(read.studies, seed=0, dev_share=0.1)
    for name, members in expected.items():
        assert list(map(plain, splits[name])) == list(map(plain, members)), name
    assert len(splits["test"]) == 295 and any(study.images for study in splits["test"])
