"""Signing keys: ECDSA over P-256 with SHA-256, in PEM files that OpenSSL and cosign can read.

Private keys are PKCS#8, encrypted where there is a password; public keys are SubjectPublicKeyInfo.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.trust.errors import KeyExists, KeyUnusable

PASSWORD_VARIABLE = "MLXBUILD_KEY_PASSWORD"
"""The environment variable that holds the password of private keys; unset or empty means none."""

_ALGORITHM = ec.ECDSA(hashes.SHA256())
_LIMIT_BYTES = 64 * 1024
_MAKE_ONE = "make a key pair with `mlxbuild keygen`"
_PUT_PUBLIC = "name the signer's public key, a PEM file as `mlxbuild keygen` and cosign write it"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key, which verifies signatures."""

    key: ec.EllipticCurvePublicKey

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether a signature (ASN.1 DER) of the data was made with the private key of the pair."""
        try:
            self.key.verify(signature, data, _ALGORITHM)
        except InvalidSignature:
            return False
        return True

    @property
    def fingerprint(self) -> Digest:
        """The sha256 of the key's DER form, shown to users and used as the hint in bundles."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return Digest.of_bytes(self.key.public_bytes(serialization.Encoding.DER, form))

    def to_pem(self) -> bytes:
        """The content of the `.pub` file."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_bytes(serialization.Encoding.PEM, form)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key, which makes signatures."""

    key: ec.EllipticCurvePrivateKey

    def sign(self, data: bytes) -> bytes:
        """A signature in ASN.1 DER, which differs every time."""
        return self.key.sign(data, _ALGORITHM)

    @property
    def public(self) -> PublicKey:
        """The public key of the pair."""
        return PublicKey(self.key.public_key())

    def to_pem(self, password: bytes | None = None) -> bytes:
        """The content of the `.key` file, encrypted if there is a password."""
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def generate() -> PrivateKey:
    """A new key."""
    return PrivateKey(ec.generate_private_key(ec.SECP256R1()))


def password_from_environment() -> bytes | None:
    """The password of private keys from the environment, if it is set."""
    return os.environ.get(PASSWORD_VARIABLE, "").encode() or None


def write_pair(key: PrivateKey, private: Path, password: bytes | None) -> Path:
    """Write a pair to `<name>.key`, which only its owner may read, and `<name>.pub`, whose path is returned.

    Raises:
        KeyExists: one of the files exists already; neither was changed.
    """
    public = private.with_suffix(".pub")
    for path in (private, public):
        if path.exists():
            raise KeyExists("a key of that name exists already", where=str(path), hint="choose another name")
    private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_new(private, key.to_pem(password), 0o600)
    _write_new(public, key.public.to_pem(), 0o644)
    return public


def read_private(path: Path, password: bytes | None) -> PrivateKey:
    """The private key in a PEM file.

    Raises:
        KeyUnusable: it is not a private key, or the password is missing or wrong.
    """
    data = _read(path)
    if b"SIGSTORE PRIVATE KEY" in data or b"COSIGN PRIVATE KEY" in data:
        _unusable("the private key is in cosign's own format", path, f"{_MAKE_ONE}; cosign reads its .pub")
    try:
        key = serialization.load_pem_private_key(data, password)
    except TypeError:
        if password is None:
            _unusable("the private key has a password", path, f"set {PASSWORD_VARIABLE}")
        return read_private(path, None)  # the variable is set for another key, and this one has no password
    except ValueError:
        hint = _MAKE_ONE if password is None else f"check {PASSWORD_VARIABLE}"
        _unusable("it is not a private key, or the password is wrong", path, hint)
    except UnsupportedAlgorithm as error:
        _unusable(f"the key cannot be used: {error}", path, _MAKE_ONE)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        _unusable("it is not a key for ECDSA over P-256", path, _MAKE_ONE)
    return PrivateKey(key)


def read_public(path: Path) -> PublicKey:
    """The public key in a PEM file, made by mlxbuild or by `cosign generate-key-pair`.

    Raises:
        KeyUnusable: it is not a public key.
    """
    return parse_public(_read(path, _PUT_PUBLIC), str(path))


def parse_public(pem: bytes, where: str) -> PublicKey:
    """The public key of a PEM text.

    Raises:
        KeyUnusable: it is not a public key.
    """
    if b"PRIVATE KEY" in pem:
        _unusable("it is a private key", where, "name the file that ends with .pub")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        _unusable("it is not a public key in PEM", where, _PUT_PUBLIC)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        _unusable("it is not a key for ECDSA over P-256", where, _PUT_PUBLIC)
    return PublicKey(key)


def locate(home: Home, name: str, suffix: str) -> Path:
    """The file of a key, given by its path or by its name in the home's `keys` folder.

    Raises:
        KeyUnusable: there is no such file.
    """
    choices = (Path(name), folder(home) / name, folder(home) / f"{name}{suffix}")
    found = next((path for path in choices if path.is_file()), None)
    if found is None:
        _unusable("there is no such key", name, f"give a file, or the name of a pair in {folder(home)}; {_MAKE_ONE}")
    return found


def folder(home: Home) -> Path:
    """The folder of a home's keys."""
    return home.root / "keys"


def _read(path: Path, hint: str = _MAKE_ONE) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT_BYTES)
    except OSError as error:
        _unusable(f"the key cannot be read: {error.strerror}", path, hint)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)


def _unusable(message: str, where: Path | str, hint: str) -> NoReturn:
    raise KeyUnusable(message, where=str(where), hint=hint)
