"""Runs one gate of any kind on one artifact."""

from __future__ import annotations

from collections.abc import Callable

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.engine.core.prepared_request import PromptUnusable
from mlxbuild.runtime.engine.input.conversation import NoChatTemplate, ToolsNotTaken
from mlxbuild.runtime.engine.input.preparation import OnlyEmbeds
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.model.prompt import InvalidConversation, TemplateBroken, TemplateEscapes, TemplateRefuses
from mlxbuild.toolchain.gates import complete, contents, perplexity, size, template, tokens
from mlxbuild.toolchain.gates.result import GateResult
from mlxbuild.toolchain.spec.resolved import Gate

_OF_THE_ARTIFACT = (
    TemplateBroken,
    TemplateEscapes,
    TemplateRefuses,
    InvalidConversation,
    NoChatTemplate,
    OnlyEmbeds,
    PromptUnusable,
    ToolsNotTaken,
)
"""Errors that make a gate fail rather than the build, because they depend on the artifact and gate alone."""


def run_gate(
    gate: Gate,
    artifact: Artifact,
    store: Store,
    *,
    load: Callable[[], LoadedModel],
    base_perplexity: Callable[[str], float] | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> GateResult:
    """Run a gate of an artifact's recipe on it.

    `load` returns the artifact's model, the same one for every gate; gates that only read files do not call it.
    `base_perplexity` returns the perplexity of a text for the unquantized base. `checkpoint` is called while the model
    computes, and may raise.

    Raises:
        BaseNotMeasured: the gate compares with the base, and `base_perplexity` is None.
        WeightsUnreadable, BlobMissing, ...: the gate cannot run because of the artifact's files or this machine.
    """
    given = gate.parameters
    try:
        match gate.kind:
            case "contents":
                verdict = contents.judge(artifact, given)
            case "size":
                verdict = size.judge(artifact, given)
            case "template":
                verdict = template.judge(load(), given)
            case "tokens":
                verdict = tokens.judge(load(), given)
            case "complete":
                verdict = complete.judge(load(), given, checkpoint)
            case "perplexity":
                verdict = perplexity.judge(load(), given, base_perplexity, checkpoint)
    except _OF_THE_ARTIFACT as error:
        return GateResult(gate.name, gate.kind, False, error.diagnostics())
    return GateResult(gate.name, gate.kind, verdict.passed, verdict.message, verdict.measured)
