"""Agreement of the proxy judge with recorded answers of GREEN, by cross-validation and on new
approaches, and pairs judged a second of one core, `score` and `clinical` together.

    OMP_NUM_THREADS=1 python -m bench.proxy [--recorded ../shared/recorded] [--pairs 4000]

Speed is measured on made-up pairs of one to three sentences a side, somewhat longer than the
recorded ones. No sentence occurs twice, so that caches do not help. Without the folder of recorded
answers the agreement is skipped. Prints one JSON line.
"""

import argparse
import json
import random
import time
from pathlib import Path

from xraygen.judges.proxy.proxy import Proxy

FINDINGS = [
    "pleural effusion",
    "pneumothorax",
    "airspace consolidation",
    "calcified granuloma",
    "rib fracture",
    "linear scarring",
]


def made_up(count: int) -> list[tuple[str, str]]:
    """Pairs of texts, each sentence with its own measure."""
    draw, number = random.Random(0), iter(range(10, 10**9))

    def sentence() -> str:
        start, side = (
            draw.choice(["There is a", "No", "Clear lungs without", "Mild"]),
            draw.choice(["left", "right"]),
        )
        return f"{start} {next(number)} mm {side} {draw.choice(FINDINGS)}."

    return [
        tuple(" ".join(sentence() for _ in range(draw.randint(1, 3))) for _ in range(2))
        for _ in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recorded", type=Path, default=Path("../shared/recorded"))
    parser.add_argument("--pairs", type=int, default=4000)
    arguments = parser.parse_args()
    pairs, proxy = made_up(arguments.pairs), Proxy()
    proxy.judge(made_up(1))  # loads the weights
    proxy.clinical(made_up(1))  # loads the table of significance
    start = time.process_time()
    proxy.judge(pairs)
    proxy.clinical(pairs)
    result: dict = {"pairs_per_second": round(len(pairs) / (time.process_time() - start))}
    if arguments.recorded.is_dir():
        from recipes.fit_proxy import across, cross_validate, recorded

        frame = recorded(arguments.recorded)
        names = (
            "n",
            "n_differ",
            "pearson",
            "pearson_honest",
            "pearson_differ",
            "mae",
            "mae_differ",
            "region_gap",
        )
        for by in ("pair", "study", "reference"):
            agreement, _ = cross_validate(frame, by)
            result[f"by_{by}"] = {name: agreement[name] for name in names}
        result["across_sources"] = across(frame, "source")
        result["across_approaches"] = across(frame, "approach")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
