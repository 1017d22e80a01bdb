"""A planted Hub token: sent to the Hub, and found nowhere else."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path

import pytest

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.lock.file import lock_path, write
from mlxbuild.toolchain.lock.make import make_lock
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.sources.hub import Hub
from mlxbuild.toolchain.sources.secrets import redact
from mlxbuild.toolchain.spec.load import load
from tests.hub_server import Fault, LocalHub
from tests.toolchain.lock.tiny_sources import tiny_weights

_TOKEN = "hf_plantedCanary0123456789"


@pytest.mark.usefixtures("pauses")
def test_the_token_reaches_the_hub_and_nothing_else(
    local_hub: LocalHub,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)  # below it the HTTP library writes what servers answer, whatever that is
    monkeypatch.setenv("HF_TOKEN", _TOKEN)
    local_hub.publish("acme/tiny", {"config.json": b"{}", "model.safetensors": tiny_weights()})
    local_hub.private["acme/tiny"] = _TOKEN
    path = tmp_path / "ModelSpec.yaml"
    path.write_text('name: tiny\nversion: "1.0"\nbase: {hf_repo: acme/tiny}\n')
    lock = make_lock(load(path), store)
    write(lock_path(path), lock)
    (base,) = lock.sources
    for file in base.files:
        SourceCatalogue(tmp_path, store).fetch(base, file)

    told = []
    for status in (400, 401, 403, 404, 429, 500):
        for route in ("info", "tree", "resolve", "blob"):
            local_hub.faults[:] = [Fault(route, status=status, message=f"bad token {_TOKEN} (Bearer {_TOKEN})")]
            try:
                Hub().files("acme/tiny", Hub().commit("acme/tiny", "main"))
                Hub().download("acme/tiny", str(base.pinned), "model.safetensors", again=True)
            except MlxbuildError as error:
                told += [error.diagnostics(), repr(error), "".join(traceback.format_exception(error))]
    assert len(told) == 3 * 6 * 4

    assert any(_TOKEN in str(request.authorization) for request in local_hub.requests)
    captured = capfd.readouterr()
    for text in (*told, captured.out, captured.err, caplog.text):
        assert _TOKEN not in text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if _TOKEN.encode() in path.read_bytes()] == []


def test_redaction_knows_the_environment_the_token_file_and_the_shape(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (tmp_path / "token").write_text("file-secret\n")
    monkeypatch.setenv("HF_TOKEN", "environment-secret")
    assert redact("a file-secret b environment-secret c") == "a <redacted> b <redacted> c"
    assert redact("Authorization: Bearer abc.def") == "Authorization: Bearer <redacted>"
    assert redact("https://me:password@hub.invalid/x") == "https://<redacted>@hub.invalid/x"
    assert redact("token=hf_AbCdEfGhIj, next") == "token=<redacted>, next"
    assert redact("hf_repo: Qwen/Qwen3-0.6B") == "hf_repo: Qwen/Qwen3-0.6B"
