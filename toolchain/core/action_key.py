"""Computes action keys; plan, run, `why` and the remote cache all use this one function.

A key is the blake3 hash of a domain tag and the canonical JSON of an action's record, so two records have the same key
exactly if they are equal. Nothing outside the record affects it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blake3 import blake3

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.toolchain.core.action import ActionRecord, Node, OutputsOf
from mlxbuild.toolchain.core.installed import installed_version

_DOMAIN = b"mlxbuild-action-v1\0"


def action_key(record: ActionRecord) -> Digest:
    """The key of an action."""
    return Digest("blake3", blake3(_DOMAIN + canonical_json.encode(record_to_json(record))).hexdigest())


def record_to_json(record: ActionRecord) -> dict[str, Any]:
    """The record as plain JSON data."""
    return {
        "schema": record.schema,
        "step": {"kind": record.step, "implementation": record.implementation},
        "parameters": record.parameters,
        "inputs": record.inputs,
        "tools": record.tools,
        "platform": record.platform,
        "salt": record.salt,
    }


def record_from_json(data: Mapping[str, Any]) -> ActionRecord:
    """The inverse of `record_to_json`."""
    return ActionRecord(
        step=data["step"]["kind"],
        implementation=data["step"]["implementation"],
        parameters=data["parameters"],
        inputs=data["inputs"],
        tools=data["tools"],
        platform=data["platform"],
        salt=data["salt"],
        schema=data["schema"],
    )


def resolve(
    node: Node,
    outputs: Mapping[str, Mapping[str, Blob]],
    *,
    implementation: int,
    tools: tuple[str, ...] = (),
    platform: Mapping[str, str] | None = None,
    salt: str = "",
) -> ActionRecord:
    """Fix a node's inputs by content. `outputs` must hold every node in `node.needs`."""
    inputs: dict[str, Any] = {}
    for name, value in node.inputs.items():
        if isinstance(value, OutputsOf):
            inputs[name] = {output: str(blob.digest) for output, blob in outputs[value.node].items()}
        else:
            inputs[name] = str(value)
    return ActionRecord(
        step=node.step,
        implementation=implementation,
        parameters=node.parameters,
        inputs=inputs,
        tools={tool: used for tool in tools if (used := _used(node, tool))},
        platform=platform or {},
        salt=salt,
    )


def _used(node: Node, tool: str) -> str:
    """What of a distribution may change the outputs: the part of it that the node runs, or all, by its version."""
    return node.code[tool] if tool in node.code else installed_version(tool)
