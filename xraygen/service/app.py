"""The routes. They splice the JSON lines that models return into responses, and compute nothing.

Every error leaves as a problem: those that routes raise, unknown paths and methods, and bugs.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from xraygen.core.study import Case
from xraygen.service.loaded import Loaded
from xraygen.service.page import page
from xraygen.service.problems import Problem
from xraygen.service.schemas import (
    AnnotationRequest,
    JudgementRequest,
)


class Route(APIRoute):
    """Calls its endpoint with the request and sends the response it returns, without dependencies
    and without a second validation. It answers HEAD where it answers GET.
    """

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Response]], **settings) -> None:
        super().__init__(path, endpoint, **settings)
        if "GET" in self.methods:
            self.methods.add("HEAD")

    def get_route_handler(self) -> Callable:
        return self.endpoint


def create_app(loaded: Loaded) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            for model in loaded.models():
                await model.start()
            yield
        finally:
            for model in loaded.models():
                await model.close()

    app = FastAPI(docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.router.route_class = Route

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            response = Problem("wrong-method", "The header Allow lists the right ones.").response()
            response.headers.update(error.headers or {})
            return response
        return Problem("no-such-path", "See /openapi.json.").response()

    @app.get("/", include_in_schema=False)
    async def root(_: Request) -> Response:
        html, policy = page()
        return Response(html, headers={"Content-Security-Policy": policy}, media_type="text/html")

    @app.get("/healthz")
    async def healthz(_: Request) -> Response:
        return _json(b'{"status":"ok"}')

    @app.get("/readyz")
    async def readyz(_: Request) -> Response:
        if loaded.draining:
            raise Problem("shutting-down", "The service is stopping.")
        if not loaded.ready:
            raise Problem("model-unavailable", "A model is being loaded.", retry_after=5)
        return _json(b'{"status":"ok"}')

    @app.get("/v1/approaches")
    async def approaches(_: Request) -> Response:
        return _json(loaded.listing())

    @app.post("/v1/annotations")
    async def annotations(request: Request) -> Response:
        body = await request.body()
        try:
            asked = AnnotationRequest.model_validate_json(body)
        except ValidationError:
            raise Problem("invalid-request", "See /openapi.json.") from None
        model = loaded.approach(asked.approach)
        cases = [Case(id=case.id, report=case.report) for case in asked.cases]
        found = await model.ask([case.model_dump_json().encode() for case in cases])
        return _json(b'{"annotations":[' + b",".join(found) + b"]}")

    @app.post("/v1/judgements")
    async def judgements(request: Request) -> Response:
        body = await request.body()
        try:
            asked = JudgementRequest.model_validate_json(body)
        except ValidationError:
            raise Problem("invalid-request", "See /openapi.json.") from None
        found = await loaded.judge.ask([pair.model_dump_json().encode() for pair in asked.pairs])
        name = loaded.judge.name.encode()
        return _json(b'{"judge":"' + name + b'","judgements":[' + b",".join(found) + b"]}")

    return app


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
