"""Bundles: the exact form, and that nothing but the signed bytes under the right key is believed."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.trust.bundle import read_bundle, sign_statement
from mlxbuild.registry.trust.dsse import Envelope, pre_authentication
from mlxbuild.registry.trust.errors import InvalidBundle
from mlxbuild.registry.trust.keys import PrivateKey
from mlxbuild.registry.trust.statement import SIGNATURE, Statement

STATEMENT = Statement((Digest.of_bytes(b"artifact"),), SIGNATURE, {})


def test_the_form_is_that_of_sigstore(key: PrivateKey) -> None:
    bundle = json.loads(sign_statement(key, STATEMENT))
    envelope = bundle.pop("dsseEnvelope")
    hint = base64.b64encode(bytes.fromhex(key.public.fingerprint.hex)).decode()
    assert bundle == {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
    }
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert json.loads(base64.b64decode(envelope["payload"])) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": Digest.of_bytes(b"artifact").hex}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }
    assert [list(signature) for signature in envelope["signatures"]] == [["sig"]]


def test_what_is_signed_is_the_example_of_the_specification() -> None:
    assert pre_authentication("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pre_authentication("é", b"\x00\xff") == b"DSSEv1 2 \xc3\xa9 2 \x00\xff"


def test_only_the_right_key_is_believed(key: PrivateKey, other_key: PrivateKey) -> None:
    envelope = read_bundle(sign_statement(key, STATEMENT))
    assert envelope.signer([other_key.public, key.public]) == key.public
    assert Statement.decode(envelope.payload) == STATEMENT
    assert envelope.signer([other_key.public]) is None
    assert envelope.signer([]) is None


@given(place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_changed_bit_of_payload_or_signature_is_believed(key: PrivateKey, place: int, bit: int) -> None:
    envelope = read_bundle(sign_statement(key, STATEMENT))
    signed, signature = bytearray(envelope.payload), bytearray(envelope.signatures[0])
    changed = signed if place % 2 else signature
    changed[place // 2 % len(changed)] ^= 1 << bit
    assert Envelope(envelope.payload_type, bytes(signed), (bytes(signature),)).signer([key.public]) is None
    assert Envelope(f"{envelope.payload_type}+", envelope.payload, envelope.signatures).signer([key.public]) is None


def _changed(bundle: bytes, *path: str, value: Any) -> bytes:
    document = json.loads(bundle)
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("mediaType",), "application/json"),
        (("mediaType",), None),
        (("dsseEnvelope",), None),
        (("dsseEnvelope",), {}),
        (("dsseEnvelope", "payloadType"), "text/plain"),
        (("dsseEnvelope", "payload"), "not base64!"),
        (("dsseEnvelope", "payload"), 7),
        (("dsseEnvelope", "payload"), "\xe9"),
        (("dsseEnvelope", "signatures"), [{"sig": "\xe9"}]),
        (("dsseEnvelope", "signatures"), [{}]),
        (("dsseEnvelope", "signatures"), 7),
    ],
)
def test_other_forms_are_refused(key: PrivateKey, path: tuple[str, ...], value: Any) -> None:
    with pytest.raises(InvalidBundle):
        read_bundle(_changed(sign_statement(key, STATEMENT), *path, value=value))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidBundle):
        read_bundle(data)


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[]",
        b'{"_type":"https://in-toto.io/Statement/v0.1","subject":[],"predicateType":"x"}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"short"}}],"predicateType":"x"}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":7}],"predicateType":"x"}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"\\u001b[2J"}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"\\ud800"}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":7}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x","predicate":["\\ud800"]}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x","predicate":{"x":NaN}}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x","predicate":["ab"]}',
    ],
)
def test_a_signed_payload_that_is_no_statement_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidBundle):
        Statement.decode(payload)


def test_a_statement_is_read_as_it_was_written() -> None:
    statement = Statement((Digest.of_bytes(b"a"), Digest.of_bytes(b"b")), "https://example.org/x", {"é": [1, None]})
    assert Statement.decode(statement.encode()) == statement


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(value=_JSON, place=st.sampled_from(["payload", "payloadType", "signatures", "mediaType", "dsseEnvelope"]))
def test_no_document_breaks_the_reader(key: PrivateKey, value: Any, place: str) -> None:
    path = (place,) if place in ("mediaType", "dsseEnvelope") else ("dsseEnvelope", place)
    document = _changed(sign_statement(key, STATEMENT), *path, value=value)
    with suppress(InvalidBundle):
        envelope = read_bundle(document)
        assert envelope.signer([key.public]) is None or Statement.decode(envelope.payload) == STATEMENT


@given(value=_JSON, place=st.sampled_from(["_type", "subject", "predicateType", "predicate"]))
def test_no_signed_payload_breaks_the_reader(value: Any, place: str) -> None:
    document = json.loads(STATEMENT.encode())
    document[place] = value
    with suppress(InvalidBundle):
        assert isinstance(Statement.decode(json.dumps(document).encode()).predicate, dict)
