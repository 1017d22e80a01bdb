"""Settings that are written into config.yaml by command."""

from __future__ import annotations

import stat

import pytest

from mlxbuild.configuration.change import set_setting, unset_setting
from mlxbuild.configuration.form import ServeForm
from mlxbuild.configuration.resolve import configure
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.oci.remote.errors import InvalidSettings
from tests.mlxbuild.configuration.test_configure import write
from tests.mlxbuild.conftest import CommandLine


@pytest.mark.parametrize(
    ("key", "text", "found"),
    [
        ("memory", "20GB", 20 * 10**9),
        ("port", "8080", 8080),
        ("header_seconds", "1.5", 1.5),
        ("host", "::", "::"),
        ("pin", "hello, acme/big:int4", ("hello", "acme/big:int4")),
        ("origins", "*", ("*",)),
        ("drafts", "acme/*=small, hello:none@1.0=hello:int4", {"acme/*": "small", "hello:none@1.0": "hello:int4"}),
        ("kv_bits", "q8_0", 8),
        ("serve.log", "stderr", "stderr"),
    ],
)
def test_a_value_is_that_of_the_environment(home: Home, key: str, text: str, found: object) -> None:
    name = key.removeprefix("serve.")
    set_setting(home, key, text)
    assert getattr(configure(home, {}).form, name) == found
    assert configure(home, {}).form == configure(home, {f"MLXBUILD_{name.upper()}": text}).form
    unset_setting(home, key)
    assert configure(home, {}).form == ServeForm.model_validate({})


def test_the_file_stays_what_it_was(home: Home) -> None:
    write(home, "# mine\nserve:\n  port: 1 # one\nca: x.pem\n")
    (home.root / "x.pem").touch()
    real = home.root / "settings" / "ours.yaml"
    real.parent.mkdir()
    (home.root / "config.yaml").rename(real)
    real.chmod(0o600)
    (home.root / "config.yaml").symlink_to(real)
    change = set_setting(home, "port", "2")
    assert (change.before, change.after) == (1, 2)
    assert (home.root / "config.yaml").is_symlink()
    assert real.read_text() == "# mine\nserve:\n  port: 2 # one\nca: x.pem\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert list(real.parent.iterdir()) == [real]


@pytest.mark.parametrize(
    ("written", "key", "value", "told"),
    [
        ("serve: {port: 1}\n", "memory", "banana", "`serve.memory` cannot be 'banana': it is not a size"),
        ("serve: {port: 1}\n", "drafts", "a", "write model=draft pairs"),
        ("serve: {port: 1}\n", "memroy", "1GB", "there is no setting `serve.memroy`"),
        ("serve: {port: x}\n", "memory", "1GB", "`serve.port` cannot be 'x'"),
        ("servers: {}\n", "memory", "1GB", "there is no setting `servers`"),
        ("serve: [1]\n", "memory", "1GB", "`serve` is not a map of settings"),
        ("serve: {port: 1\n", "memory", "1GB", "it is not YAML"),
        ("serve: &s\n  ? memory\n  : 2\n", "port", "1", "cannot be changed here"),
        ("---\nca: null\n...\n", "port", "1", "cannot be changed here"),
        ("serve: {port: &p 1, max_queue: *p}\n", "port", "2", "cannot be changed here"),
    ],
)
def test_what_cannot_be_set_changes_nothing(home: Home, written: str, key: str, value: str, told: str) -> None:
    write(home, written)
    with pytest.raises(InvalidSettings) as wrong:
        set_setting(home, key, value)
    assert told in wrong.value.message
    assert (home.root / "config.yaml").read_text() == written


