"""The README shows what the committed run printed."""

from pathlib import Path


def test_the_readme_shows_the_committed_comparison(root: Path):
    readme, comparison = (root / "README.md").read_text(), (root / "reports/comparison.md").read_text()
    test = comparison[comparison.index("## Test (") : comparison.index("## Test, reports")]
    shown = readme[readme.index("<!-- comparison -->") : readme.index("<!-- /comparison -->")]
    assert [line for line in test.splitlines()[1:] if line.strip()] == [line for line in shown.splitlines()[2:] if line.strip()]


def test_every_path_and_command_that_the_readme_names_is_there(root: Path):
    readme = (root / "README.md").read_text()
    makefile = (root / "Makefile").read_text()
    for target in ("repro", "test"):
        assert f"make {target}" in readme and f"\n{target}:" in makefile
    for path in ("docs/proxy.md", "docs/architecture.md"):
        assert path in readme and (root / path).is_file()
