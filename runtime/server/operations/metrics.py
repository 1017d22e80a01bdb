"""What a server counts, for Prometheus: requests, answers, and what the models in memory do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from runtime.protocol.events import Ending
from runtime.server.application import Application
from runtime.server.operations.observation import Observed

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_SPEEDS = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)


class Metrics:
    """The counts of one server, in a registry of its own."""

    def __init__(self, application: Application) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Models(application))
        ProcessCollector(registry=self.registry)
        given: dict[str, Any] = {"namespace": "mlxbuild", "registry": self.registry}
        self._requests = Counter("requests", "Requests that ended", ("method", "route", "status"), **given)
        self._request_seconds = Histogram(
            "request_seconds", "From a request's head to the last byte", ("route",), buckets=_SECONDS, **given
        )
        self._errors = Counter("errors", "Errors that were told, by code", ("code",), **given)
        self._loads = Counter("model_loads", "Models that were loaded for a request", ("model",), **given)
        self._load_seconds = Histogram("model_load_seconds", "Waiting and loading", buckets=_SECONDS, **given)
        self._first_token_seconds = Histogram(
            "first_token_seconds", "From the question to the first token", ("model",), buckets=_SECONDS, **given
        )
        self._speed = Histogram("answer_tokens_per_second", "Of single answers", ("model",), buckets=_SPEEDS, **given)
        self._prompt_tokens = Counter("prompt_tokens", "Tokens of prompts", ("model",), **given)
        self._reused_tokens = Counter("reused_tokens", "Those found in the prefix cache", ("model",), **given)
        self._answer_tokens = Counter("answer_tokens", "Tokens of answers", ("model",), **given)

    def observe(self, observed: Observed) -> None:
        """Count a request."""
        self._requests.labels(observed.method, observed.route, str(observed.status)).inc()
        self._request_seconds.labels(observed.route).observe(observed.seconds)
        if observed.error is not None:
            self._errors.labels(observed.error).inc()

    def loaded(self, model: str, seconds: float) -> None:
        """Count a load."""
        self._loads.labels(model).inc()
        self._load_seconds.observe(seconds)

    def began(self, model: str, seconds: float) -> None:
        """Count an answer's first token."""
        self._first_token_seconds.labels(model).observe(seconds)

    def answered(self, model: str, ending: Ending) -> None:
        """Count a whole answer."""
        self._prompt_tokens.labels(model).inc(ending.prompt_tokens)
        self._reused_tokens.labels(model).inc(ending.reused_tokens)
        self._answer_tokens.labels(model).inc(ending.answer_tokens)
        if ending.answer_seconds > 0 and ending.answer_tokens > 1:
            self._speed.labels(model).observe((ending.answer_tokens - 1) / ending.answer_seconds)

    def embedded(self, model: str, tokens: int) -> None:
        """Count embeddings."""
        self._prompt_tokens.labels(model).inc(tokens)

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Models:
    """What is so at the moment of a scrape."""

    def __init__(self, application: Application) -> None:
        self._residency = application.residency

    def collect(self) -> Iterable[Metric]:
        """One gauge for each figure."""
        yield GaugeMetricFamily("mlxbuild_queue_requests", "Requests that wait for a load", self._residency.waiting)
        size = GaugeMetricFamily("mlxbuild_model_bytes", "Memory of a model", labels=["model"])
        requests = GaugeMetricFamily("mlxbuild_model_requests", "Requests that a model answers", labels=["model"])
        for resident in self._residency.resident():
            size.add_metric([resident.name], resident.size_bytes)
            requests.add_metric([resident.name], resident.requests)
        yield size
        yield requests
