"""The step `gate`: runs one gate on one artifact. A failed gate is a result like any other, and is cached as one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.model.threads import leave_streams_in_order
from mlxbuild.toolchain.core.action import ActionRecord, input_digest
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.gates.run import run_gate
from mlxbuild.toolchain.spec.resolved import Gate


class GateStep:
    """Parameters: kind, name and parameters of a gate. Inputs: `artifact`, and `base` if it is compared with it.
    Output: `result`."""

    kind = "gate"
    implementation = 1
    tools = ("mlx", "mlx-lm")

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """See `Step.run`."""
        digest = input_digest(record, "artifact", "manifest")
        gate = Gate(record.parameters["kind"], record.parameters["name"], record.parameters["parameters"])
        context.checkpoint()
        leave_streams_in_order()
        artifact = Artifact.open(context.store, digest)
        result = run_gate(
            gate,
            artifact,
            context.store,
            load=lambda: ONE_MODEL.get(context.store, digest),
            base_perplexity=_base_perplexity(record, context.store) if "base" in record.inputs else None,
            checkpoint=context.checkpoint,
        )
        return {"result": context.store.put(canonical_json.encode(result.to_json()))}


def _base_perplexity(record: ActionRecord, store: Store) -> Callable[[str], float]:
    measured = json.loads(store.read(input_digest(record, "base", "result")))
    return lambda _: float(measured["perplexity"])


class OneModel(threading.local):
    """The model that this thread used last, so that the gates of one artifact load it only once."""

    def __init__(self) -> None:
        self._digest: Digest | None = None
        self._model: LoadedModel | None = None

    def get(self, store: Store, digest: Digest) -> LoadedModel:
        """The model of that artifact; any other one is released first."""
        if self._model is None or self._digest != digest:
            self._model = None
            self._model = LoadedModel.open(store, digest)
            self._digest = digest
        return self._model


ONE_MODEL = OneModel()
