"""prepare: the studies of a source ->
data/prepared/{train,dev,test,val,agreement,incidents}.jsonl, data/prepared/source.json,
metrics/data.json.
"""

import sys
from pathlib import Path

from xraygen import params, sources
from xraygen.core.errors import one_line
from xraygen.core.json_lines import write_json, write_jsonl, write_metrics
from xraygen.sources import prepare, reviewed


def main(raw: str) -> None:
    settings = params.load()
    root = Path.cwd()
    out = Path("data/prepared")
    name = settings.data.source
    kind = sources.kind(name, "params.yaml: data.source")
    source = kind(settings.data.settings[name], settings.regions)
    images = root / out / "images"
    images.mkdir(parents=True, exist_ok=True)
    read, incidents = source.read(root / raw, images, root)
    if not any(images.iterdir()):  # DVC would warn of an empty folder before every stage
        (images / ".none").touch()
    prepare.check(read, settings.regions, name)
    corrected = reviewed.read_reviewed(reviewed.REFERENCES, settings.regions)
    studies, used, unused = reviewed.merge(read, corrected, settings.regions)
    incidents = [*incidents, *unused]
    given = prepare.split(studies, settings.data.seed, settings.data.dev_share)
    splits = {
        split: prepare.draw(
            members,
            settings.data.sample[split],  # type: ignore[index]
            settings.data.seed,
            "sample",
        )
        for split, members in given.items()
    }
    write_json(out / "source.json", prepare.origin(source, settings.data).model_dump())
    for split, members in splits.items():
        write_jsonl(out / f"{split}.jsonl", members)
    write_jsonl(out / "incidents.jsonl", incidents)
    curated = reviewed.as_curated((study for members in given.values() for study in members), read)
    unreviewed = [study for study in splits["test"] if study.id not in used]
    agreement = prepare.agreement(unreviewed, curated, source, settings.regions.scored)
    write_jsonl(out / "agreement.jsonl", agreement)
    facts = prepare.describe(name, splits, incidents)
    write_metrics("metrics/data.json", facts | reviewed.describe_reviewed(splits, used))
    if used:
        print(f"{reviewed.REFERENCES}: used for {len(used):,} studies", file=sys.stderr)
    if lost := prepare.summary(incidents):
        print(f"{raw}: {lost}; {out / 'incidents.jsonl'} names each", file=sys.stderr)


if __name__ == "__main__":
    with one_line():
        main(*sys.argv[1:])
