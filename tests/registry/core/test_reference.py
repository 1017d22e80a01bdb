"""References: what is accepted, how it is read, and what refusals say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.core.reference import InvalidReference, Reference

HEX = "ab" * 32
DIGEST = Digest("sha256", HEX)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hello", Reference("hello")),
        ("hello:int4-1.0", Reference("hello", "int4-1.0")),
        ("hello:int4@1.0", Reference("hello", "int4-1.0")),
        ("acme/hello:int4@1.0", Reference("acme/hello", "int4-1.0")),
        ("ghcr.io/acme/hello:int4@1.0", Reference("acme/hello", "int4-1.0", None, "ghcr.io")),
        ("GHCR.io/acme/hello", Reference("acme/hello", None, None, "ghcr.io")),
        ("localhost/hello", Reference("hello", None, None, "localhost")),
        ("localhost:5000/hello:v1", Reference("hello", "v1", None, "localhost:5000")),
        ("[::1]:5000/hello", Reference("hello", None, None, "[::1]:5000")),
        (f"hello@sha256:{HEX}", Reference("hello", None, DIGEST)),
        (f"hello:int4@1.0@sha256:{HEX}", Reference("hello", "int4-1.0", DIGEST)),
        (f"localhost:5000/a/b:T@sha256:{HEX}", Reference("a/b", "T", DIGEST, "localhost:5000")),
        ("a.b__c-d---e_f", Reference("a.b__c-d---e_f")),
        ("hello.world", Reference("hello.world")),
    ],
)
def test_accepts(text: str, reference: Reference) -> None:
    assert Reference.parse(text) == reference


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "name"),
        ("Hello", "write hello"),
        ("acme/Hello:v1", "write acme/hello"),
        ("hello@1.0", "hello:variant@1.0"),
        ("acme/hello@1.0", "acme/hello:variant@1.0"),
        (f"sha256:{HEX}", f"name@sha256:{HEX}"),
        ("hello:", "letters"),
        ("hello:.hidden", "letters"),
        ("hello:int4@", "variant@version"),
        ("hello:@1.0", "variant@version"),
        ("hello:int4@1.0+cpu", "letters"),
        ("hello:" + "a" * 129, "128"),
        ("hello:" + "a" * 64 + "@" + "b" * 64, "128"),
        ("hello@md5:abc", "sha256"),
        (f"hello@blake3:{HEX}", "sha256"),
        ("he llo", "lowercase"),
        ("hello/", "lowercase"),
        ("/hello", "lowercase"),
        ("a//b", "lowercase"),
        ("a___b", "lowercase"),
        ("-hello", "lowercase"),
        ("../hello", "domain"),
        ("ex_ample.com/hello", "domain"),
        ("localhost:99999/hello", "domain"),
        ("localhost:/hello", "domain"),
        ("a" * 256, "255"),
        ("hello\n", "lowercase"),
        ("hello:v1\n", "letters"),
        ("hellö", "lowercase"),
    ],
)
def test_refuses_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert caught.value.exit_code == 2
    assert hint in (caught.value.hint or "")


def test_refuses_a_short_digest() -> None:
    with pytest.raises(InvalidDigest):
        Reference.parse("hello@sha256:abc")


def test_cannot_be_made_so_that_its_text_means_another() -> None:
    with pytest.raises(InvalidReference, match="reads as a host"):
        Reference("localhost/hello")


def test_store_name_has_a_tag_and_the_host() -> None:
    assert Reference.parse("hello").store_name == "hello:latest"
    assert Reference.parse("hello:int4@1.0").store_name == "hello:int4-1.0"
    assert Reference.parse("ghcr.io/acme/hello:v1").store_name == "ghcr.io/acme/hello:v1"


def test_sorts_with_absent_parts() -> None:
    texts = ["b:v1", f"a@{DIGEST}", "a", "ghcr.io/z", "a:v2", "a:v1"]
    assert [str(reference) for reference in sorted(map(Reference.parse, texts))] == sorted(texts)


components = st.from_regex(r"[a-z0-9]{1,8}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
labels = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
ports = st.one_of(st.just(""), st.integers(0, 65535).map(lambda port: f":{port}"))
hosts = st.one_of(
    st.tuples(labels, labels).map(".".join),
    st.tuples(labels, st.integers(0, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}"),
    ports.map(lambda port: f"localhost{port}"),
)
names = st.one_of(
    components,
    st.tuples(labels, components).map("/".join),
    st.tuples(labels, components, components).map("/".join),
).filter(lambda name: not name.startswith("localhost/"))
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True)
digests = st.binary(max_size=8).map(Digest.of_bytes)


@given(st.builds(Reference, names, st.none() | tags, st.none() | digests, st.none() | hosts))
def test_reads_back_what_it_writes(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference
    stored = Reference.parse(reference.store_name)
    assert (stored.name, stored.tag, stored.digest) == (reference.name, reference.tag or "latest", None)


@given(st.text(max_size=40) | st.text("aA0.:/@-_ [\n", max_size=40))
def test_any_text_is_read_in_one_form_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except (InvalidReference, InvalidDigest):
        return
    assert Reference.parse(str(reference)) == reference
    assert str(reference).isascii()


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("localhost:24466/acme/hello", "LOCALHOST:24466/*"),
        ("localhost:24466/acme/hello", "LOCALHOST:24466*"),
        ("ghcr.io/acme/hello:Prod", "GHCR.io/Acme/*:Prod"),
        ("ghcr.io/acme/hello:int4@1.0", "GHCR.io/acme/hello:int4@*"),
        ("ghcr.io:443/acme/hello", "ghcr.io/acme/*"),
        ("ghcr.io:0443/acme/hello", "ghcr.io/acme/*"),
        ("ghcr.io/acme/hello", "ghcr.io:443/acme/*"),
        ("ghcr.io/acme/hello", "*.io:443/acme/*"),
        ("localhost:80/acme/hello", "localhost/*"),
        ("localhost:05000/acme/hello", "localhost:5000/*"),
        ("docker.io:443/acme/hello", "docker.io/*"),
        ("index.docker.io/acme/hello", "docker.io/*"),
        ("registry-1.docker.io:443/acme/hello", "docker.io/*"),
        ("docker.io/acme/hello", "index.docker.io/*"),
        ("docker.io/acme/hello", "*.docker.io/*"),
        ("docker.io/hello", "docker.io/library/*"),
        ("docker.io/library/hello", "docker.io/hello"),
        ("[::1]:5000/acme/hello", "[::1]:5000/acme/*"),
        ("[0:0::1]:5000/acme/hello", "[::1]:5000/*"),
        ("acme/hello:Int4", "Acme/hello:Int4"),
        ("ghcr.io/acme/hello", "gh[a-d]r.io/*"),
    ],
)
def test_patterns_mean_all_spellings_of_a_host(name: str, pattern: str) -> None:
    assert Reference.parse(name).matches(pattern)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("ghcr.io/acme/hello:prod", "ghcr.io/acme/hello:Prod"),
        ("ghcr.io:5000/acme/hello", "ghcr.io/*"),
        ("ghcr.io:5000/acme/hello", "*:443/*"),
        ("ghcr.io/acme/hello", "docker.io/*"),
        ("ghcr.io/library/hello", "ghcr.io/hello"),
        ("docker.io/acme/hello", "docker.io/library/*"),
        ("acme/hello", "ghcr.io/*"),
    ],
)
def test_patterns_mean_no_other_host_or_tag(name: str, pattern: str) -> None:
    assert not Reference.parse(name).matches(pattern)
