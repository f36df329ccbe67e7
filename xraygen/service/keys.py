"""API keys: names with the SHA-256 hashes of random keys, from a file that git ignores or from the
environment.

A key has 256 random bits, so a plain hash keeps it as safe as a slow, salted one would: nobody can
try all keys, and two keys never share a hash. No error, log line or metric contains a key.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from xraygen.core.errors import UserError
from xraygen.core.files import refuse_other_than_file
from xraygen.service import logs

FILE = Path(".api-keys")
VARIABLE = "XRAYGEN_API_KEYS"
PREFIX = "xrg_"  # so that scanners for secrets, and people, recognise a key

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


class Keys:
    """`hashes`: by name. Empty: nobody needs a key."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = [(name, bytes.fromhex(digest)) for name, digest in hashes.items()]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def name_of(self, key: bytes) -> str | None:
        """The name of a key, None if it is unknown. Compares with every hash, each in constant
        time, so that the time taken tells nothing about the keys.
        """
        digest = hashlib.sha256(key).digest()
        found = None
        for name, known in self._hashes:
            if hmac.compare_digest(digest, known):
                found = name
        return found


def load(path: Path = FILE, environment: Mapping[str, str] = os.environ) -> Keys:
    """The keys of the file, if there is one, and of the environment.

    UserError: the file cannot be read, may be written by others or holds no key; a line is not
    NAME:HASH; two keys have the same name.
    """
    hashes: dict[str, str] = {}
    if path.exists():
        for number, line in enumerate(_read(path).splitlines(), 1):
            _add(hashes, line, f"{path}, line {number}")
        if not hashes:
            raise UserError(f"{path}: holds no key; add one (xraygen api-key NAME) or remove it")
    entries = re.split(r"[,\n]", environment.get(VARIABLE, ""))
    for number, entry in enumerate(entries, 1):
        _add(hashes, entry, f"{VARIABLE}, entry {number}")
    return Keys(hashes)


def create(name: str, path: Path = FILE) -> str:
    """A new key, whose hash is appended to the file. UserError: the name is not usable or exists,
    or the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            "the name of a key has at most 64 letters, digits, - and _, and starts with a letter "
            "or digit"
        )
    refuse_other_than_file(path)
    key = PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+b", buffering=0) as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # two commands at once append one by one
            os.fchmod(descriptor, 0o600)
            content = file.read()
            _refuse_known(name, content, path)
            start = b"" if not content or content.endswith(b"\n") else b"\n"
            # One write: whoever is killed here leaves the whole line or none.
            file.write(start + f"{name}:{digest}\n".encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    return key


def _refuse_known(name: str, content: bytes, path: Path) -> None:
    hashes: dict[str, str] = {}
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        _add(hashes, line, f"{path}, line {number}")
    if name in hashes:
        raise UserError(f"{path}: has a key named {name}; choose another name or remove its line")


def _read(path: Path) -> str:
    refuse_other_than_file(path)
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(f"{path}: others may add keys to it; run: chmod 600 {path}")
    if mode & stat.S_IROTH:
        # Not an error: nobody can compute a key from its hash, and files that Docker or Kubernetes
        # mount as secrets are often readable by all.
        logs.event("keys-readable", message=f"{path} can be read by others: chmod 600 {path}")
    return content.decode(errors="replace")


def _add(hashes: dict[str, str], line: str, where: str) -> None:
    """Errors never quote the line: it may hold a key instead of a hash."""
    line = line.strip()
    if not line or line.startswith("#"):
        return
    name, _, digest = line.partition(":")
    if not _NAME.fullmatch(name) or not _HASH.fullmatch(digest):
        raise UserError(
            f"{where}: not NAME:HASH with the SHA-256 of a key in 64 lower-case hex digits; "
            "xraygen api-key NAME writes such a line"
        )
    if name in hashes:
        raise UserError(f"{where}: the second key with this name")
    hashes[name] = digest
