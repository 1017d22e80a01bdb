"""Which tokens penalties look at on the native API."""

from __future__ import annotations

import pytest

from mlxbuild.runtime.server.inference.options import OptionOfWrongType
from mlxbuild.runtime.server.ollama.validated_request import QuestionBody


@pytest.mark.parametrize(("given", "counts_recent"), [({}, True), ({"counts_recent": False}, False)])
def test_recent_ones_unless_the_whole_answer_is_asked_for(given: dict[str, bool], counts_recent: bool) -> None:
    assert QuestionBody(options=given).settled().options.options["counts_recent"] is counts_recent


def test_which_is_a_yes_or_a_no() -> None:
    with pytest.raises(OptionOfWrongType, match='option "counts_recent" must be of type boolean'):
        QuestionBody(options={"counts_recent": 1}).settled()
