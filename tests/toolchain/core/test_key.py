"""Keys: equal exactly when records are equal, the same on every machine, and blind to what must not count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.toolchain.core.action import ActionRecord, Node, OutputsOf
from mlxbuild.toolchain.core.action_key import action_key, record_from_json, record_to_json, resolve

GOLDEN = ActionRecord(
    step="quantize",
    implementation=1,
    parameters={"bits": 4, "mode": "affine", "name": "größe", "scale": 0.1},
    inputs={"config": "sha256:" + "0" * 64, "blocks": {"shard-00": "sha256:" + "1" * 64}},
    tools={"mlx": "0.32.4"},
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
parameters = st.dictionaries(st.text(), json_values, max_size=5)


def test_the_golden_key_never_changes() -> None:
    """A change here disowns every cache in the world: bump `schema` on purpose, never by accident."""
    assert action_key(GOLDEN).hex == "00ca349aca43cfcaa2088cf9ac64f12496e00b9c8ecfc042ecf8cdbbe9145fd7"


@given(parameters)
def test_the_order_of_mappings_does_not_count(values: dict[str, Any]) -> None:
    record = ActionRecord("join", 1, values, {})
    turned = ActionRecord("join", 1, dict(reversed(values.items())), {})
    assert action_key(record) == action_key(turned)


@given(parameters, parameters)
def test_keys_are_equal_exactly_when_records_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = ActionRecord("join", 1, one, {}), ActionRecord("join", 1, other, {})
    same = record_to_json(first) == record_to_json(second) and repr(sorted(one)) == repr(sorted(other))
    if action_key(first) == action_key(second):
        assert record_to_json(first) == record_to_json(second)
    elif same:
        assert _has_lookalikes(one) or _has_lookalikes(other)


def _has_lookalikes(value: Any) -> bool:
    """Python holds `1 == True == 1.0`; JSON, and so a key, tells them apart."""
    if isinstance(value, dict):
        return any(map(_has_lookalikes, value.values()))
    if isinstance(value, list):
        return any(map(_has_lookalikes, value))
    return isinstance(value, bool | float | int)


@given(parameters)
def test_a_record_survives_its_json(values: dict[str, Any]) -> None:
    record = replace(GOLDEN, parameters=values)
    assert action_key(record_from_json(record_to_json(record))) == action_key(record)


def test_every_part_of_a_record_counts() -> None:
    changed = [
        replace(GOLDEN, step="convert"),
        replace(GOLDEN, implementation=2),
        replace(GOLDEN, parameters={}),
        replace(GOLDEN, inputs={}),
        replace(GOLDEN, tools={"mlx": "0.32.5"}),
        replace(GOLDEN, platform={"machine": "arm64"}),
        replace(GOLDEN, salt="x"),
        replace(GOLDEN, schema=2),
    ]
    assert len({action_key(record) for record in [GOLDEN, *changed]}) == len(changed) + 1


def test_labels_order_and_bytes_of_work_do_not_count() -> None:
    outputs = {"a": {"out": Blob(Digest("sha256", "2" * 64), 3)}}
    node = Node("one", "join", {}, {"in": OutputsOf("a")}, work_bytes=1)
    other = replace(node, label="two", work_bytes=99, after=("fetch/x",), literals=(b"x",))
    assert resolve(node, outputs, implementation=1) == resolve(other, outputs, implementation=1)


def test_outputs_count_by_content_not_by_the_node_that_made_them() -> None:
    blob = Blob(Digest("sha256", "2" * 64), 3)
    one = resolve(Node("x", "join", {}, {"in": OutputsOf("a")}), {"a": {"out": blob}}, implementation=1)
    other = resolve(Node("x", "join", {}, {"in": OutputsOf("b")}), {"b": {"out": blob}}, implementation=1)
    assert action_key(one) == action_key(other)
