"""A drawing of matplotlib's as an <svg> element inside of a page.

It takes its colours and its font from the page, so that it is legible in light, in dark and on
paper. It has no style sheet or style attribute, which the page's policy forbids, and its ids are
its own.
"""

import re
from xml.etree import ElementTree

from markupsafe import Markup

_NAMESPACE = re.compile(r"^\{[^}]*\}")
_REFERENCE = re.compile(r"#([\w.-]+)")
_DROPPED = ("metadata", "style")
# Colours to draw series of a chart with; the page's style sheet says what they look like.
SERIES = tuple(f"#c0010{number}" for number in range(8))
# The page's own text colour and background in place of matplotlib's and `overview.draw`'s.
_COLORS = {
    "#ffffff": "none",
    "#000000": "currentColor",
    "#b0b0b0": "currentColor",
    "#888888": "currentColor",
    "#4c78a8": "var(--series-0)",
    **{color: f"var(--series-{number})" for number, color in enumerate(SERIES)},
}


def inline(drawing: str, name: str, title: str, description: str) -> Markup:
    """`drawing`: an SVG file with texts as text (svg.fonttype none). `name`: what its ids start
    with. `title`, `description`: what a screen reader says of it.
    """
    root = ElementTree.fromstring(drawing)
    used = set(_REFERENCE.findall(" ".join(_references(root))))
    _clean(root, name, used)
    head = [("title", title), ("desc", description)]
    for place, (tag, text) in enumerate(head):
        element = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(place, element)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib |= {
        "viewBox": box,
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
        "stroke-linejoin": "round",
    }
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _references(root: ElementTree.Element) -> list[str]:
    """The attributes that may name the id of another element."""
    return [
        value
        for element in root.iter()
        for key, value in element.attrib.items()
        if key.endswith("href") or "url(" in value
    ]


def _clean(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """Make the element and what is in it a part of the page. `used`: the ids that are referred
    to.
    """
    element.tag = _NAMESPACE.sub("", element.tag)
    for child in list(element):
        if _NAMESPACE.sub("", child.tag) in _DROPPED:
            element.remove(child)
        else:
            _clean(child, name, used)
    attributes = {"fill": "#000000"} if element.tag == "text" else {}
    attributes |= element.attrib
    attributes |= _presentation(attributes.pop("style", ""))
    element.attrib.clear()
    for key, value in attributes.items():
        key = _NAMESPACE.sub("", key)
        if key == "id":
            if value in used:
                element.set("id", f"{name}-{value}")
        elif key == "href" or value.startswith("url("):
            element.set(key, value.replace("#", f"#{name}-"))
        else:
            element.set(key, _COLORS.get(value, value))


def _presentation(style: str) -> dict[str, str]:
    """A style as presentation attributes, without the font's name."""
    pairs = (part.split(":", 1) for part in style.split(";") if ":" in part)
    properties = {key.strip(): value.strip() for key, value in pairs}
    properties.pop("font-family", None)
    return properties
