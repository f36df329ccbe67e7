"""No region may have a name that the outputs give to something else next to the regions."""

import json

import pytest
from conftest import REGIONS, ROOT
from pydantic import ValidationError

from xraygen.annotators.release import columns
from xraygen.core.regions import Regions

# Where regions are keys or columns: metrics/scores, the sets of reports/comparison.json and the
# tables of reports/comparison.md. The second is no file of git: tests/test_own_data.py runs the
# pipeline and holds its keys against the reserved names.
COMPARISON = "abnormal_findings by_reference support verdicts".split()
TABLES = "approach against verbatim reworded unsupported unscored failed".split()


def _keys_of_outputs() -> set[str]:
    metrics = json.loads((ROOT / "metrics" / "scores" / "router.json").read_text())
    found = {key for name in ("dev", "test") for key in metrics[name]} | set(columns(REGIONS))
    return found - set(REGIONS)


NAMES = sorted({*_keys_of_outputs(), *COMPARISON, *TABLES, "as published"})


def test_the_outputs_have_the_names_that_issue_17_added():
    assert {"support", "unsupported", "evidence", "review", "by_reference"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_region_with_the_name_of_another_output_is_refused(name):
    for written in (name, name.upper(), f"{name}s"):
        with pytest.raises(ValidationError, match="another meaning"):
            Regions.model_validate({written: {"about": "x"}})
