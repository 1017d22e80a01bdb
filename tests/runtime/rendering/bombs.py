"""Chat templates that take time or memory without end, each in its own way. None may take more than its time."""

from __future__ import annotations

from collections.abc import Mapping

_LONG = "{% set long = 'a' * 4000000 %}"
_DOUBLED = "{% set n = namespace(x=(1,)) %}{% for i in range(60) %}{% set n.x = (n.x, n.x) %}{% endfor %}"
_GROWING = "{% set n = namespace(x=3, l=[]) %}{% for i in range(99999) %}"

BOMBS: Mapping[str, str] = {
    # time in one call of Python's or Jinja's, where no step is counted
    "wordwrap of a long word": "{{ ('a' * 400000) | wordwrap(1) }}",
    "wordwrap of many words": "{{ ('a ' * 4000000) | wordwrap(2) }}",
    "urlize": "{{ (('www.' * 20000) ~ ' ') * 100 | int | urlize }}{{ ('a@' * 400000) | urlize }}",
    "urlize of brackets": "{{ ('(' * 4000000) | urlize }}",
    "title in a loop": _LONG + "{% for i in range(9999) %}{% set x = long | title %}{% endfor %}",
    "upper in a loop": _LONG + "{% for i in range(99999) %}{% set x = long | upper %}{% endfor %}",
    "capitalize in a loop": _LONG + "{% for i in range(99999) %}{% set x = long.capitalize() %}{% endfor %}",
    "case folding in a loop": _LONG + "{% for i in range(99999) %}{% set x = long.casefold() %}{% endfor %}",
    "reversing in a loop": _LONG + "{% for i in range(99999) %}{% set x = long | reverse %}{% endfor %}",
    "slices in a loop": _LONG + "{% for i in range(99999) %}{% set x = long[1:] %}{% endfor %}",
    "counting in a loop": _LONG + "{% for i in range(99999) %}{% set x = long.count('ab') %}{% endfor %}",
    "finding in a loop": _LONG + "{% for i in range(99999) %}{% set x = 'ab' in long %}{% endfor %}",
    "comparing in a loop": _LONG + "{% set b = long ~ 'b' %}{% set c = long ~ 'c' %}"
    "{% for i in range(99999) %}{% if b < c %}{% endif %}{% endfor %}",
    "stripping in a loop": _LONG + "{% for i in range(99999) %}{% set x = long.strip('a') %}{% endfor %}",
    "translating in a loop": _LONG + "{% for i in range(99999) %}{% set x = long.translate({97: 'b'}) %}{% endfor %}",
    "encoding in a loop": _LONG + "{% for i in range(99999) %}{% set x = long.encode('utf-16') %}{% endfor %}",
    "striptags": "{{ ('<>' * 2000000) | striptags }}",
    "quoting in a loop": _LONG + "{% for i in range(9999) %}{% set x = long | urlencode %}{% endfor %}",
    "pprint": "{% set l = [] | list %}{{ ([[1, 2, 3]] * 900000) | pprint }}",
    "sorting": "{% for i in range(999) %}{% set x = range(99999) | sort(reverse=true) %}{% endfor %}",
    "comparing doubled tuples": _DOUBLED + "{% set a = n.x %}" + _DOUBLED + "{{ a == n.x }}",
    "hashing doubled tuples": _DOUBLED + "{{ {n.x: 1} | length }}",
    "finding in doubled tuples": _DOUBLED
    + "{{ 2 in [n.x, n.x] }}{% set a = n.x %}"
    + _DOUBLED
    + "{{ [a].count(n.x) }}",
    # integers
    "a power of powers": "{{ 9 ** (9 ** 7) }}{{ 9**9**7**9 }}",
    "a power that is not printed": "{% if 7 ** (7 ** 9) > 1 %}{% endif %}",
    "a constant power in a filter": "{{ (9 ** 99999999) | string | length }}",
    "squaring again and again": _GROWING + "{% set n.x = n.x * n.x %}{% endfor %}",
    "adding again and again": _GROWING + "{% set n.x = n.x + n.x %}{% endfor %}",
    "taking away again and again": _GROWING + "{% set n.x = n.x - (0 - n.x) %}{% endfor %}",
    "a power of a sum": "{{ ([2 ** 4000] * 100000) | sum ** 4000 }}",
    "a product by sum": _GROWING + "{% set n.x = [n.x, n.x, n.x] | sum %}{% endfor %}",
    "an integer from text": "{{ ('f' * 4000000) | int(base=16) }}{{ ('7' * 4000) | int ** 3999 }}",
    # memory
    "indent by much": "{{ ('a\n' * 4000000) | indent(1000000) }}",
    "indent again and again": "{% set n = namespace(x='a\n' * 1000) %}"
    "{% for i in range(9999) %}{% set n.x = n.x | indent(9999) %}{% endfor %}",
    "wide tabs": "{{ ('\t' * 1000000).expandtabs(1000000) }}",
    "bytes repeated": "{{ 'a'.encode() * 10 ** 9 }}",
    "texts that are kept": "{% set n = namespace(l=[]) %}"
    "{% for i in range(999) %}{% set n.l = n.l + ['a' * 16000000 ~ i] %}{% endfor %}",
    "bytes that are kept": "{% set n = namespace(l=[]) %}"
    "{% for i in range(999) %}{% set n.l = n.l + [('a' * 16000000).encode()] %}{% endfor %}",
    "joining what is made": "{% set b = 'a' * 1000000 %}{{ ([b] * 99999) | map('string') | join }}",
    "joining by a method": "{% set b = 'a' * 1000000 %}{{ ''.join([b] * 99999 | map('string')) }}",
    "joining long glue": "{{ range(99999) | join('a' * 1000000) }}",
    "a format with many places": "{{ ('{0}' * 100000).format('a' * 1000000) }}",
    "a named format with many places": "{{ ('%(a)s' * 100000) % {'a': 'a' * 1000000} }}",
    "many wide places": "{{ ('%99999d' * 100000) % ([1] * 100000) | list }}",
    "wide places of a format": "{{ ('{0:>99999}' * 100000).format(1) }}",
    "splitting into letters": "{% for i in range(999) %}{% set x = ('a ' * 4000000).split(' ') %}{% endfor %}",
    "lines": "{% for i in range(999) %}{% set x = ('\n' * 4000000).splitlines() %}{% endfor %}",
    "list of letters": "{% for i in range(999) %}{% set x = ('a' * 4000000) | list %}{% endfor %}",
    "batches": "{% set x = range(99999) | batch(100000000, 'x') | list %}{{ x }}{{ [1] | batch(9999999, 0) | list }}",
    "slices": "{{ [1] | slice(99999999) | list | length }}",
    "a mapping that grows": "{% set n = namespace(d={}) %}{% for i in range(99999) %}{% for j in range(99999) %}"
    "{% set n.d = dict(n.d, **{'k' ~ i ~ j: 'a' * 1000}) %}{% endfor %}{% endfor %}",
    # calls without end
    "a macro that calls itself": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}"
    "{% endmacro %}{{ f(60) }}",
    "two macros that call each other": "{% macro f(n) %}{% if n %}{{ g(n) }}{{ g(n) }}{% endif %}{% endmacro %}"
    "{% macro g(n) %}{{ f(n - 1) }}{% endmacro %}{{ f(60) }}",
    "callers within callers": "{% macro f(n) %}{% if n %}"
    "{% call f(n - 1) %}{% endcall %}{% call f(n - 1) %}{% endcall %}"
    "{% endif %}{% endmacro %}{{ f(60) }}",
    "a recursive loop": "{% for x in [1, 1] recursive %}"
    "{% if loop.depth < 60 %}{{ loop([1, 1]) }}{% endif %}{% endfor %}",
    "cycles within loops": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{{ loop.cycle(1, 2) }}{% endfor %}{% endfor %}",
    "a filter block of itself": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% filter upper %}{{ a }}{% endfilter %}{% endfor %}{% endfor %}",
    # before anything is rendered
    "constants to be folded": "{{ " + " ~ ".join(["('ab' * 999999 | wordwrap(1))"] * 40) + " }}",
    "a deep expression": "{{ " + "-" * 100_000 + "1 }}",
    "deep brackets": "{{ " + "[" * 100_000 + "]" * 100_000 + " }}",
    "deep blocks": "{% if a %}" * 20_000 + "{% endif %}" * 20_000,
    "a very long template": "{{ a.b.c(d) | e }}".replace("| e", "| upper") * 400_000,
}
