"""The files below a folder, without links that lead out of it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def files_below(
    folder: Path, wanted: Callable[[str], object], outside: list[Path], root: Path | None = None
) -> Iterator[Path]:
    """Every file below `folder` whose name is `wanted`, sorted by folder, then by name.

    Hidden names are skipped (macOS leaves `._x.png` in archives). Links to folders are not
    followed: those that lead out of `folder` are appended to `outside`, as are such links to wanted
    files. A link into the cache of the DVC repository that holds `root` is the file itself: DVC may
    link what it tracks.
    """
    home = folder.resolve()
    caches: list[Path | None] = []  # looked up at the first link out, which takes DVC 0.5 s

    def leads_out(link: Path, to_folder: bool) -> bool:
        target = Path(os.path.realpath(link))
        if target.is_relative_to(home):
            return False
        if root is None or to_folder:
            return True
        if not caches:
            caches.append(dvc_cache(root))
        return caches[0] is None or not target.is_relative_to(caches[0])

    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != "__MACOSX"
        )
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink() and leads_out(path, to_folder=True):
                outside.append(path)
        for name in sorted(names):
            if name.startswith(".") or not wanted(name):
                continue
            path = Path(parent, name)
            if path.is_symlink() and leads_out(path, to_folder=False):
                outside.append(path)
            else:
                yield path


def dvc_cache(root: Path) -> Path | None:
    """The cache of the DVC repository that `root` is in, wherever it is configured; None where
    there is none.
    """
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
    except ImportError:
        return None
    try:
        with Repo(Repo.find_root(str(root))) as repo:
            return Path(repo.cache.local_cache_dir).resolve()
    except DvcException:
        return None
