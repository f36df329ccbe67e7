"""The routes. They splice the JSON lines that models return into responses, and compute nothing.

Every error leaves as a problem: those that routes raise, unknown paths and methods, and bugs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from xraygen.service import logs, metrics, openapi
from xraygen.service.guard import Guard
from xraygen.service.intake import Failed
from xraygen.service.intake_process import Intake
from xraygen.service.loaded import Loaded
from xraygen.service.model import Model
from xraygen.service.page import page
from xraygen.service.problems import Problem
from xraygen.service.schemas import failed_case
from xraygen.service.stream import NDJSON, Annotating

Endpoint = Callable[[Request], Awaitable[Response]]


class Api(FastAPI):
    """FastAPI with the guard as its only middleware: its own would answer a bug in plain text."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
        self.loaded = loaded
        self.router.lifespan_context = self._models
        self.counts = metrics.Metrics(loaded.models())
        self.endpoints: dict[tuple[str, str], Endpoint] = {}

    @contextlib.asynccontextmanager
    async def _models(self, _: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            parts: list[Intake | Model] = [self.loaded.intake, *self.loaded.models()]
            for part in parts:
                stack.push_async_callback(part.close)
                await part.start()
            logs.event("ready", models=[model.name for model in self.loaded.models()])
            yield

    def build_middleware_stack(self) -> ASGIApp:
        paths = {path for _, path in self.endpoints}
        unknown = ExceptionMiddleware(self.router, self.exception_handlers)

        async def routes(scope: Scope, receive: Receive, send: Send) -> None:
            """Known paths without Starlette's router, which takes a tenth of a request's time. It
            answers the others: unknown paths and methods, and HEAD.
            """
            endpoint = self.endpoints.get((scope.get("method", ""), scope.get("path", "")))
            if endpoint is None:
                await unknown(scope, receive, send)
            else:
                response = await endpoint(Request(scope, receive))
                await response(scope, receive, send)

        return Guard(routes, self.loaded.access, self.loaded.options, self.counts, paths)


def create_app(loaded: Loaded) -> Api:
    api = Api(loaded)
    html, policy = page()
    document = json.dumps(openapi.document(loaded)).encode()

    @api.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    @api.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            response = Problem("wrong-method", "The header Allow lists those allowed.").response()
            response.headers.update(error.headers or {})
            return response
        return Problem("no-such-path", "See /openapi.json.").response()

    async def root(_: Request) -> Response:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    async def described(_: Request) -> Response:
        return _json(document)

    async def healthz(_: Request) -> Response:
        return _json(b'{"status":"ok"}')

    async def readyz(_: Request) -> Response:
        if loaded.draining:
            raise Problem("shutting-down", "Requests in progress are still answered.")
        if not loaded.ready:
            raise Problem("model-unavailable", "A model is being loaded.", retry_after=5)
        return _json(b'{"status":"ok"}')

    async def measured(_: Request) -> Response:
        return Response(api.counts.render(), media_type=metrics.CONTENT_TYPE)

    async def approaches(_: Request) -> Response:
        return _json(loaded.listing())

    async def annotations(request: Request) -> Response:
        async with loaded.bodies.read(request) as body:
            # Held until the answer: the cases and the images are about as large.
            with await loaded.intake.annotations(body, _content_type(request)) as asked:
                model = loaded.approaches[asked.approach]
                found = await _answers(model, asked.items)
        hash = loaded.hash_of(model)
        lines = [
            failed_case(model.name, hash, *one) if isinstance(one, Failed) else one for one in found
        ]
        metrics.measured().answered(model.name, lines)
        return _json(b'{"annotations":[' + b",".join(lines) + b"]}")

    async def stream(request: Request) -> Response:
        if _content_type(request).partition(";")[0].strip().lower() != NDJSON:
            raise Problem("media-type", f"Send {NDJSON}, a case a line.")
        return Annotating(request, loaded.approach(request.query_params.get("approach")), loaded)

    async def judgements(request: Request) -> Response:
        judge = loaded.judge
        if judge is None:
            raise Problem("no-such-path", "The service has no judge.")
        async with loaded.bodies.read(request) as body:
            asked = await loaded.intake.judgements(body, _content_type(request))
        found = await _answers(judge, asked.items)
        lines = [
            b'{"error":' + one.problem.body() + b"}" if isinstance(one, Failed) else one
            for one in found
        ]
        metrics.measured().answered(judge.name, lines)
        name = json.dumps(judge.name).encode()
        return _json(b'{"judge":' + name + b',"judgements":[' + b",".join(lines) + b"]}")

    # Plain endpoints: nothing is injected or validated a second time.
    for path, endpoint, method in (
        ("/v1/annotations", annotations, "POST"),
        ("/v1/annotations:stream", stream, "POST"),
        ("/v1/judgements", judgements, "POST"),
        ("/healthz", healthz, "GET"),
        ("/readyz", readyz, "GET"),
        ("/metrics", measured, "GET"),
        ("/v1/approaches", approaches, "GET"),
        ("/openapi.json", described, "GET"),
        ("/", root, "GET"),
    ):
        api.add_route(path, endpoint, methods=[method])
        api.endpoints[method, path] = endpoint
    return api


async def _answers(model: Model, items: Sequence[bytes | Failed]) -> Sequence[bytes | Failed]:
    """For each item the line that the model gives, or why there is none."""
    lines = [item for item in items if isinstance(item, bytes)]
    if len(lines) == len(items):
        return await model.ask(lines)
    answers = iter(await model.ask(lines) if lines else ())
    return [item if isinstance(item, Failed) else next(answers) for item in items]


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "")


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
