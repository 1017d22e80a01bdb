"""Why the tags of an artifact do not move."""

from __future__ import annotations

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.gates.result import GateResult
from mlxbuild.toolchain.verdicts import Verdicts, read_verdicts


def test_gates_that_another_variant_stopped_did_not_run(home: Home) -> None:
    assert read_verdicts(["tiny:int4/gate/size"], {}, Store.open(home), EventStream([])).refusal == "gates did not run"


def test_a_gate_that_failed_matters_more_than_one_that_did_not_run() -> None:
    results = tuple(GateResult("size", "size", passed, "") for passed in (True, False))
    assert Verdicts(results, is_complete=False).refusal == "gates failed"
    assert Verdicts(results[:1], is_complete=True).refusal is None
