"""One actor on the driver's node for what has to be one for all workers: it alone stores answers,
and asks servers, so that no node writes SQLite over a network file system, no question is asked
twice, and limits hold for the cluster as a whole.

It is the driver's: it ends with it, and goes on when a worker is killed. Arguments and
large results are sent in pieces so small that Ray hands them over directly: larger ones would lie
in its object store, which may be written to disk.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xraygen.core.errors import UserError
from xraygen.engines import answers
from xraygen.engines.answers import Answers, Rows, Statement
from xraygen.engines.server import secret
from xraygen.engines.server_errors import Unavailable

_PIECE = 64 * 2**10  # bytes; Ray hands over up to 100 KiB directly
_CALLS = 10_000  # at a time, most of which wait for a server
_ENDED = (
    "the process that stores answers and asks servers has ended; what was answered is kept, "
    "run again to go on"
)


class Service:
    """What the actor does; workers call its coroutines by name."""

    def __init__(self) -> None:
        self._answers: Answers | None = None

    async def execute(self, statements: Sequence[Statement]) -> list[Rows]:
        """Of the stored answers."""
        self._answers = self._answers or Answers({})
        return self._answers.execute(statements)

    async def close(self, reason: str) -> None:
        """Starts nothing more, and returns when what is under way has ended."""

    async def usage(self) -> dict[str, float]:
        """What the run has asked, and at what cost."""
        return {}


class _Failed(NamedTuple):
    """A UserError, which Ray would raise with a traceback as its text."""

    message: str


class _Actor:
    def __init__(self, folder: Path, make: Callable[[], Service]) -> None:
        self.folder = folder
        self.make = make
        self.service: Service | None = None

    async def call(self, name: str, *pieces: bytes) -> Any:
        try:
            if self.service is None and name == "close":
                return None  # nothing has begun
            if self.service is None:
                os.chdir(self.folder)  # where .cache and .env are
                self.service = self.make()
            return await getattr(self.service, name)(*pickle.loads(b"".join(pieces)))
        except UserError as error:
            return _Failed(str(error))

    async def stream(self, name: str, *pieces: bytes) -> AsyncIterator[bytes]:
        for piece in _pieces(await self.call(name, *pieces)):
            yield piece


class Shared:
    """The actor, as the driver and the workers see it. Unavailable: it has ended, or what was
    called raises a UserError.
    """

    def __init__(self, make: Callable[[], Service], folder: Path) -> None:
        """`make`: called in the actor. `folder`: the project's."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(_Actor).options(
            num_cpus=0, scheduling_strategy=here, max_concurrency=_CALLS
        )
        self._actor: Any = actor.remote(folder, make)

    def call(self, name: str, *args: object) -> Any:
        import ray

        with _ended():
            return _result(ray.get(self._send(name, args)))

    def fetch(self, name: str, *args: object) -> Any:
        """The same for a large result, which comes in pieces as well."""
        import ray

        with _ended():
            sent = self._send(name, args, self._actor.stream.options(num_returns="streaming"))
            return _result(pickle.loads(b"".join(ray.get(list(sent)))))

    async def ask(self, name: str, *args: object) -> Any:
        with _ended():
            return _result(await self._send(name, args))

    def store_answers(self) -> None:
        """From now on the answers of this process are found and stored by the actor."""
        answers.store_elsewhere(self._execute)

    def _execute(self, statements: Sequence[Statement]) -> list[Rows]:
        """All at the same time, each by itself, as the rows of many would be too large."""
        import ray

        with _ended():
            sent = [self._send("execute", ([statement],)) for statement in statements]
            return [_result(one)[0] for one in ray.get(sent)]

    def _send(self, name: str, args: tuple, method: Any = None) -> Any:
        return (method or self._actor.call).remote(name, *_pieces(args))

    def close(self, reason: str = "the run has ended") -> None:
        """On the driver. Requests under way are paid for, so their replies are awaited."""
        import ray

        with contextlib.suppress(UserError):  # it has ended already, or never begun
            self.call("close", reason)
        ray.kill(self._actor)


def _pieces(content: object) -> list[bytes]:
    data = pickle.dumps(content)
    return [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)]


def check_key(name: str) -> None:
    """In the actor, where the key is in the environment of the command that started the run.
    UserError: it is not here as well. `name`: of the environment variable.
    """
    if not secret(name):
        raise UserError(
            f"{name}: is set here, and not in the environment in which the cluster was started; "
            "put it into the file .env in the project's folder"
        )


def _result(result: Any) -> Any:
    if isinstance(result, _Failed):
        raise Unavailable(result.message)
    return result


@contextlib.contextmanager
def _ended() -> Iterator[None]:
    from ray.exceptions import RayActorError

    try:
        yield
    except RayActorError:
        raise Unavailable(_ENDED) from None
