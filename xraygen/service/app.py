"""The routes. They splice the JSON lines that models return into responses, and compute nothing.

Every error leaves as a problem: those that routes raise, unknown paths and methods, and bugs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp

from xraygen.service import metrics, openapi
from xraygen.service.guard import Guard
from xraygen.service.intake import Failed
from xraygen.service.loaded import Loaded
from xraygen.service.model import Model
from xraygen.service.page import page
from xraygen.service.problems import Problem
from xraygen.service.schemas import failed_case
from xraygen.service.stream import NDJSON, Annotating

GET = ["GET", "HEAD"]


class Route(APIRoute):
    """Calls its endpoint with the request and sends the response that it returns: no dependencies,
    and nothing is validated a second time.
    """

    def get_route_handler(self) -> Callable:
        return self.endpoint


class Api(FastAPI):
    """FastAPI with the guard as its only middleware: its own would answer a bug in plain text."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
        self.loaded = loaded
        self.router.route_class = Route
        self.router.lifespan_context = self._models
        self.counts = metrics.Metrics(loaded.models())

    @contextlib.asynccontextmanager
    async def _models(self, _: FastAPI) -> AsyncIterator[None]:
        loaded = self.loaded
        try:
            await loaded.intake.start()
            for model in loaded.models():
                await model.start()
            yield
        finally:
            for model in loaded.models():
                await model.close()
            await loaded.intake.close()

    def build_middleware_stack(self) -> ASGIApp:
        paths = [route.path for route in self.routes if isinstance(route, APIRoute)]
        routes = ExceptionMiddleware(self.router, self.exception_handlers)
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

    @api.api_route("/", methods=GET)
    async def root(_: Request) -> Response:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    @api.api_route("/openapi.json", methods=GET)
    async def described(_: Request) -> Response:
        return _json(document)

    @api.api_route("/healthz", methods=GET)
    async def healthz(_: Request) -> Response:
        return _json(b'{"status":"ok"}')

    @api.api_route("/readyz", methods=GET)
    async def readyz(_: Request) -> Response:
        if loaded.draining:
            raise Problem("shutting-down", "Requests in progress are still answered.")
        if not loaded.ready:
            raise Problem("model-unavailable", "A model is being loaded.", retry_after=5)
        return _json(b'{"status":"ok"}')

    @api.api_route("/metrics", methods=GET)
    async def measured(_: Request) -> Response:
        return Response(api.counts.render(), media_type=metrics.CONTENT_TYPE)

    @api.api_route("/v1/approaches", methods=GET)
    async def approaches(_: Request) -> Response:
        return _json(loaded.listing())

    @api.post("/v1/annotations")
    async def annotations(request: Request) -> Response:
        async with loaded.bodies.read(request) as body:
            asked = await loaded.intake.annotations(body, _content_type(request))
        with asked:
            model = loaded.approaches[asked.approach]
            found = await _answers(model, asked.items)
        hash = loaded.hash_of(model)
        lines = (
            failed_case(model.name, hash, *one) if isinstance(one, Failed) else one for one in found
        )
        return _json(b'{"annotations":[' + b",".join(lines) + b"]}")

    @api.post("/v1/annotations:stream")
    async def stream(request: Request) -> Response:
        if _content_type(request).partition(";")[0].strip().lower() != NDJSON:
            raise Problem("media-type", f"Send {NDJSON}, a case a line.")
        return Annotating(request, loaded.approach(request.query_params.get("approach")), loaded)

    if loaded.judge:
        judge = loaded.judge
        head = b'{"judge":' + json.dumps(judge.name).encode() + b',"judgements":['

        @api.post("/v1/judgements")
        async def judgements(request: Request) -> Response:
            async with loaded.bodies.read(request) as body:
                asked = await loaded.intake.judgements(body, _content_type(request))
            found = await _answers(judge, asked.items)
            lines = (
                b'{"error":' + one.problem.body() + b"}" if isinstance(one, Failed) else one
                for one in found
            )
            return _json(head + b",".join(lines) + b"]}")

    return api


async def _answers(model: Model, items: Sequence[bytes | Failed]) -> list[bytes | Failed]:
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
