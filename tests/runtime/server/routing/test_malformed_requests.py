"""schemathesis over all routes of a real server: whatever is sent, only documented answers come, and no 500."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from mlxbuild.runtime.server.app import APIS
from mlxbuild.runtime.server.routing.document import document
from tests.runtime.server.running import RunningServer

SCHEMA = schemathesis.openapi.from_dict(document(APIS, version="0"))
ROUTES = [operation.ok() for operation in SCHEMA.get_all_operations()]
SHORT = {"max_tokens": 2, "max_completion_tokens": 2, "max_output_tokens": 2, "n": 1, "options": {"num_predict": 2}}
"""What keeps answers short, on whichever route; others pass it over."""
MOVING = ("/api/pull", "/api/push", "/api/create")
"""Sound requests to these would reach out to registries, or build."""
READING = [route for route in ROUTES if any(kind.media_type == "application/json" for kind in route.body)]
QUERYING = [route for route in ROUTES if list(route.query)]
ASKING = [route for route in ROUTES if route.path.startswith("/v1/") and route.method == "post"]


def sent(server: RunningServer, case: schemathesis.Case) -> None:
    """What comes back is documented. A schema cannot tell all that makes a request valid, so any may be refused."""
    case.call_and_validate(
        base_url=server.url,
        timeout=60,
        excluded_checks=[schemathesis.checks.CHECKS.get_one("positive_data_acceptance")],
    )


bounded = settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


@pytest.mark.parametrize(
    "route", [each for each in ROUTES if each.path not in MOVING], ids=lambda route: str(route.label)
)
def test_no_sound_request_surprises_the_server(hello_server: RunningServer, route: Any) -> None:
    @given(case=route.as_strategy(generation_mode=GenerationMode.POSITIVE))
    @bounded
    def ask(case: schemathesis.Case) -> None:
        sent(hello_server, case)

    ask()


@pytest.mark.parametrize("route", ASKING, ids=lambda route: str(route.label))
def test_no_question_surprises_a_model(hello_server: RunningServer, route: Any) -> None:
    @given(case=route.as_strategy(generation_mode=GenerationMode.POSITIVE))
    @bounded
    def ask(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict):
            case.body = {**case.body, "model": "hello", **SHORT}
        sent(hello_server, case)

    ask()


@pytest.mark.parametrize("route", QUERYING, ids=lambda route: str(route.label))
def test_no_query_surprises_the_server(hello_server: RunningServer, route: Any) -> None:
    """Of models, as Anthropic's clients ask: others send no query, and are not refused for one."""
    is_shared = any(parameter.name == "anthropic-version" for parameter in route.headers)
    asked: set[str] = set()

    @given(data=st.data(), mode=st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    @bounded
    def ask(data: st.DataObject, mode: GenerationMode) -> None:
        case = data.draw(route.as_strategy(generation_mode=mode))
        if is_shared:
            case.headers["anthropic-version"] = "2023-06-01"
        asked.update(case.query or ())
        sent(hello_server, case)

    ask()
    assert asked >= {parameter.name for parameter in route.query}


@pytest.mark.parametrize("route", READING, ids=lambda route: str(route.label))
def test_no_malformed_request_surprises_the_server(hello_server: RunningServer, route: Any) -> None:
    @given(case=route.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    @bounded
    def ask(case: schemathesis.Case) -> None:
        sent(hello_server, case)

    ask()
