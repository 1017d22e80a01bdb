"""Actions: one step with its parameters and inputs fixed. Keys and plans are computed elsewhere from these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.registry.core.digest import Blob, Digest


@dataclass(frozen=True, slots=True)
class OutputsOf:
    """All outputs of another node, known once that node has run or hit."""

    node: str


@dataclass(frozen=True, slots=True)
class Node:
    """A place in the graph, before its inputs are all known by content."""

    label: str
    """Unique and for people: `hello:int4@1.0/quantize/003`. Never in the key."""
    step: str
    parameters: Mapping[str, Any]
    """Plain JSON data, fully resolved. Never names, paths, mirrors, credentials, limits or times."""
    inputs: Mapping[str, Digest | OutputsOf]
    after: tuple[str, ...] = ()
    """Nodes that must be done first though their outputs are known beforehand (fetches)."""
    expected: Mapping[str, Blob] | None = None
    """The outputs, where they are fixed before running (fetch)."""
    literals: tuple[bytes, ...] = ()
    """Contents that inputs name by digest and that nobody else makes; put in the store before the node runs."""
    work_bytes: int = 0
    """How much source data the node reads: for estimates and progress only."""

    @property
    def needs(self) -> frozenset[str]:
        """Labels of the nodes whose outputs are inputs of this one."""
        return frozenset(value.node for value in self.inputs.values() if isinstance(value, OutputsOf))


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """The pre-image of a key: everything that decides an action's outputs, by content."""

    step: str
    implementation: int
    """Bumped by hand when a step's output bytes may change."""
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Any]
    """Input name to digest text, or to {output name: digest text}."""
    tools: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    salt: str = ""
    schema: int = 1


def input_digest(record: ActionRecord, name: str, output: str | None = None) -> Digest:
    """The digest of one input of a record, or of one output of the node behind that input."""
    value = record.inputs[name]
    return Digest.parse(value if output is None else value[output])
