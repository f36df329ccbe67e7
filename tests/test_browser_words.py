"""words.js: which words of a text differ from a reference."""

import re

import pytest


@pytest.fixture
def page(open_page, root, tmp_path):
    script = (root / "xraygen/pages/words.js").read_text(encoding="utf-8")
    path = tmp_path / "words.html"
    path.write_text(f"<!doctype html><title>Words</title><script>{script}</script>", "utf-8")
    return open_page(path)


CASES = [
    # case and punctuation are no differences of words
    ("Heart is Large.", "heart is large", "heart is large"),
    ("No effusion is seen.", "No effusion.", "No effusion -is seen-."),
    ("No pneumothorax.", "Pneumothorax.", "-No- Pneumothorax."),
    ("Nodule of 1.9 cm.", "Nodule of 1.8 cm.", "Nodule of -1.9- +1.8+ cm."),
    ("", "Clear lungs.", "+Clear lungs.+"),
    ("Clear lungs.", "", "-Clear lungs.-"),
    # one word in the middle stays, although both sides differ by as much
    ("small left effusion", "large left opacity", "-small- +large+ left -effusion- +opacity+"),
    (
        "small left effusion",
        "large left nodule seen",
        "-small- +large+ left -effusion- +nodule seen+",
    ),
    # but words that match by chance between long parts do not break these up
    (
        "Two old fractures of the ribs on the left side only.",
        "Spine curved to the right with severe wear.",
        "-Two old fractures of the ribs on the left side only-"
        " +Spine curved to the right with severe wear+.",
    ),
    ("𝒳-ray of 🫁 ok", "𝒳-ray of 🫀 ok", "𝒳-ray of 🫀 ok"),  # signs alone are not marked
]


def test_words_that_differ_are_marked_with_spaces_around_them(page):
    """- is around missing words, + around added ones."""
    shown = page.evaluate(
        """(cases) => cases.map(([reference, text]) => {
          const box = document.createElement("p");
          box.append(markedWords(reference, text));
          for (const mark of box.querySelectorAll("ins, del")) {
            const sign = mark.matches("ins.added") ? "+" : "-";
            mark.textContent = sign + mark.textContent + sign;
          }
          return box.textContent;
        })""",
        CASES,
    )
    assert shown == [expected for _, _, expected in CASES]


def test_runs_put_together_are_the_texts(page):
    """Of random texts: what is not missing is the text, to the letter; what is not added is the
    reference, but for case and white space.
    """
    pairs = page.evaluate(
        """() => {
          const words = ["no", "left", "Left", "lung", ".", ",", "1.5", "x-ray", "  ", "𝒳", "\\n"];
          let state = 1;
          const random = (below) => {
            state = (state * 48271) % 2147483647;
            return state % below;
          };
          const draw = () => Array.from({ length: random(12) }, () => words[random(11)]).join(" ");
          return Array.from({ length: 2000 }, () => {
            const [reference, text] = [draw(), draw()];
            return { reference, text, runs: wordRuns(reference, text) };
          });
        }"""
    )
    assert len({kind for one in pairs for _, kind in one["runs"]}) == 3
    for one in pairs:
        assert _joined(one["runs"], "missing") == one["text"]
        assert _bare(_joined(one["runs"], "added")) == _bare(one["reference"])


def _joined(runs, without: str) -> str:
    return "".join(text for text, kind in runs if kind != without)


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", text.lower())
