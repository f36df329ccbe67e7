"""The page at `/`: one file with its styles and scripts in it, which asks only its own service."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

SHARED = files("xraygen.pages")
OWN = files(__name__)


class Page(NamedTuple):
    """`policy`: the header Content-Security-Policy that goes with it."""

    html: str
    policy: str


@cache
def page() -> Page:
    """The page is the same for every request, so that hashes can name its style and its script."""
    styles = _joined([SHARED / "page.css", OWN / "service.css"])
    scripts = _joined(
        [SHARED / "dom.js", *(OWN / f"{name}.js" for name in ("ask", "images", "result", "form"))]
    )
    html = (OWN / "page.html").read_text(encoding="utf-8")
    policy = {
        "default-src": "'none'",
        "script-src": _hash(scripts),
        "style-src": _hash(styles),
        "connect-src": "'self'",
        "img-src": "blob: data:",  # previews of what is chosen, and the icon
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return Page(
        html.format(styles=styles, scripts=scripts),
        "; ".join(f"{directive} {sources}" for directive, sources in policy.items()),
    )


def _joined(paths: list) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
