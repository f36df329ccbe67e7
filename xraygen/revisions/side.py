"""One side of a comparison: the project's files at a git revision or in the working tree, and the
outs that its dvc.lock names, from DVC's cache. Nothing is fetched and no stage is run.

Hashes are read from dvc.lock, and only the place of the cache is asked of DVC. DVC's own
DVCFileSystem takes 0.5 s instead of 0.3, downloads from the remote what the cache lacks, cannot be
opened where dvc.yaml of that revision does not resolve, and finds no file if the project is in a
subfolder of the git repository (DVC 3.67).
"""

import hashlib
import json
import subprocess
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

import yaml

from xraygen.core.errors import UserError
from xraygen.sources.walk import dvc_cache

LOCK = "dvc.lock"
WORKING_TREE = "the working tree"


class Side:
    """`label`: what texts call it. `commit`: the full hash, None for the working tree."""

    commit: str | None = None

    def __init__(self, root: Path, label: str):
        self.root = root
        self.label = label

    def read(self, path: str) -> bytes | None:
        """A file that git keeps. None: there is none."""
        raise NotImplementedError

    def names(self, folder: str) -> list[str]:
        """The names in a folder that git keeps, sorted; none where there is no such folder."""
        raise NotImplementedError

    def digest(self, path: str) -> str | None:
        """The MD5 of an out, also where its content cannot be read. None: there is no such out."""
        digest = self.outs.get(path) or self._in_folder(path)
        if digest is None:
            content = self.read(path)
            digest = None if content is None else md5(content)
        return digest

    def out(self, path: str) -> bytes | None:
        """The content of an out as dvc.lock has it; without an entry there, of the file itself.
        None: it is neither in its place nor in the cache.
        """
        digest = self.outs.get(path) or self._in_folder(path)
        cached = None if digest is None else self._cached(digest)
        if cached is not None:
            return cached
        content = self.read(path)
        is_it = content is not None and digest in (None, md5(content))
        return content if is_it else None

    @cached_property
    def lock(self) -> dict:
        """The content of dvc.lock, {} where it is missing or damaged."""
        content = self.read(LOCK)
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            lock = {} if content is None else yaml.load(content, loader)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
            return {}
        return lock if isinstance(lock, dict) and isinstance(lock.get("stages"), dict) else {}

    @cached_property
    def outs(self) -> dict[str, str]:
        """MD5 by path, those of folders with the ending `.dir`."""
        stages = [
            stage for stage in self.lock.get("stages", {}).values() if isinstance(stage, dict)
        ]
        return {
            str(out["path"]): str(out["md5"])
            for stage in stages
            for out in _list(stage.get("outs"))
            if isinstance(out, dict) and "path" in out and "md5" in out
        }

    def _in_folder(self, path: str) -> str | None:
        """The MD5 of a file in an out that is a folder, whose cached listing has it."""
        folder = self._folder_of(path)
        listing = None if folder is None else self._cached(self.outs[folder])
        if folder is None or listing is None:
            return None
        inside = PurePosixPath(path).relative_to(folder)
        hashes = {entry["relpath"]: entry["md5"] for entry in json.loads(listing)}
        return hashes.get(str(inside))

    def is_known(self, path: str) -> bool:
        """Whether dvc.lock has an out, by itself or in a folder whose listing cannot be read."""
        folder = self._folder_of(path)
        unread = folder is not None and self._cached(self.outs[folder]) is None
        return unread or self.digest(path) is not None

    def _folder_of(self, path: str) -> str | None:
        for parent in PurePosixPath(path).parents:
            if self.outs.get(str(parent), "").endswith(".dir"):
                return str(parent)
        return None

    def _cached(self, digest: str) -> bytes | None:
        folder = _cache(self.root)
        if folder is None or not digest.removesuffix(".dir").isalnum():
            return None
        try:
            content = (folder / "files" / "md5" / digest[:2] / digest[2:]).read_bytes()
        except OSError:
            return None
        return content if md5(content) == digest.removesuffix(".dir") else None  # None: damaged


class WorkingTree(Side):
    def __init__(self, root: Path):
        super().__init__(root, WORKING_TREE)

    def read(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except OSError:
            return None

    def names(self, folder: str) -> list[str]:
        place = self.root / folder
        return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


class Revision(Side):
    """UserError: `name` is no revision, or `root` is in no git repository."""

    def __init__(self, root: Path, name: str):
        self.commit = _commit(root, name)
        short = self.commit[:7]
        super().__init__(root, short if self.commit.startswith(name) else f"{name} ({short})")

    def read(self, path: str) -> bytes | None:
        done = git(self.root, "cat-file", "blob", f"{self.commit}:./{path}")
        return None if done.returncode else done.stdout

    def names(self, folder: str) -> list[str]:
        done = git(self.root, "ls-tree", "-z", "--name-only", str(self.commit), f"./{folder}/")
        listed = done.stdout.decode("utf-8", "replace").split("\0")
        return sorted(PurePosixPath(path).name for path in listed if path)


@cache
def _cache(root: Path) -> Path | None:
    """Both sides have the same one, and DVC takes 0.1 s to find it."""
    return dvc_cache(root)


def _list(value: object) -> list:
    return value if isinstance(value, list) else []


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """UserError: git is not installed."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    except FileNotFoundError:
        raise UserError("git: not found; `xraygen diff` reads revisions with it") from None


def _commit(root: Path, name: str) -> str:
    """The full hash of what git, or DVC for an experiment, knows by this name."""
    inside = git(root, "rev-parse", "--is-inside-work-tree")
    if inside.returncode:
        said = inside.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UserError(
            f"{root}: git cannot read it ({said[0] if said else 'no message'}); "
            "run this in a clone of the project"
        )
    if name.startswith("-"):
        raise UserError(f"{name}: not a revision; see: xraygen diff --help")
    found = git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if found.returncode and not set("*?[") & set(name):
        pattern = f"refs/exps/*/*/{name}"
        found = git(root, "for-each-ref", "--count=1", "--format=%(objectname)", pattern)
    commit = found.stdout.decode().strip()
    if not commit:
        raise UserError(
            f"{name}: git knows no such revision; `git log` lists them, and in a shallow clone "
            "`git fetch --unshallow` brings the others"
        )
    return commit