def test_the_commands_tell_what_changed(mlxbuild: CommandLine) -> None:
    later = "restart the server to apply it\n"
    done = mlxbuild("config", "set", "memory", "20GB")
    assert (done.code, done.out, done.err) == (0, "serve.memory: 0 → 20GB\n", later)
    done = mlxbuild("config", "set", "memory", "30GB", env={"MLXBUILD_MEMORY": "1GB"})
    assert done.out == "serve.memory: 20GB → 30GB\n"
    assert done.err == f"{later}warning: MLXBUILD_MEMORY in the environment overrides it with 1GB\n"
    assert mlxbuild("config", "set", "keep_alive", "-1").out == "serve.keep_alive: 300s → -1\n"
    assert mlxbuild("config", "set", "keep_alive", "-1").out == "serve.keep_alive is -1 already\n"
    assert mlxbuild("config", "unset", "memory").out == "serve.memory: 30GB → 0 (the default)\n"
    assert (mlxbuild.home.root / "config.yaml").read_text() == "serve:\n  keep_alive: -1\n"
    refused = mlxbuild("config", "unset", "memroy")
    assert (refused.code, refused.err.splitlines()[-1]) == (2, "hint: did you mean `memory`?")


def test_the_settings_of_registries_are_at_the_top_level(mlxbuild: CommandLine) -> None:
    file = mlxbuild.home.root / "config.yaml"
    done = mlxbuild("config", "set", "default_registry", "localhost:5000/acme")
    assert (done.code, done.out, done.err) == (0, "default_registry: - → localhost:5000/acme\n", "")
    assert file.read_text() == "default_registry: 'localhost:5000/acme'\n"
    assert mlxbuild("config", "set", "memory", "20GB").code == 0
    assert mlxbuild("config", "set", "insecure", "a.example, b.example").out == "insecure: - → a.example, b.example\n"
    assert file.read_text() == (
        "default_registry: 'localhost:5000/acme'\nserve:\n  memory: 20GB\ninsecure: [a.example, b.example]\n"
    )
    assert mlxbuild("config", "get", "default_registry").out == "localhost:5000/acme\n"
    assert mlxbuild("config", "get", "insecure", "--json").out == '[\n  "a.example",\n  "b.example"\n]\n'
    assert mlxbuild("config", "get", "serve.max_queue").out == "512\n"
    variable = {"MLXBUILD_DEFAULT_REGISTRY": "other.example"}
    done = mlxbuild("config", "unset", "default_registry", env=variable)
    assert done.out == "default_registry: localhost:5000/acme → - (the default)\n"
    assert done.err == "warning: MLXBUILD_DEFAULT_REGISTRY in the environment overrides it with other.example\n"
    assert mlxbuild("config", "get", "default_registry", env=variable).out == "other.example\n"
    written = file.read_text()
    assert written == "serve:\n  memory: 20GB\ninsecure: [a.example, b.example]\n"
    for words, told in {
        ("attempts", "0"): "`attempts` cannot be 0",
        ("default_registry", "nothing"): "`nothing` is not a registry",
        ("mirrors", "a=b"): "`mirrors` maps each registry to its mirrors, and is not set by command",
    }.items():
        refused = mlxbuild("config", "set", *words)
        assert (refused.code, told in refused.err, file.read_text()) == (2, True, written), refused.err


def test_settings_of_ollama_are_explained_and_others_lead_to_the_list(mlxbuild: CommandLine) -> None:
    for key, hint in {
        "num_parallel": "it would have no effect: requests for a model are answered together, in batches",
        "qqqqq": "`mlxbuild config show` lists the settings of the server",
        "log_": "did you mean `log`, `log_level` or `log_files`?",
    }.items():
        refused = mlxbuild("config", "set", key, "4")
        assert (refused.code, refused.err) == (
            2,
            f"error[invalid-settings]: there is no setting `serve.{key}`\nhint: {hint}\n",
        )


def test_show_prints_sizes_and_times_as_people_write_them(mlxbuild: CommandLine) -> None:
    variables = {"MLXBUILD_MEMORY": "3GB", "MLXBUILD_KEEP_ALIVE": "10m"}
    shown = dict(line.split(maxsplit=1) for line in mlxbuild("config", "show", env=variables).out.splitlines())
    assert (shown["memory"], shown["keep_alive"], shown["body_limit"], shown["stored_responses_age"]) == (
        "3GB",
        "10m",
        "100MB",
        "24h",
    )
    assert (shown["port"], shown["max_queue"], shown["body_seconds"]) == ("11434", "512", "1m")
    assert '"memory": 3000000000' in mlxbuild("config", "show", "--json", env=variables).out
