"""The step `measure`: the perplexity of a text for an unquantized base, which gates compare with that of artifacts."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.model.threads import leave_streams_in_order
from mlxbuild.toolchain.core.action import ActionRecord, input_digest
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.gates.perplexity import measure_perplexity


class MeasureStep:
    """Parameter: `text`. Inputs: every file of the base by its path. Output: `result`, {"perplexity": number}."""

    kind = "measure"
    implementation = 1
    tools = ("mlx", "mlx-lm")

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """See `Step.run`."""
        leave_streams_in_order()
        with tempfile.TemporaryDirectory(prefix="mlxbuild-base-") as place:
            folder = Path(place)
            for path in record.inputs:
                link = folder / path
                link.parent.mkdir(parents=True, exist_ok=True)
                source = context.sources.locate(input_digest(record, path)).absolute()
                link.symlink_to(source)
                context.progress(source.stat().st_size)
            try:
                value = measure_perplexity(folder, record.parameters["text"], checkpoint=context.checkpoint)
            except MlxbuildError as error:
                if str(error.where).startswith(place):  # the temporary folder of links is gone by then
                    error.message = error.message.replace(place, "the base")
                    error.where = str((folder / "config.json").resolve().parent)
                raise
        return {"result": context.store.put(canonical_json.encode({"perplexity": value}))}
