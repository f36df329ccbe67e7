"""HTML pages that open from disk: one file with its styles, scripts and data in it, which asks the
network for nothing. Text from data reaches a page as JSON and is shown as text, never as markup.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

# Nothing may be loaded but the page's own styles and scripts, the scripts that these add, and
# pictures. An element with the nonce is the page's own; no text from data can know it, because it
# is a hash of the whole page.
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
    "img-src 'self' file: data:; base-uri 'none'; form-action 'none'"
)


def render(
    template: str, styles: Sequence[str], scripts: Sequence[str], data: object, **values: object
) -> str:
    """A page from a template in this folder. `styles`, `scripts`: files in this folder, put into
    the page in this order. `data`: what JSON can hold; scripts read it from the element `data`.
    `values`: what else the template names, which Jinja escapes.
    """
    shared = {
        "styles": _marked("\n".join(map(_file, styles))),
        "scripts": _marked("\n".join(map(_file, scripts))),
        "data": _marked(as_json(data)),
    }
    page = _environment().get_template(template)
    content = repr((template, shared, values)).encode()
    nonce = base64.b64encode(hashlib.sha256(content).digest()[:18]).decode()
    return page.render(**values, **shared, nonce=nonce, policy=_POLICY.format(nonce=nonce))


def as_json(data: object) -> str:
    """Compact JSON that can stand in a <script> element: without <, so that nothing in it ends the
    element or opens a comment.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _file(name: str) -> str:
    return (files("xraygen.pages") / name).read_text(encoding="utf-8")


def _marked(text: str):
    from markupsafe import Markup

    return Markup(text)


@cache
def _environment():
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("xraygen.pages", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
