"""No chat template takes more than its time, and whatever is after it is answered."""

from __future__ import annotations

import threading
import time

import pytest

from mlxbuild.runtime.model.prompt import ChatTemplate, TemplateBroken, TemplateTooCostly, named
from mlxbuild.runtime.rendering.limits import Limits
from tests.runtime.rendering.bombs import BOMBS

USER = {"role": "user", "content": "Hi"}
SHORT = Limits(seconds=0.05)
GENEROUS_SECONDS = 60


@pytest.mark.timeout(GENEROUS_SECONDS)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_its_time(name: str) -> None:
    with pytest.raises(TemplateBroken) as caught:
        ChatTemplate(BOMBS[name], file="bomb.jinja", limits=SHORT).render([USER])
    assert "bomb.jinja" in str(caught.value.where)


@pytest.mark.timeout(GENEROUS_SECONDS)
def test_a_template_that_is_still_at_work_is_said_to_be_too_costly() -> None:
    with pytest.raises(TemplateTooCostly, match=r"0\.05 s of processor time") as caught:
        ChatTemplate("\n" + BOMBS["upper in a loop"], limits=SHORT).render([USER])
    assert caught.value.hint is not None


@pytest.mark.timeout(GENEROUS_SECONDS)
def test_others_are_rendered_meanwhile() -> None:
    ordinary, bomb = ChatTemplate(named("chatml")), ChatTemplate(BOMBS["wordwrap of a long word"])
    ordinary.render([USER])
    over: list[float] = []

    def explode() -> None:
        with pytest.raises(TemplateTooCostly):
            bomb.render([USER])
        over.append(time.monotonic())

    thread = threading.Thread(target=explode)
    thread.start()
    rendered_at = []
    for _ in range(3):
        ordinary.render([USER])
        rendered_at.append(time.monotonic())
    thread.join()
    assert rendered_at[-1] < over[0]
