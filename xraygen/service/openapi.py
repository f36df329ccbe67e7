"""The OpenAPI document: what /openapi.json says of the routes, with the limits that this service
has been given.

It is written out rather than derived from the endpoints, which take the request as it is: a case
that is wrong gets an error in its place, so that almost anything may be a case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from http import HTTPStatus

from pydantic.json_schema import models_json_schema

from xraygen.service import examples
from xraygen.service.loaded import Loaded
from xraygen.service.options import Options
from xraygen.service.problems import CODES, MEDIA_TYPE, Problem
from xraygen.service.schemas import (
    AnnotationResponse,
    ApproachList,
    CaseIn,
    FailedLine,
    Health,
    JudgementResponse,
    Pair,
    ProblemDetails,
)

DESCRIPTION = """Annotates chest X-ray reports and images by region, and judges annotations.
Research only, not for clinical use."""

# What may go wrong with any request, with its body, and with the model behind it.
ANY = ("bad-request", "request-timed-out", "headers-too-large", "internal")
BODY = (
    "not-json",
    "too-deep",
    "body-too-large",
    "media-type",
    "invalid-request",
    "too-many-cases",
    "too-costly",
    "no-space",
    "busy",
    "shutting-down",
)
MODEL = ("queue-full", "model-unavailable", "timed-out")

_REF = "#/components/schemas/{model}"
_REQUEST_ID = {"description": "Of this request, as in the log.", "schema": {"type": "string"}}
_RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}


def document(loaded: Loaded) -> dict:
    content = _Document(loaded)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "xraygen",
            "version": "1",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": content.paths(),
        "components": {"schemas": content.schemas(), **content.security()},
    }


class _Document:
    def __init__(self, loaded: Loaded) -> None:
        self.loaded, self.options = loaded, loaded.options
        self.names = list(loaded.approaches)

    def paths(self) -> dict:
        paths = {
            "/": self._get("page", "The page, for a browser.", {"text/html": _TEXT}, public=True),
            "/openapi.json": self._get(
                "description",
                "This document.",
                {"application/json": {"schema": {"type": "object"}}},
                public=True,
            ),
            "/healthz": self._get(
                "health", "Whether the process answers.", _json("Health", {"status": "ok"}), True
            ),
            "/readyz": self._get(
                "readiness",
                "Whether all models are loaded and the service is not stopping.",
                _json("Health", {"status": "ok"}),
                True,
                ("model-unavailable", "shutting-down"),
            ),
            "/metrics": self._get("metrics", "For Prometheus.", {"text/plain": _TEXT}),
            "/v1/approaches": self._approaches(),
            "/v1/annotations": self._annotations(),
            "/v1/annotations:stream": self._stream(),
        }
        if self.loaded.judge:
            paths["/v1/judgements"] = self._judgements()
        return paths

    def schemas(self) -> dict:
        _, definitions = models_json_schema(
            [
                (CaseIn, "validation"),
                (Pair, "validation"),
                (AnnotationResponse, "serialization"),
                (ApproachList, "serialization"),
                (FailedLine, "serialization"),
                (Health, "serialization"),
                (JudgementResponse, "serialization"),
                (ProblemDetails, "serialization"),
            ],
            ref_template=_REF,
        )
        schemas = definitions["$defs"]
        _limit(schemas, self.options)
        return schemas | {
            "AnnotationRequest": self._request("cases", "CaseIn", approach=True),
            "JudgementRequest": self._request("pairs", "Pair"),
        }

    def security(self) -> dict:
        if not self.loaded.access.keys:
            return {}
        scheme = {"type": "http", "scheme": "bearer", "description": "An API key."}
        return {"securitySchemes": {"key": scheme}}

    def _request(self, name: str, item: str | None, approach: bool = False) -> dict:
        """`item`: what each should be; None = it is said elsewhere."""
        anything = {"description": "Anything else gets an error in its place."}
        items = {
            "type": "array",
            "minItems": 1,
            "maxItems": self.options.max_cases,
            "items": {"anyOf": [_ref(item), anything]} if item else anything,
        }
        properties: dict = {name: items}
        if approach:
            properties = {"approach": {"enum": [None, *self.names]}} | properties
        return {
            "type": "object",
            "required": [name],
            "properties": properties,
            "additionalProperties": False,
            "description": f"Lists and objects may be nested {self.options.max_depth} deep.",
        }

    def _approaches(self) -> dict:
        about = self.loaded.about.model_dump(mode="json")
        path = self._get(
            "approaches",
            "The approaches that are loaded, the default one first.",
            _json("ApproachList", about),
        )
        first = "$response.body#/approaches/0/name"
        path["get"]["responses"]["200"]["links"] = {
            "stream": {"operationId": "annotateStream", "parameters": {"approach": first}}
        }
        return path

    def _annotations(self) -> dict:
        multipart = {
            "schema": {
                "type": "object",
                "required": ["request"],
                # Without a schema of cases: schemathesis takes a part that does not fit one of
                # several alternatives for a part that must be refused.
                "properties": {"request": self._request("cases", None, approach=True)},
                "additionalProperties": {"type": "string", "format": "binary"},
                "propertyNames": {"minLength": 1},
                "maxProperties": 1 + self.options.max_cases * self.options.max_images,
                "description": "`request` as in application/json, and the files of images, which "
                "it refers to by the names of their parts.",
            },
            "encoding": {"request": {"contentType": "application/json"}},
        }
        body = _json("AnnotationRequest", examples.ANNOTATION_REQUEST)
        body["application/json"]["examples"]["images"] = {"value": examples.IMAGE_REQUEST}
        return self._post(
            "annotate",
            "Annotate cases. A case that is wrong gets an error in its place.",
            body | {"multipart/form-data": multipart},
            _json("AnnotationResponse", examples.annotation_response(self.loaded)),
            (*BODY, "invalid-multipart", *MODEL),
        )

    def _stream(self) -> dict:
        path = self._post(
            "annotateStream",
            "Annotate a stream of cases, a CaseIn a line. For each line that is not blank there is "
            "one in the response, in order: an AnnotatedCase or a FailedLine. The response starts "
            "before the request has ended, so read it while you send.",
            # Any body has an answer, so there is no schema that one could fail.
            {"application/x-ndjson": {"schema": {"description": "A CaseIn a line."}}},
            {"application/x-ndjson": {"schema": {"type": "string"}}},
            ("media-type", "invalid-request", "shutting-down"),
        )
        path["post"]["parameters"] = [
            {
                "name": "approach",
                "in": "query",
                "required": False,
                "schema": {"type": "string", "enum": self.names},
                "description": "By default the first that is loaded.",
            }
        ]
        return path

    def _judgements(self) -> dict:
        return self._post(
            "judge",
            "Compare candidates with references.",
            _json("JudgementRequest", examples.JUDGEMENT_REQUEST),
            _json("JudgementResponse", examples.judgement_response(self.loaded)),
            (*BODY, *MODEL),
        )

    def _get(
        self,
        id: str,
        summary: str,
        content: dict,
        public: bool = False,
        codes: Iterable[str] = (),
    ) -> dict:
        return {"get": self._operation(id, summary, content, codes, public)}

    def _post(self, id: str, summary: str, body: dict, content: dict, codes: Iterable[str]) -> dict:
        operation = self._operation(id, summary, content, codes, public=False)
        operation["requestBody"] = {"required": True, "content": body}
        return {"post": operation}

    def _operation(
        self, id: str, summary: str, content: dict, codes: Iterable[str], public: bool
    ) -> dict:
        access = self.loaded.access
        possible = [*ANY, *codes]
        possible += ["wrong-origin", "wrong-host"] if access.local else []
        operation: dict = {"operationId": id, "summary": summary}
        if not public:
            possible += ["rate-limited"] if self.options.requests_per_minute else []
        if access.keys and not public:
            possible.append("unauthorized")
            operation["security"] = [{"key": []}]
        found = {
            "description": "OK",
            "content": content,
            "headers": {"X-Request-Id": _REQUEST_ID},
        }
        return operation | {"responses": {"200": found, **_problems(possible)}}


_TEXT = {"schema": {"type": "string"}}


def _ref(model: str) -> dict:
    return {"$ref": _REF.format(model=model)}


def _json(model: str, example: object) -> dict:
    content = {"schema": _ref(model), "examples": {"example": {"value": example}}}
    return {"application/json": content}


def _problems(codes: Iterable[str]) -> dict:
    """The responses for these codes, by status."""
    by_status = defaultdict(list)
    for code in codes:
        by_status[CODES[code][0]].append(code)
    return {str(status): _problem(status, by_status[status]) for status in sorted(by_status)}


def _problem(status: int, codes: list[str]) -> dict:
    headers: dict = {"X-Request-Id": _REQUEST_ID}
    if status in (429, 503):
        headers["Retry-After"] = _RETRY_AFTER
    if status == 401:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    shown = {
        code: {"value": Problem(code, "What is wrong, and what to do.").content()} for code in codes
    }
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": _ref("ProblemDetails"), "examples": shown}},
        "headers": headers,
    }


def _limit(schemas: dict, options: Options) -> None:
    """Adds what the options say to the schemas."""
    case = schemas["CaseIn"]["properties"]
    case["id"]["maxLength"] = options.max_id
    case["report"]["maxLength"] = options.max_text
    case["images"]["maxItems"] = options.max_images
    for text in schemas["Pair"]["properties"].values():
        text["maxLength"] = options.max_text
