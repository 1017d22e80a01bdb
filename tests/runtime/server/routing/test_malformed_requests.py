"""schemathesis over all routes of a real server: whatever is sent, only documented answers come, and no 500."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from mlxbuild.runtime.server.app import APIS
from mlxbuild.runtime.server.routing.document import document
from tests.runtime.server.running import RunningServer

SCHEMA = schemathesis.openapi.from_dict(document({api.name: api.operations for api in APIS}, version="0"))
ROUTES = [operation.ok() for operation in SCHEMA.get_all_operations()]
SHORT = {"max_tokens": 2, "max_completion_tokens": 2, "max_output_tokens": 2, "n": 1, "options": {"num_predict": 2}}
"""What keeps answers short, on whichever route; others pass it over."""
MOVING = ("/api/pull", "/api/push", "/api/create")
"""Sound requests to these would reach out to registries, or build."""
READING = [route for route in ROUTES if any(kind.media_type == "application/json" for kind in route.body)]
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


@pytest.mark.parametrize("route", READING, ids=lambda route: str(route.label))
def test_no_malformed_request_surprises_the_server(hello_server: RunningServer, route: Any) -> None:
    @given(case=route.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    @bounded
    def ask(case: schemathesis.Case) -> None:
        sent(hello_server, case)

    ask()
