"""Queries are read by the declarations of routes, and in no other way."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

import mlxbuild.runtime.server
from mlxbuild.runtime.server.app import APIS

SERVER = Path(mlxbuild.runtime.server.__file__).parent
READS_QUERY = re.compile(r"request\.(args|query_args|get_args|get_query_args|query_string|url|raw_url|parsed_args)\b")
QUERIES = {route.query for api in APIS for route in api.routes if route.query is not None}


def test_only_declared_parameters_can_be_read() -> None:
    reading = {
        str(path.relative_to(SERVER))
        for path in SERVER.rglob("*.py")
        if READS_QUERY.search(path.read_text(encoding="utf-8"))
    }
    assert reading == {"routing/query.py"}


@pytest.mark.parametrize("query", sorted(QUERIES, key=lambda query: query.__name__))
def test_every_parameter_is_described(query: type) -> None:
    fields = query.model_fields  # type: ignore[attr-defined]
    assert fields
    assert all(field.description for field in fields.values())


@pytest.mark.parametrize("query", ["ready", "ready=", "ready=false", "other=1&ready", "ready&ready=no"])
def test_a_flag_counts_by_being_there(hello: httpx.Client, query: str) -> None:
    assert hello.get(f"/api/health?{query}").json() == {"status": "ready"}


@pytest.mark.parametrize("query", ["", "other=ready", "already"])
def test_a_flag_that_is_not_there(hello: httpx.Client, query: str) -> None:
    assert hello.get(f"/api/health?{query}").json()["status"] == "ok"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "`limit` must be 1 or more"),
        ("limit=many", "`limit` must be an integer"),
        ("after_id=a&before_id=b", "`before_id`: cannot be given with `after_id`"),
    ],
)
def test_a_wrong_parameter_is_named(hello: httpx.Client, query: str, message: str) -> None:
    answer = hello.get(f"/v1/models?{query}", headers={"anthropic-version": "2023-06-01"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)
    assert hello.get(f"/v1/models?{query}").status_code == 200


@pytest.mark.parametrize("query", ["limit=", "limit=1&limit=many", "limit=1&unknown=many"])
def test_empty_repeated_and_unknown_parameters(hello: httpx.Client, query: str) -> None:
    answer = hello.get(f"/v1/models?{query}", headers={"anthropic-version": "2023-06-01"})
    assert answer.status_code == 200
