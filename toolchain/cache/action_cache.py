"""The action cache: keys of nodes, their traces and history. Plan and build both ask it, so they cannot disagree."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import BlobCorrupt, BlobMissing, Store
from mlxbuild.toolchain.cache.history import History
from mlxbuild.toolchain.cache.traces import Trace, TraceStore, stamp_of
from mlxbuild.toolchain.core.action import ActionRecord, Node
from mlxbuild.toolchain.core.action_key import action_key, resolve
from mlxbuild.toolchain.core.steps import STEPS, StepKind


@dataclass(frozen=True, slots=True)
class Resolved:
    """A node whose inputs are all known by digest."""

    node: Node
    record: ActionRecord
    key: Digest


class ActionCache:
    """Resolves nodes to records and looks up their traces. Traces and history are those of the store's home."""

    def __init__(
        self,
        store: Store,
        *,
        steps: Mapping[str, StepKind] = STEPS,
        refresh: Collection[str] = (),
        salt: str = "",
    ) -> None:
        """`refresh` names step kinds whose traces are ignored; another `salt` in the keys invalidates all traces."""
        self.store = store
        self.traces = TraceStore(store.home)
        self.history = History(store.home)
        self.steps = steps
        self._refresh = frozenset(refresh)
        self._salt = salt

    def resolve(self, node: Node, outputs: Mapping[str, Mapping[str, Blob]]) -> Resolved:
        """Resolve the inputs of a node to digests; `outputs` must hold all nodes that it depends on."""
        kind = self.steps[node.step]
        record = resolve(
            node,
            outputs,
            implementation=kind.implementation,
            tools=kind.tools,
            platform=kind.platform,
            salt=self._salt,
        )
        return Resolved(node, record, action_key(record))

    def find(self, resolved: Resolved) -> Trace | None:
        """The trace of an action if its outputs are all in the store and unmodified, else None."""
        if self.refreshes(resolved):
            return None
        trace = self.traces.find(resolved.key)
        if trace is None or not all(self._is_intact(trace, name) for name in trace.outputs):
            return None
        return trace

    def refreshes(self, resolved: Resolved) -> bool:
        """Whether the action must run even if it has a trace."""
        return resolved.record.step in self._refresh

    def was_evicted(self, resolved: Resolved) -> bool:
        """Whether the action has a trace, but its outputs are missing or damaged."""
        return self.traces.find(resolved.key) is not None

    def _is_intact(self, trace: Trace, name: str) -> bool:
        blob = trace.outputs[name]
        stamp = stamp_of(self.store, blob)
        if stamp is None:
            return False
        if stamp == trace.stamps.get(name):
            return True
        try:
            self.store.verify(blob.digest)
        except BlobCorrupt:
            self.store.quarantine(blob.digest)
            return False
        except BlobMissing:
            return False
        self.traces.replace(replace(trace, stamps={**trace.stamps, name: stamp}))
        return True
