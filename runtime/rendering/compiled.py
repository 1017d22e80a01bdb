"""Compiles and renders a chat template in the current process, which is always a renderer."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError

from mlxbuild.runtime.rendering.budget import BudgetExceeded, limited
from mlxbuild.runtime.rendering.limits import Limits
from mlxbuild.runtime.rendering.messages import Failure, TemplateFault
from mlxbuild.runtime.rendering.sandbox import ChatEnvironment, Refusal

_KEPT_TEMPLATES = 32
_COMPILED = "<template>"


class Compiled:
    """A compiled template."""

    def __init__(self, text: str) -> None:
        """Compile a template.

        Raises:
            Failure: it does not compile, or it names Python internals anywhere, even in code that is never reached.
        """
        self._now = datetime.min
        environment = ChatEnvironment(lambda: self._now)
        try:
            tree = environment.parse(text)
            self.variables = sorted(meta.find_undeclared_variables(tree))
            """The names that the template reads without setting them."""
            _forbid_internals(tree)
            self._template = environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise Failure(
                TemplateFault.BROKEN, f"the chat template does not parse: {error.message}", error.lineno
            ) from None
        except (RecursionError, SyntaxError, MemoryError):
            raise Failure(TemplateFault.BROKEN, "the chat template nests too deeply") from None
        except (Failure, BudgetExceeded):
            raise
        except Exception as error:  # noqa: BLE001 - such as ValueError at an integer of thousands of digits
            raise Failure(TemplateFault.BROKEN, f"the chat template does not compile: {_told(error)}") from None

    def render(self, variables: Mapping[str, Any], now: datetime) -> str:
        """Render the prompt.

        Raises:
            Failure: the template raises an exception, fails, tries to leave its sandbox, or exceeds its limits.
        """
        self._now = now
        try:
            return self._template.render(variables)
        except MemoryError:
            raise Failure(TemplateFault.COSTLY, "the chat template takes too much memory") from None
        except Exception as error:  # noqa: BLE001 - a template can raise whatever Python can
            raise _failure(error) from None


@functools.lru_cache(_KEPT_TEMPLATES)
def compiled(text: str) -> Compiled:
    """The compiled template, from a cache; raises as `Compiled` does."""
    return Compiled(text)


def variables_of(text: str, limits: Limits) -> list[str]:
    """The names that a template reads without setting them; raises as `Compiled` does."""
    with limited(limits):
        return compiled(text).variables


def rendered(text: str, variables: Mapping[str, Any], now: datetime, limits: Limits) -> str:
    """Render a template with its variables; raises as `Compiled` and `Compiled.render` do."""
    with limited(limits):
        return compiled(text).render(variables, now)


def _failure(error: Exception) -> Failure:
    line = _line(error.__traceback__)
    told = _told(error)
    match error:
        case Refusal():
            return Failure(TemplateFault.REFUSES, told, line)
        case SecurityError():
            return Failure(TemplateFault.ESCAPES, f"the chat template tries to leave its sandbox: {told}", line)
        case BudgetExceeded():
            return Failure(TemplateFault.COSTLY, told, line)
    return Failure(TemplateFault.BROKEN, f"the chat template fails: {told}", line)


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _line(traceback: TracebackType | None) -> int | None:
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _COMPILED:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _forbid_internals(tree: nodes.Template) -> None:
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        name = getattr(node, "attr", None) or getattr(getattr(node, "arg", None), "value", None)
        if isinstance(name, str) and name.startswith("__"):
            raise Failure(TemplateFault.ESCAPES, f"the chat template reaches for Python's `{name}`", node.lineno)
