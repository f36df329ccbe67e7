"""The routes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from fastapi import FastAPI, Request, Response
from pydantic import ValidationError

from xraygen.core.study import Case
from xraygen.service.bodies import Bodies
from xraygen.service.model import Model
from xraygen.service.options import Options
from xraygen.service.problems import Problem
from xraygen.service.schemas import (
    AnnotationRequest,
    AnnotationResponse,
    Health,
    JudgementRequest,
    JudgementResponse,
)


class Loaded:
    """`approaches`: the models by name, the default one first. `draining`: no more requests are
    accepted.
    """

    def __init__(self, approaches: Mapping[str, Model], judge: Model, options: Options) -> None:
        self.approaches, self.judge, self.options = approaches, judge, options
        self.default = next(iter(approaches))
        self.draining = False
        self.bodies = Bodies(options)

    def models(self) -> list[Model]:
        return [*self.approaches.values(), self.judge]

    def approach(self, name: str | None) -> Model:
        model = self.approaches.get(name or self.default)
        if model is None:
            raise Problem("invalid-request", "approach: GET /v1/approaches lists those loaded.")
        return model


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

    app = FastAPI(title="xraygen", docs_url=None, redoc_url=None, lifespan=lifespan)

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    @app.get("/healthz", response_model=Health)
    async def health() -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    @app.post("/v1/annotations", response_model=AnnotationResponse)
    async def annotations(request: Request) -> Response:
        async with loaded.bodies.read(request) as body:
            try:
                asked = AnnotationRequest.model_validate_json(body)
            except ValidationError:
                raise Problem("invalid-request", "See /openapi.json.") from None
        model = loaded.approach(asked.approach)
        cases = [Case(id=case.id, report=case.report) for case in asked.cases]
        found = await model.ask([case.model_dump_json().encode() for case in cases])
        return _json(b'{"annotations":[' + b",".join(found) + b"]}")

    @app.post("/v1/judgements", response_model=JudgementResponse)
    async def judgements(request: Request) -> Response:
        async with loaded.bodies.read(request) as body:
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
