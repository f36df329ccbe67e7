"""What is counted, for Prometheus. Labels are routes, names from params.yaml and words of this
package, never what a client sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import NamedTuple, Protocol

import prometheus_client as prometheus
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from xraygen.service.problems import code_in

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Watched(Protocol):
    """A model, as far as it is measured."""

    name: str
    ready: bool
    reloads: int

    @property
    def queued(self) -> int: ...


class _Route(NamedTuple):
    requests: prometheus.Counter
    seconds: Histogram
    received: prometheus.Counter
    sent: prometheus.Counter


class Metrics:
    """`models`: read whenever the metrics are."""

    def __init__(self, models: Iterable[Watched] = ()) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._requests = prometheus.Counter(
            "xraygen_requests", "Requests", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "xraygen_request_seconds",
            "From the head of a request to the end of its response",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._received = prometheus.Counter(
            "xraygen_received_bytes", "Of bodies of requests", ["route"], registry=registry
        )
        self._sent = prometheus.Counter(
            "xraygen_sent_bytes", "Of bodies of responses", ["route"], registry=registry
        )
        self._cases = prometheus.Counter(
            "xraygen_cases", "Cases and pairs", ["model", "outcome"], registry=registry
        )
        self._children: dict[tuple[str, str, int], _Route] = {}
        ready = Gauge("xraygen_model_ready", "1 = loaded", ["model"], registry=registry)
        queued = Gauge(
            "xraygen_queued", "Cases that wait or are worked on", ["model"], registry=registry
        )
        reloads = Gauge("xraygen_model_reloads", "Since the start", ["model"], registry=registry)
        for model in models:
            for gauge, field in ((ready, "ready"), (queued, "queued"), (reloads, "reloads")):
                gauge.labels(model.name).set_function(partial(getattr, model, field))

    def request(
        self, route: str, method: str, status: int, seconds: float, received: int, sent: int
    ) -> None:
        key = (route, method, status)
        children = self._children.get(key)
        if children is None:  # looking them up by label takes longer than the rest
            children = self._children[key] = _Route(
                self._requests.labels(*map(str, key)),
                self._seconds.labels(route),
                self._received.labels(route),
                self._sent.labels(route),
            )
        children.requests.inc()
        children.seconds.observe(seconds)
        children.received.inc(received)
        children.sent.inc(sent)

    def cases(self, model: str, outcome: str, number: int) -> None:
        self._cases.labels(model, outcome).inc(number)

    def render(self) -> bytes:
        return generate_latest(self.registry)


class Measured:
    """What routes and models tell of a request, for its log line. `cases`: or pairs. `queued`,
    `computed`: seconds that its cases waited for the model, and that the model then took.
    """

    __slots__ = ("cases", "computed", "metrics", "queued")

    def __init__(self, metrics: Metrics | None = None) -> None:
        self.metrics = metrics
        self.cases = 0
        self.queued: float | None = None
        self.computed: float | None = None

    def answered(self, model: str, lines: Sequence[bytes]) -> None:
        """Counts the lines of a response, for cases or pairs, by outcome: "answered" or the code of
        a problem. `model`: the name of one that is loaded.
        """
        self.cases += len(lines)
        if self.metrics:
            outcomes = Counter(code_in(line) or "answered" for line in lines)
            for outcome, number in outcomes.items():
                self.metrics.cases(model, outcome, number)

    def took(self, queued: float, computed: float) -> None:
        """Seconds of some of its cases; the largest of each are logged."""
        self.queued = max(queued, self.queued or 0)
        self.computed = max(computed, self.computed or 0)


_current: ContextVar[Measured] = ContextVar("measured")


def begin(metrics: Metrics) -> Measured:
    """For the request that this task answers, and the tasks that it starts."""
    measured = Measured(metrics)
    _current.set(measured)
    return measured


def measured() -> Measured:
    """Of the current request; outside of requests, one that nobody reads."""
    return _current.get(None) or Measured()
