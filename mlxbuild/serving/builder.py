"""Builds models for clients of the server, by running `mlxbuild create` in a separate process."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.versions import set_tags
from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.leases import shared
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.model.files import DEFAULTS_FILE
from mlxbuild.runtime.protocol.events import Failure
from mlxbuild.runtime.protocol.failures import as_error
from mlxbuild.runtime.server.application import BuildOrder, BuildStatus
from mlxbuild.runtime.server.models.names import find_model, parse_name
from mlxbuild.serving.build_events import BuildEvents
from mlxbuild.toolchain.spec.ollama_name import DEFAULT_HOST

_PROGRAM = "from mlxbuild.cli.main import main; main()"
_POLL_SECONDS = 0.2
_ENDING_SECONDS = 5.0
"""The time for a cancelled build to clean up."""
_LEFT_OUT = ("MLXBUILD_PROGRESS", "MLXBUILD_VERBOSE", "GITHUB_ACTIONS", "CI")
"""Variables that the build does not inherit: display options, and `CI`, in which no lock file would be written."""
_ISOLATED = {"OLLAMA_MODELS": os.devnull}
"""Variables that the build gets: it must not read local models of Ollama, but ask Ollama's registry."""

Observe = Callable[[BuildStatus], None]


class UnusableFiles(UserError):
    """The files of a `create` request collide, or have names that the filesystem does not accept."""

    code = "unusable-files"


@dataclass(frozen=True, slots=True)
class ProcessBuilder:
    """Builds into a store, each build in a separate process."""

    store: Store

    def build(self, order: BuildOrder, observe: Observe) -> Digest:
        """See `Builder.build`."""
        work = self.store.home.cache / "work"
        with disk_errors(work):
            work.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="create-", dir=work))
        try:
            recipe = self._recipe(order, folder, observe)
            (folder / "ModelSpec.yaml").unlink(missing_ok=True)
            (folder / "ModelSpec.yaml").write_text(recipe, encoding="utf-8")
            digest = _create(self.store, folder, observe, has_gates=order.spec is not None)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if order.name is not None:
            name = Reference(order.name.repository, order.name.tag, None, order.name.host).store_name
            observe(BuildStatus(f"writing manifest {name}"))
            set_tags(self.store, {name: digest}, lambda move: observe(BuildStatus(f"warning: {move}")))
        return digest

    def _recipe(self, order: BuildOrder, folder: Path, observe: Observe) -> str:
        from mlxbuild.toolchain.interchange.from_create import (
            ADAPTER_FOLDER,
            FILES_FOLDER,
            base_of_files,
            named_as_adapter,
            recipe_from_fields,
        )

        if order.spec is not None:
            self._lay_out(order.files, folder)
            return order.spec
        assert order.name is not None
        self._lay_out(order.files, folder / FILES_FOLDER)
        self._lay_out(named_as_adapter(order.adapters), folder / ADAPTER_FOLDER)
        parent: dict[str, Any] = {}
        if order.files:
            base = base_of_files(order.files)
        else:
            base, parent = self._base(str(order.fields["from"]), observe)
        name = order.name.repository.rpartition("/")[2]
        drafted = recipe_from_fields(name, base, order.fields, parent=parent, has_adapter=bool(order.adapters))
        for path, text in drafted.files.items():
            (folder / path).write_text(text, encoding="utf-8")
        for note in drafted.notes:
            observe(BuildStatus(f"warning: {note}"))
        return drafted.text

    def _lay_out(self, files: Mapping[str, Digest], folder: Path) -> None:
        """Link the blobs into a folder under their names; hard links avoid a copy and survive garbage collection."""
        for path, digest in files.items():
            target = folder / path
            source = self.store.path(digest)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)  # never written to: it may be a hard link to a blob
                _link_or_copy(source, target)
            except OSError as error:
                raise UnusableFiles(f"`{path[:80]}` cannot be laid out: {error.strerror}") from None

    def _base(self, name: str, observe: Observe) -> tuple[dict[str, str], dict[str, Any]]:
        """The base of a recipe for a model, and the model's defaults; it is pulled if the store does not hold it."""
        from mlxbuild.toolchain.interchange.from_modelfile import HUB_NAME

        if (hub := HUB_NAME.fullmatch(name)) is not None:
            return {"hf_repo": hub[1]}, {}
        if name.startswith(f"{DEFAULT_HOST}/"):
            return {"ollama": name}, {}
        try:
            reference, digest = find_model(self.store, name)
        except UnknownReference:
            digest = self._pulled(name, observe)
            reference = parse_name(name)
        artifact = Artifact.open(self.store, digest)
        parent = artifact.read_object(DEFAULTS_FILE) if artifact.file(DEFAULTS_FILE) else {}
        observe(BuildStatus(f"using existing layer {digest}"))
        return {"from": str(reference)}, parent

    def _pulled(self, name: str, observe: Observe) -> Digest:
        from mlxbuild.registry.oci.exchange.pull import pull

        observe(BuildStatus(f"pulling {name}"))
        with shared(self.store.home):
            settings = Settings.load(self.store.home)
            return pull(self.store, parse_name(name), settings=settings).digest


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a filesystem without hard links
        shutil.copyfile(source, target)


def _create(store: Store, folder: Path, observe: Observe, *, has_gates: bool) -> Digest:
    """Build a folder's recipe and return the digest of the first artifact."""
    gates = "--gates" if has_gates else "--no-gates"
    bounds = ["--root", str(folder), "--portable"]  # it must not read other files of the host
    words = ["--home", str(store.home.root), "create", "-f", str(folder), gates, *bounds, "--progress", "json"]
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *words],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in _LEFT_OUT} | _ISOLATED,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # an interrupt at the terminal goes to the server, which ends it
    )
    assert process.stderr is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reading = threading.Thread(target=_keep, args=(process.stderr, lines), daemon=True)
    reading.start()
    build = BuildEvents(observe)
    try:
        while reading.is_alive() or not lines.empty():
            cancellation.checkpoint()
            with suppress(queue.Empty):
                build.take(lines.get(timeout=_POLL_SECONDS))
        code = process.wait()
    finally:
        if process.poll() is None:
            _end(process)
        process.stderr.close()
    if code or not build.built:
        raise as_error(_without(folder, build.failure(code)))
    return Digest.parse(build.built[0].digest)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _keep(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    for line in stream:
        if line.strip():
            lines.put(line.rstrip())


def _without(folder: Path, failure: Failure) -> Failure:
    """A failure without the path of the build folder, which means nothing to an HTTP client."""
    message, where, hint = (
        text and text.replace(f"{folder}/", "") for text in (failure.message, failure.where, failure.hint)
    )
    return replace(failure, message=message or "", where=where, hint=hint)
