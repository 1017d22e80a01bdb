"""What can go wrong when something comes from, or goes to, other tools."""

from __future__ import annotations

from mlxbuild.registry.core.errors import TrustError, UserError


class NotImportable(UserError):
    """A path is nothing that can be imported."""

    code = "not-importable"


class BrokenArchive(TrustError):
    """An archive or layout is damaged, or made to mislead."""

    code = "broken-archive"


class ImportRefused(TrustError):
    """An artifact is not what its manifest says; nothing of it was kept."""

    code = "import-refused"


class NotRunnable(UserError):
    """An artifact holds nothing that can be run here."""

    code = "not-runnable"


class FolderNotEmpty(UserError):
    """A model would be written among other files."""

    code = "folder-not-empty"


class BadModelfile(UserError):
    """A Modelfile breaks its grammar."""

    code = "bad-modelfile"


class BadKitfile(UserError):
    """A Kitfile is not what KitOps reads."""

    code = "bad-kitfile"
