"""What git is kept from: raw data, which may be about patients."""

import shutil
import subprocess
from pathlib import Path

RAW = "data/raw"
KEPT = (
    f"{RAW}/.gitignore",
    f"{RAW}/mine.dvc",
    f"{RAW}/mine/.gitignore",
    f"{RAW}/mine/images.dvc",
    f"{RAW}/iu-xray/README.md",
    f"{RAW}/iu-xray/images.dvc",
    f"{RAW}/phantom/README.md",
    "tests/studies.jsonl",
)
IGNORED = (
    f"{RAW}/reports.csv",
    f"{RAW}/mine/README.md",
    f"{RAW}/mine/reports.csv",
    f"{RAW}/mine/images/1.png",
    f"{RAW}/iu-xray/images/1.png",
    f"{RAW}/table/reports.csv",
    "studies.jsonl",
    "studies-open-i.jsonl",
)


def test_raw_data_stays_out_of_git_and_what_dvc_writes_about_it_gets_in(root: Path, tmp_path):
    for name in (*KEPT, *IGNORED):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in (f"{RAW}/.gitignore", f"{RAW}/mine/.gitignore"):
        (tmp_path / name).write_text("/nothing\n")
    shutil.copy(root / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(listed.stdout.split()) == sorted((".gitignore", *KEPT))
