"""Files and folders by path or URL, wherever fsspec finds them."""

import re
from typing import TYPE_CHECKING

from xraygen.core.errors import UserError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


def filesystem(url: str) -> tuple["AbstractFileSystem", str]:
    """(where it is, its path there). UserError: a package is missing, or this is no such URL."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UserError(
            "--ray takes fsspec and ray: pip install -c constraints.txt -e '.[cluster]'"
        ) from None
    try:
        return url_to_fs(url)
    except ImportError as error:  # "Install s3fs to access S3"
        raise UserError(f"{shown(url)}: {error}; every node takes it") from None
    except ValueError as error:
        raise UserError(f"{shown(url)}: {error}") from None


def shown(url: str) -> str:
    """The URL without what may give access: user and password, and the query."""
    if "://" not in url:
        return url
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0]


def is_local(url: str) -> bool:
    return "local" in filesystem(url)[0].protocol


def one_line(error: Exception) -> str:
    """What a library says of a place that it cannot reach."""
    return " ".join(f"{type(error).__name__} {error}".split())[:200]
