"""Keys: files that OpenSSL reads and writes, passwords, and what is refused."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.trust.errors import KeyExists, KeyUnusable
from mlxbuild.registry.trust.keys import (
    PrivateKey,
    locate,
    password_from_environment,
    read_private,
    read_public,
    write_pair,
)


@pytest.mark.parametrize("password", [None, b"horse battery"])
def test_a_pair_is_read_as_it_was_written(key: PrivateKey, tmp_path: Path, password: bytes | None) -> None:
    private = tmp_path / "keys" / "pair.key"
    public = write_pair(key, private, password)
    assert public == tmp_path / "keys" / "pair.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert (b"ENCRYPTED" in private.read_bytes()) == (password is not None)
    read = read_private(private, password)
    assert read.public.fingerprint == key.public.fingerprint == read_public(public).fingerprint
    assert read_public(public).verifies(read.sign(b"data"), b"data")
    assert not read_public(public).verifies(read.sign(b"data"), b"other data")


def test_a_pair_is_never_written_over(key: PrivateKey, other_key: PrivateKey, tmp_path: Path) -> None:
    private = tmp_path / "pair.key"
    write_pair(key, private, None)
    before = private.read_bytes()
    with pytest.raises(KeyExists):
        write_pair(other_key, private, None)
    private.unlink()
    with pytest.raises(KeyExists):
        write_pair(other_key, private, None)
    assert not private.exists()
    assert b"PRIVATE KEY" in before


def test_openssl_verifies_what_is_signed_and_its_keys_are_taken(
    key: PrivateKey, tmp_path: Path, real_tool: Callable[[str], str]
) -> None:
    openssl = real_tool("openssl")
    public = write_pair(key, tmp_path / "ours.key", None)
    (tmp_path / "data").write_bytes(b"data")
    (tmp_path / "signature").write_bytes(key.sign(b"data"))
    check: list[str | Path] = [
        openssl,
        "dgst",
        "-sha256",
        "-verify",
        public,
        "-signature",
        tmp_path / "signature",
        tmp_path / "data",
    ]
    assert b"OK" in subprocess.run(check, check=True, capture_output=True).stdout
    theirs = tmp_path / "theirs.key"
    make: list[str | Path] = [
        openssl,
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        theirs,
    ]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run([openssl, "pkey", "-in", theirs, "-pubout", "-out", tmp_path / "theirs.pub"], check=True)
    assert read_public(tmp_path / "theirs.pub").verifies(read_private(theirs, None).sign(b"data"), b"data")


def test_a_password_is_asked_for_and_checked(key: PrivateKey, tmp_path: Path) -> None:
    write_pair(key, tmp_path / "locked.key", b"right")
    write_pair(key, tmp_path / "open.key", None)
    with pytest.raises(KeyUnusable, match="has a password") as missing:
        read_private(tmp_path / "locked.key", None)
    assert missing.value.hint == "set MLXBUILD_KEY_PASSWORD"
    with pytest.raises(KeyUnusable, match="password is wrong"):
        read_private(tmp_path / "locked.key", b"wrong")
    assert read_private(tmp_path / "open.key", b"of another key").public.fingerprint == key.public.fingerprint


def test_the_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXBUILD_KEY_PASSWORD", "secret")
    assert password_from_environment() == b"secret"
    monkeypatch.setenv("MLXBUILD_KEY_PASSWORD", "")
    assert password_from_environment() is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a private key"),
        (
            b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nZQ==\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
            "cosign",
        ),
        (b"-----BEGIN PRIVATE KEY-----\nZQ==\n-----END PRIVATE KEY-----\n", "not a private key"),
    ],
)
def test_what_is_no_private_key_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.key"
    path.write_bytes(content)
    with pytest.raises(KeyUnusable, match=reason):
        read_private(path, None)


def test_keys_of_other_kinds_are_refused(tmp_path: Path, real_tool: Callable[[str], str]) -> None:
    openssl = real_tool("openssl")
    for number, kind in enumerate((["ED25519"], ["EC", "-pkeyopt", "ec_paramgen_curve:P-384"])):
        private, public = tmp_path / f"{number}.key", tmp_path / f"{number}.pub"
        subprocess.run([openssl, "genpkey", "-algorithm", *kind, "-out", private], check=True, capture_output=True)
        subprocess.run([openssl, "pkey", "-in", private, "-pubout", "-out", public], check=True)
        with pytest.raises(KeyUnusable, match="P-256"):
            read_private(private, None)
        with pytest.raises(KeyUnusable, match="P-256"):
            read_public(public)


def test_a_private_key_is_not_taken_for_the_public_one(key: PrivateKey, tmp_path: Path) -> None:
    write_pair(key, tmp_path / "pair.key", None)
    with pytest.raises(KeyUnusable, match="private key") as refused:
        read_public(tmp_path / "pair.key")
    assert refused.value.hint is not None
    assert ".pub" in refused.value.hint


def test_a_key_is_found_by_path_or_by_name(key: PrivateKey, home: Home, tmp_path: Path) -> None:
    write_pair(key, home.root / "keys" / "mine.key", None)
    assert locate(home, "mine", ".pub") == home.root / "keys" / "mine.pub"
    assert locate(home, "mine.pub", ".pub") == home.root / "keys" / "mine.pub"
    assert locate(home, str(home.root / "keys" / "mine.key"), ".key") == home.root / "keys" / "mine.key"
    with pytest.raises(KeyUnusable, match="no such key"):
        locate(home, "yours", ".pub")
