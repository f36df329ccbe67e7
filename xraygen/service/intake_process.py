"""The intake: what reads bodies, so that neither the event loop nor a model meets a bad one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from xraygen.service.intake import Failed
from xraygen.service.options import Options


class Asked:
    """What a request asks of an approach. `items`: for each case or pair, in order, the JSON line
    that the model is sent, or why there is none.

    A context manager: at its end the request's images are removed.
    """

    def __init__(
        self, approach: str, items: Sequence[bytes | Failed], images: Path | None = None
    ) -> None:
        self.approach, self.items, self._images = approach, items, images

    def release(self) -> None:
        if self._images:
            shutil.rmtree(self._images, ignore_errors=True)

    def __enter__(self) -> Asked:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Intake:
    """`pictures`: by approach, the default one first, whether it shows pictures; if not, images are
    checked but neither decoded nor kept. It is read for each request, so that it may be filled when
    the models have been loaded. `folder`: the private folder for images, to which the
    paths of a case's images are relative (`Project.images` of the models).

    Small bodies without images are read at once, all others in a process of their own.
    """

    def __init__(self, options: Options, pictures: Mapping[str, bool], folder: Path) -> None:
        self.options, self.pictures, self.folder = options, pictures, folder

    async def start(self) -> None:
        """Starts the process."""

    async def close(self) -> None:
        """Ends the process. The folder is the caller's to remove (`images.private_folder`)."""

    def ready(self) -> bool:
        """Whether the process runs."""
        return True

    async def annotations(self, body: bytes, content_type: str) -> Asked:
        """For `with await intake.annotations(...) as asked:`. Problem: the request cannot be read
        as a whole, or names an approach that is not loaded.
        """
        raise NotImplementedError

    async def line(self, line: bytes, approach: str) -> Asked:
        """A line of a stream: one item. It raises nothing: what is wrong with the line, and an
        intake process that fails, is a Failed.
        """
        raise NotImplementedError

    async def judgements(self, body: bytes, content_type: str) -> Asked:
        """Pairs of /v1/judgements; `approach` is empty. Problem: as in `annotations`. A pair that
        is not usable is a Failed without an id.
        """
        raise NotImplementedError
