"""Chat templates: the clock, continuing, naming the line, and staying inside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mlxbuild.registry.core.errors import Location, UserError
from mlxbuild.runtime.model.prompt import (
    ChatTemplate,
    InvalidConversation,
    TemplateBroken,
    TemplateEscapes,
    TemplateRefuses,
    UnknownTemplate,
    named,
    with_arguments,
)
from mlxbuild.runtime.rendering.limits import Limits

USER = {"role": "user", "content": "Hi"}

ESCAPES = {
    "class": "\n{{ ''.__class__ }}",
    "class by subscript": "\n{{ ''['__class__'] }}",
    "in a branch that is not taken": "{% if false %}\n{{ messages.__init__.__globals__ }}{% endif %}",
    "name made while rendering": "\n{{ ''['__cl' ~ messages[0].suffix] }}",
    "attr filter": "\n{{ '' | attr('__cl' ~ 'ass__') }}",
    "map attribute": "\n{{ messages | map(attribute='content.__class' ~ '__') | list }}",
    "format string": "\n{{ '{0.__class__}'.format(1) }}",
    "globals of a function": "\n{{ raise_exception.__globals__ }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}\n{{ m.__globals__ }}",
    "changes its messages": "\n{{ messages.append(1) }}",
    "changes a message": "\n{{ messages[0].update({'a': 1}) }}",
    "underscore in a namespace": "\n{{ namespace(__class__=1) }}",
    "code of a generator": "\n{{ (messages | map('upper')).gi_frame }}",
}
BROKEN = {
    "syntax": ("a\n{% if %}", 2),
    "unknown tag": ("\n\n{% lift %}", 3),
    "unknown filter": ("\n{{ 1 | lift }}", 2),
    "undefined": ("\n\n{{ messages[0].lift.up }}", 3),
    "in a macro": ("{% macro m(x) %}\n{{ x.a.b }}\n{% endmacro %}\n\n{{ m(1) }}", 2),
    "type": ("\n{{ 1 + 'a' }}", 2),
    "include": ("\n{% include '/etc/passwd' %}", 2),
    "import": ("\n{% import '/etc/passwd' as x %}", 2),
    "half of a surrogate pair": ("{{ '\\ud800' * 100 }}", None),
    "integer of 5000 decimal digits": ("{{ " + "7" * 5000 + " }}", None),
    "integer of 5000 hexadecimal digits": ("{{ 0x" + "f" * 5000 + " }}", None),
}
DOUBLING = "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
TOO_MUCH = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops over one list": "{% set l = range(9999) | list %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}",
    "endless recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "branching recursion": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "a large range": "{{ range(1000000) }}",
    "repeated text": "{{ 'a' * 10 ** 9 }}",
    "repeated list": "{{ [[1] * 9999999] * 9999999 }}",
    "a power": "{{ 2 ** (10 ** 9) }}",
    "doubled text": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "added text": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubled list": DOUBLING + "{{ n.x }}",
    "doubled list to JSON": DOUBLING + "{{ n.x | tojson }}",
    "doubled list joined": DOUBLING + "{{ n.x ~ '' }}",
    "a wide format": "{{ '%999999999d' % 1 }}",
    "a wide format filter": "{{ '%999999999d' | format(1) }}",
    "a wide format method": "{{ '{:>999999999}'.format(1) }}",
    "a computed width": "{{ '%*d' % (999999999, 1) }}",
    "wide centring": "{{ 'a' | center(10 ** 9) }}",
    "wide padding": "{{ 'a'.ljust(10 ** 9) }}",
    "wide indent": "{{ 'a\nb' | indent(10 ** 9) }}",
    "wide JSON": "{{ [1] | tojson(indent=10 ** 9) }}",
    "replacing": "{% set b = 'a' * 10 ** 6 %}{{ b.replace('a', b) }}",
    "replacing by filter": "{% set b = 'a' * 10 ** 6 %}{{ b | replace('a', b) }}",
    "joining": "{% set b = 'a' * 10 ** 6 %}{{ ([b] * 1000) | join }}",
    "much output": "{% for a in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
    "much in a block": "{% set b %}{% for a in range(99999) %}{{ 'a' * 1000 }}{% endfor %}{% endset %}",
    "deep nesting": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
}


@pytest.mark.parametrize("name", ESCAPES)
def test_reaching_out_of_the_sandbox_names_the_line(name: str) -> None:
    with pytest.raises(TemplateEscapes) as caught:
        ChatTemplate(ESCAPES[name]).render([{**USER, "suffix": "ass__"}])
    assert caught.value.where == Location("chat_template.jinja", 2)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_template_names_the_line(name: str) -> None:
    text, line = BROKEN[name]
    with pytest.raises(TemplateBroken) as caught:
        ChatTemplate(text, file="prompts/mine.jinja").render([USER])
    assert caught.value.where == Location("prompts/mine.jinja", line)


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_template_that_never_ends_is_stopped(name: str) -> None:
    with pytest.raises(TemplateBroken):
        ChatTemplate(TOO_MUCH[name], limits=Limits(steps=200_000)).render([USER])  # the same as by default, sooner


def test_a_long_conversation_is_not_too_much() -> None:
    turns = [USER, {"role": "assistant", "content": "Yes. " * 200}] * 3000
    prompt = ChatTemplate(named("chatml")).render([*turns, USER])
    assert prompt.count("<|im_end|>") == 6001


def test_a_template_may_turn_a_conversation_down() -> None:
    with pytest.raises(TemplateRefuses, match="no pictures") as caught:
        ChatTemplate("{% if messages %}\n{{ raise_exception('no pictures') }}{% endif %}").render([USER])
    assert caught.value.where == Location("chat_template.jinja", 2)


def test_what_a_template_raises_is_cut_and_cannot_steer_a_terminal() -> None:
    text = "{{ raise_exception('\\x1b[2J\\r\\nerror[x]: \\ud800' ~ 'a' * 16000000) }}"
    with pytest.raises(TemplateRefuses) as caught:
        ChatTemplate(text).render([USER])
    assert r": \x1b[2J\r\nerror[x]: \ud800aaa" in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600


def test_the_clock_is_given() -> None:
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}", clock=lambda: datetime(2031, 2, 3, tzinfo=UTC))
    assert template.render([USER]) == "03 Feb 2031"


def test_chance_is_out_of_reach() -> None:
    for text in ("{{ lipsum() }}", "{{ [1, 2] | random }}"):
        with pytest.raises(TemplateBroken):
            ChatTemplate(text).render([USER])


@pytest.mark.parametrize("content", ["It is", [{"type": "text", "text": "It is"}]])
def test_a_last_message_is_left_open(content: Any) -> None:
    template = ChatTemplate(named("chatml"))
    prompt = template.render([USER, {"role": "assistant", "content": content}], continue_final_message=True)
    assert prompt.endswith("<|im_start|>assistant\nIt is")


@pytest.mark.parametrize(
    ("messages", "message"),
    [([], "no messages"), ([USER, {"content": "x"}], "message 2"), ([{"role": 3}], "message 1"), (["Hi"], "message 1")],
)
def test_what_is_no_conversation_is_refused(messages: Any, message: str) -> None:
    with pytest.raises(InvalidConversation, match=message):
        ChatTemplate(named("chatml")).render(messages)


def test_nothing_to_continue() -> None:
    with pytest.raises(UserError, match="no final message"):
        ChatTemplate(named("chatml")).render([{"role": "assistant"}], continue_final_message=True)
    with pytest.raises(TemplateRefuses, match="leaves out"):
        ChatTemplate("nothing").render([USER], continue_final_message=True)


def test_the_caller_keeps_its_messages() -> None:
    messages = [{"role": "assistant", "content": [{"type": "text", "text": "It is"}]}]
    ChatTemplate(named("chatml")).render(messages, continue_final_message=True)
    assert messages == [{"role": "assistant", "content": [{"type": "text", "text": "It is"}]}]


def test_rich_objects_come_as_plain_data() -> None:
    class Picture:
        def save(self) -> str:
            raise AssertionError("a template called it")

    template = ChatTemplate("{{ messages[0].content }} {{ messages[0].content.save is defined }}")
    assert template.render([{"role": "user", "content": Picture()}]) == "<Picture> False"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownTemplate) as caught:
        named("chatlm")
    assert caught.value.hint == "there are: chatml, gemma, llama3, mistral"


def test_arguments_of_calls_take_either_form() -> None:
    call = {"id": "x", "function": {"name": "f", "arguments": {"a": "ü"}}}
    message = {"role": "assistant", "tool_calls": [call]}
    as_text = with_arguments(message, as_text=True)
    assert as_text["tool_calls"][0]["function"]["arguments"] == '{"a": "ü"}'
    assert with_arguments(as_text, as_text=False) == message
    assert with_arguments(USER, as_text=True) is USER
