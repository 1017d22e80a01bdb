"""The canonical form: independent of the recipe's layout, and lossless."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxbuild.registry.core.canonical_json import encode
from mlxbuild.toolchain.spec.canonical import BrokenSpec, canonical, from_canonical
from mlxbuild.toolchain.spec.load import load
from mlxbuild.toolchain.spec.sources import sources_digest

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc", "Cf"]), max_size=20)
WORDS = TEXT.filter(lambda text: bool(text))
REPOSITORY = st.from_regex(r"[a-z][a-z0-9]{0,8}/[A-Za-z0-9][A-Za-z0-9.-]{0,8}", fullmatch=True)
NAMED = st.sampled_from(["none", "int4", "int8", "mxfp4", "mxfp8", "nvfp4"])
AFFINE = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.just("affine"),
        "bits": st.sampled_from([2, 3, 4, 5, 6, 8]),
        "group_size": st.sampled_from([32, 64, 128]),
    },
)
QUANTIZATION = st.one_of(
    NAMED,
    AFFINE,
    st.fixed_dictionaries({"recipe": st.sampled_from(["mixed_2_6", "mixed_4_6"])}),
    st.fixed_dictionaries({"bits": st.just(4), "overrides": st.dictionaries(WORDS, NAMED | AFFINE, max_size=3)}),
)
HUB = st.fixed_dictionaries(
    {"hf_repo": REPOSITORY}, optional={"revision": st.sampled_from(["main", "v1"]), "include": st.lists(WORDS)}
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXT}),
    min_size=1,
    max_size=2,
)
GATE = st.one_of(
    st.fixed_dictionaries(
        {"contents": st.fixed_dictionaries({"require": st.lists(WORDS)}, optional={"strict": st.booleans()})}
    ),
    st.fixed_dictionaries(
        {"template": st.fixed_dictionaries({"messages": MESSAGES, "golden": st.fixed_dictionaries({"inline": TEXT})})}
    ),
    st.fixed_dictionaries(
        {"tokens": st.fixed_dictionaries({"text": TEXT, "ids": st.lists(st.integers(0, 99999), max_size=3)})}
    ),
    st.fixed_dictionaries(
        {
            "complete": st.fixed_dictionaries(
                {"messages": MESSAGES, "expect": st.fixed_dictionaries({"contains": WORDS})},
                optional={"think": st.booleans(), "temperature": st.floats(0, 2)},
            )
        }
    ),
    st.fixed_dictionaries({"size": st.fixed_dictionaries({"max": st.sampled_from(["4MB", "1.5 GiB", "12B"])})}),
)
VARIANTS = st.fixed_dictionaries(
    {"tag": st.just("{quantization}-{defaults.seed}-{dtype}")},
    optional={
        "quantization": st.lists(NAMED, min_size=1, max_size=3, unique=True),
        "defaults.seed": st.lists(st.integers(0, 2**62), min_size=1, max_size=2, unique=True),
        "dtype": st.lists(st.sampled_from(["float32", "bfloat16"]), min_size=1, max_size=2, unique=True),
    },
)
RECIPE = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True),
        "version": st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}", fullmatch=True),
        "base": HUB | st.just({"from": "other:int4"}),
    },
    optional={
        "description": TEXT,
        "license": st.sampled_from(["Apache-2.0", "(MIT OR Apache-2.0) AND BSD-3-Clause"]),
        "dtype": st.sampled_from(["float32", "bfloat16", "float16"]),
        "quantization": QUANTIZATION,
        "tokenizer": HUB | st.just("inherit"),
        "adapters": st.lists(HUB, max_size=2),
        "prompt_template": st.sampled_from(["inherit", {"named": "chatml"}, {"inline": "{{ messages }}"}]),
        "system_prompt": TEXT,
        "messages": MESSAGES,
        "defaults": st.fixed_dictionaries(
            {},
            optional={
                "temperature": st.floats(0, 2),
                "top_p": st.floats(0.01, 1),
                "top_k": st.integers(0, 100),
                "stops": st.lists(WORDS, max_size=2),
                "context": st.integers(1, 10**6),
            },
        ),
        "variants": VARIANTS,
        "tests": st.lists(GATE, max_size=3),
        "annotations": st.dictionaries(WORDS, TEXT, max_size=2),
        "x-note": st.lists(TEXT, max_size=2),
    },
)
ORDERED_BY_MEANING = ("overrides",)
"""Maps whose order says something: of several globs that match, the last one wins."""


def lay_out(recipe: dict[str, Any], draw: Any) -> str:
    """The recipe as YAML with the keys of its maps in any order, and comments and blank lines between them."""
    lines = []
    for key, value in draw(st.permutations(list(recipe.items()))):
        lines.append(draw(st.sampled_from(["", "# a comment", "   # one more: [", "\n"])))
        written = json.dumps(_reordered(value, draw), ensure_ascii=False)
        lines.append(f"{json.dumps(key, ensure_ascii=False)}: {written}{draw(st.sampled_from(['', '  # said']))}")
    return "\n".join(lines) + "\n"


def _reordered(value: Any, draw: Any) -> Any:
    if isinstance(value, list):
        return [_reordered(item, draw) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: below if key in ORDERED_BY_MEANING else _reordered(below, draw)
        for key, below in draw(st.permutations(list(value.items())))
    }


ONE_FOLDER = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def forms(path: Path, text: str) -> list[bytes]:
    path.write_text(text, encoding="utf-8")
    return [encode(canonical(spec)) for spec in load(path).variants()]


@ONE_FOLDER
@given(recipe=RECIPE, data=st.data())
def test_key_order_and_comments_change_nothing(tmp_path: Path, recipe: dict[str, Any], data: st.DataObject) -> None:
    path = tmp_path / "ModelSpec.yaml"
    first = forms(path, lay_out(recipe, data.draw))
    digest = sources_digest(load(path))
    assert forms(path, lay_out(recipe, data.draw)) == first
    assert sources_digest(load(path)) == digest


@ONE_FOLDER
@given(recipe=RECIPE, data=st.data())
def test_reading_the_canonical_form_gives_the_spec_back(
    tmp_path: Path, recipe: dict[str, Any], data: st.DataObject
) -> None:
    path = tmp_path / "ModelSpec.yaml"
    path.write_text(lay_out(recipe, data.draw), encoding="utf-8")
    for spec in load(path).variants():
        assert from_canonical(json.loads(encode(canonical(spec))), path) == spec


def test_machine_paths_stay_out(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    path = tmp_path / "ModelSpec.yaml"
    (form,) = forms(path, 'name: hello\nversion: "1.0"\nbase: {path: ./weights}\n')
    assert str(tmp_path).encode() not in form
    elsewhere = from_canonical(json.loads(form), Path("/elsewhere/ModelSpec.yaml"))
    assert str(elsewhere.base.path) == "/elsewhere/weights"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "mlxbuild/v9"}, "mlxbuild/v9"),
        ({"base": {}}, "KeyError"),
        ({"quantization": None}, "TypeError"),
        ({"messages": 7}, "TypeError"),
        ({"name": 7}, "`name` is not a text"),
        ({"gates": [{}]}, "KeyError"),
    ],
)
def test_a_damaged_form_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "ModelSpec.yaml"
    (form,) = forms(path, 'name: hello\nversion: "1.0"\nbase: {hf_repo: a/b}\n')
    with pytest.raises(BrokenSpec, match=said):
        from_canonical(json.loads(form) | change, path)
