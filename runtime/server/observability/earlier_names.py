"""Exports metrics under their earlier names, too, for one release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric

EARLIER: Mapping[str, str] = {
    "mlxbuild_http_requests": "mlxbuild_requests",
    "mlxbuild_http_request_duration_seconds": "mlxbuild_request_seconds",
    "mlxbuild_time_to_first_token_seconds": "mlxbuild_first_token_seconds",
    "mlxbuild_generation_tokens_per_second": "mlxbuild_answer_tokens_per_second",
    "mlxbuild_generation_tokens": "mlxbuild_answer_tokens",
    "mlxbuild_prefix_cache_hit_tokens": "mlxbuild_reused_tokens",
    "mlxbuild_model_requests_waiting": "mlxbuild_model_waiting_requests",
    "mlxbuild_model_kv_cache_bytes": "mlxbuild_model_cache_bytes",
    "mlxbuild_model_prefix_cache_bytes": "mlxbuild_model_prefix_bytes",
    "mlxbuild_model_prefix_cache_hits": "mlxbuild_model_prefix_hits",
    "mlxbuild_model_prefix_cache_misses": "mlxbuild_model_prefix_misses",
    "mlxbuild_model_speculative_draft_tokens": "mlxbuild_model_drafted_tokens",
    "mlxbuild_model_speculative_accepted_tokens": "mlxbuild_model_accepted_tokens",
    "mlxbuild_model_iteration_seconds": "mlxbuild_model_tick_seconds",
    "mlxbuild_model_failed_iterations": "mlxbuild_model_failed_ticks",
}
"""The earlier names by present names, without the suffixes of samples."""


class WithEarlierNames:
    """The metrics of a registry, with copies of those in `EARLIER` under their earlier names."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, and the renamed copies."""
        for family in self._registry.collect():
            yield family
            if (earlier := EARLIER.get(family.name)) is not None:
                renamed = Metric(earlier, f"Earlier name of {family.name}, which replaces it", family.type)
                for sample in family.samples:
                    name = earlier + sample.name.removeprefix(family.name)
                    renamed.add_sample(name, sample.labels, sample.value, sample.timestamp, sample.exemplar)
                yield renamed
