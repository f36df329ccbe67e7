"""README.md of a release, as a dataset card of the Hugging Face hub."""

from collections.abc import Mapping, Sequence

from xraygen.annotators import release
from xraygen.core import cards
from xraygen.core.origin import Prepared

# The hub's size categories, each with the number of studies that it ends below.
_SIZES = {
    "n<1K": 10**3,
    "1K<n<10K": 10**4,
    "10K<n<100K": 10**5,
    "100K<n<1M": 10**6,
    "1M<n<10M": 10**7,
    "10M<n<100M": 10**8,
}
_FIELDS = """\
| field | content |
|---|---|
| `id` | of the study |
| `annotation` | text by region ({regions}), empty = nothing was said about it; null = failed |
| `evidence` | by region what the text rests on: support, spans, confidence |
| `review` | the regions that somebody should look at |
| `error` | why the annotation failed |
| `approach`, `judge` | what made the annotation, and by whose scores it was chosen |

val.csv has the same rows with a column for each region in place of `annotation`."""


def release_card(facts: Mapping, source: Prepared, regions: Sequence[str]) -> str:
    """The card of a release. `facts`: as for `release.readme`; `source`: where the studies come
    from; `regions`: all that are declared.
    """
    parts = [
        cards.RESEARCH_ONLY,
        cards.terms(source, "this data set"),
        "A program wrote these annotations. They may repeat the reports word for word, and no "
        "person has checked them.",
    ]
    sections = {
        "How it was made, and results": release.readme(facts),
        "Intended use": "Research on annotating radiology reports by region: looking at what an "
        "approach says, and reviewing it, the marked regions first.",
        "Out-of-scope use": f"{cards.OUT_OF_SCOPE} Nor are these references to score others by.",
        "Source data": f"{cards.source_line(source)} Studies: val {facts['studies']:,}. "
        f"{cards.seeds_line(source)}",
        "Files": _FIELDS.format(regions=", ".join(regions)),
        "Limits": _limits(source),
    }
    title = "Radiology studies annotated by region: the split val"
    return cards.card(_metadata(facts["studies"], source), title, parts, sections)


def _metadata(studies: int, source: Prepared) -> dict:
    metadata: dict = {"pretty_name": "Radiology studies annotated by region"}
    metadata |= cards.license_metadata(source)
    if source.language:
        metadata["language"] = [source.language]
    synthetic = ["synthetic"] if source.generated else []
    return metadata | {
        "task_categories": ["text-generation"],
        "size_categories": [_size(studies)],
        "annotations_creators": ["machine-generated"],
        "tags": ["medical", "radiology", *synthetic, "xraygen"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "validation", "path": "val.jsonl"}],
            }
        ],
    }


def _size(studies: int) -> str:
    return next((name for name, end in _SIZES.items() if studies < end), "n>1T")


def _limits(source: Prepared) -> str:
    if source.generated:
        patients = "The studies are generated: nothing here says anything about real patients."
    else:
        patients = "The studies are of one source; elsewhere the approach was not measured."
    lines = [
        patients,
        "Val has no references, so these annotations themselves were not scored.",
        "The judge is not a radiologist; docs/judges.md says how far it agrees with some.",
    ]
    return cards.listed(lines)
