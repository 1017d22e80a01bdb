"""What can go wrong with keys, signatures and evidence."""

from __future__ import annotations

from mlxbuild.registry.core.errors import TrustError, UserError


class KeyUnusable(UserError):
    """A file is not the key that was asked for, or its password is another."""

    code = "key-unusable"


class KeyExists(UserError):
    """A key of that name is there already; keys are never written over."""

    code = "key-exists"


class InvalidBundle(TrustError):
    """Bytes are no Sigstore bundle of a signed in-toto statement."""

    code = "invalid-bundle"


class Untrusted(TrustError):
    """An artifact lacks the signature that was asked for, or its evidence contradicts it."""

    code = "untrusted"


class InvalidPolicy(UserError):
    """The policy file cannot be read; nothing is trusted by a policy that nobody understands."""

    code = "invalid-policy"
