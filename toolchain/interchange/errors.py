"""The errors of imports and exports."""

from __future__ import annotations

from mlxbuild.registry.core.errors import TrustError, UserError


class NotImportable(UserError):
    """A path does not lead to anything that can be imported."""

    code = "not-importable"


class BrokenArchive(TrustError):
    """An archive or layout is damaged or malicious."""

    code = "broken-archive"


class ImportRefused(TrustError):
    """An artifact does not match its manifest; nothing of it was kept."""

    code = "import-refused"


class NotRunnable(UserError):
    """An artifact holds nothing that can be run here."""

    code = "not-runnable"


class FolderNotEmpty(UserError):
    """A model would be written into a folder that holds other files."""

    code = "folder-not-empty"


class BadModelfile(UserError):
    """A Modelfile is not valid."""

    code = "bad-modelfile"


class BadKitfile(UserError):
    """A Kitfile is not valid."""

    code = "bad-kitfile"
