"""The errors of keys, signatures and evidence."""

from __future__ import annotations

from mlxbuild.registry.core.errors import TrustError, UserError


class KeyUnusable(UserError):
    """A file is not a usable key, or its password is missing or wrong."""

    code = "key-unusable"


class KeyExists(UserError):
    """A key of that name exists already; keys are never overwritten."""

    code = "key-exists"


class InvalidBundle(TrustError):
    """The bytes are not a Sigstore bundle of a signed in-toto statement."""

    code = "invalid-bundle"


class Untrusted(TrustError):
    """An artifact lacks a required signature, or its evidence contradicts it."""

    code = "untrusted"


class InvalidPolicy(UserError):
    """The policy file cannot be read, so no artifact is trusted."""

    code = "invalid-policy"
