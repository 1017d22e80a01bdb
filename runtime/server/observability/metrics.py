"""The server's Prometheus metrics: requests, answers, connections, and the loaded models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPMethod
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mlxbuild.runtime.protocol.events import GenerationFinished
from mlxbuild.runtime.protocol.loaded import Heartbeat
from mlxbuild.runtime.residency.reservation import Resident
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.connections.limit import ConnectionLimit
from mlxbuild.runtime.server.connections.observation import RequestOutcome
from mlxbuild.runtime.server.observability.earlier_names import WithEarlierNames

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset(HTTPMethod)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_SPEEDS = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self, application: Application, connections: ConnectionLimit) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Models(application))
        self.registry.register(_Connections(connections))
        ProcessCollector(registry=self.registry)
        given: dict[str, Any] = {"namespace": "mlxbuild", "registry": self.registry}
        self._requests = Counter("http_requests", "Requests that ended", ("method", "route", "status"), **given)
        self._request_seconds = Histogram(
            "http_request_duration_seconds",
            "Time from a request's head to the last byte",
            ("route",),
            buckets=_SECONDS,
            **given,
        )
        self._errors = Counter("errors", "Error responses, by code", ("code",), **given)
        self._loads = Counter("model_loads", "Requests that waited for a model to load", ("model",), **given)
        self._load_seconds = Histogram(
            "model_load_seconds", "Time requests waited for a model", buckets=_SECONDS, **given
        )
        self._first_token_seconds = Histogram(
            "time_to_first_token_seconds",
            "Time from the request to the first token",
            ("model",),
            buckets=_SECONDS,
            **given,
        )
        self._speed = Histogram(
            "generation_tokens_per_second", "Speed of an answer", ("model",), buckets=_SPEEDS, **given
        )
        self._prompt_tokens = Counter("prompt_tokens", "Prompt tokens", ("model",), **given)
        self._reused_tokens = Counter(
            "prefix_cache_hit_tokens", "Prompt tokens found in the prefix cache", ("model",), **given
        )
        self._answer_tokens = Counter("generation_tokens", "Generated tokens", ("model",), **given)

    def observe(self, observed: RequestOutcome) -> None:
        """Count a request."""
        method = observed.method if observed.method in _METHODS else "-"  # a client could make up any number of methods
        self._requests.labels(method, observed.route, str(observed.status)).inc()
        self._request_seconds.labels(observed.route).observe(observed.seconds)
        if observed.error is not None:
            self._errors.labels(observed.error).inc()

    def loaded(self, model: str, seconds: float) -> None:
        """Count a load."""
        self._loads.labels(model).inc()
        self._load_seconds.observe(seconds)

    def began(self, model: str, seconds: float) -> None:
        """Record the time to an answer's first token."""
        self._first_token_seconds.labels(model).observe(seconds)

    def answered(self, model: str, finish: GenerationFinished) -> None:
        """Count the tokens of a completed answer."""
        self._prompt_tokens.labels(model).inc(finish.prompt_tokens)
        self._reused_tokens.labels(model).inc(finish.reused_tokens)
        self._answer_tokens.labels(model).inc(finish.answer_tokens)
        if finish.answer_seconds > 0 and finish.answer_tokens > 1:
            self._speed.labels(model).observe((finish.answer_tokens - 1) / finish.answer_seconds)

    def embedded(self, model: str, tokens: int) -> None:
        """Count the tokens of embeddings."""
        self._prompt_tokens.labels(model).inc(tokens)

    def page(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(WithEarlierNames(self.registry))


_FIGURES: tuple[tuple[str, str, Callable[[Resident, Heartbeat], float]], ...] = (
    ("bytes", "Memory that is reserved for a model", lambda resident, _: resident.size_bytes),
    ("requests", "Requests that use a model", lambda resident, _: resident.requests),
    ("requests_waiting", "Requests of a model that do not run yet", lambda _, vitals: vitals.requests_waiting),
    ("memory_bytes", "Memory that MLX holds for a model", lambda _, vitals: vitals.memory_bytes),
    ("kv_cache_bytes", "Size of the KV caches of running requests", lambda _, vitals: vitals.engine.cache_bytes),
    ("prefix_cache_bytes", "Size of the prefix cache", lambda _, vitals: vitals.engine.prefixes.size_bytes),
    ("prefix_cache_hits", "Prefix cache hits since the load", lambda _, vitals: vitals.engine.prefixes.hits),
    (
        "prefix_cache_misses",
        "Prefix cache misses since the load",
        lambda _, vitals: vitals.engine.prefixes.misses,
    ),
    (
        "speculative_draft_tokens",
        "Tokens that the draft model proposed, since the load",
        lambda _, vitals: vitals.engine.drafted_tokens,
    ),
    (
        "speculative_accepted_tokens",
        "Drafted tokens that the model accepted, since the load",
        lambda _, vitals: vitals.engine.accepted_tokens,
    ),
    ("iteration_seconds", "Time of the engine's last iteration", lambda _, vitals: vitals.engine.iteration_seconds),
    ("failed_iterations", "Iterations that failed, since the load", lambda _, vitals: vitals.engine.failures),
)
"""The name, the help text and the value of each gauge."""


class _Models:
    """Collects the metrics of loaded models when they are scraped."""

    def __init__(self, application: Application) -> None:
        self._residency = application.residency

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges."""
        yield GaugeMetricFamily("mlxbuild_queue_requests", "Requests that wait for a model", self._residency.waiting)
        residents = self._residency.resident()
        for name, meaning, figure in _FIGURES:
            gauge = GaugeMetricFamily(f"mlxbuild_model_{name}", meaning, labels=["model"])
            for resident in residents:
                gauge.add_metric([resident.name], figure(resident, resident.runner.statistics()))
            yield gauge


class _Connections:
    """Collects the metrics of connections when they are scraped."""

    def __init__(self, limit: ConnectionLimit) -> None:
        self._limit = limit

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        yield GaugeMetricFamily("mlxbuild_connections", "Open connections", self._limit.count)
        yield GaugeMetricFamily("mlxbuild_most_connections", "The limit on connections", self._limit.most)
        yield CounterMetricFamily(
            "mlxbuild_connections_let_go", "Waiting connections that were closed for new ones", self._limit.let_go
        )
        yield CounterMetricFamily("mlxbuild_connections_refused", "Connections that were refused", self._limit.refused)
