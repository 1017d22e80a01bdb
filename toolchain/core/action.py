"""Actions: a step with fixed parameters and inputs. Keys and plans are computed from them elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.registry.core.digest import Blob, Digest


@dataclass(frozen=True, slots=True)
class OutputsOf:
    """All outputs of another node, known once that node has run or was a cache hit."""

    node: str


@dataclass(frozen=True, slots=True)
class Node:
    """An action in the graph whose inputs need not be known by content yet."""

    label: str
    """Unique and human-readable: `hello:int4@1.0/quantize/003`. It is never part of the key."""
    step: str
    parameters: Mapping[str, Any]
    """Plain JSON data, fully resolved. Never names, paths, mirrors, credentials, limits or times."""
    inputs: Mapping[str, Digest | OutputsOf]
    after: tuple[str, ...] = ()
    """Labels of nodes that must finish first although their outputs are known in advance (fetches)."""
    expected: Mapping[str, Blob] | None = None
    """The outputs, if they are known before the node runs (fetch)."""
    literals: tuple[bytes, ...] = ()
    """Contents that inputs name by digest and no node produces; stored before the node runs."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Distributions of which the node runs a part, to a digest of that: it stands in the key instead of the version.
    An empty one where it runs nothing of it."""
    work_bytes: int = 0
    """How much source data the node reads; used for estimates and progress only."""

    @property
    def needs(self) -> frozenset[str]:
        """Labels of the nodes whose outputs are inputs of this one."""
        return frozenset(value.node for value in self.inputs.values() if isinstance(value, OutputsOf))


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """The pre-image of an action key: everything that decides an action's outputs, by content."""

    step: str
    implementation: int
    """The step's implementation version, bumped by hand when its output bytes may change."""
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Any]
    """Input name to a digest, or to a map of output names to digests."""
    tools: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    salt: str = ""
    schema: int = 1


def input_digest(record: ActionRecord, name: str, output: str | None = None) -> Digest:
    """The digest of one input of a record, or of one output of the node behind that input."""
    value = record.inputs[name]
    return Digest.parse(value if output is None else value[output])
