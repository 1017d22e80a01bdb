"""Where the server's settings come from, and which of them win."""

from __future__ import annotations

import math

import pytest

from mlxbuild.configuration.address import server_address, split_address
from mlxbuild.configuration.form import ServeForm, told_number
from mlxbuild.configuration.resolve import configure
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.oci.remote.errors import InvalidSettings
from mlxbuild.registry.oci.remote.settings import Settings


def write(home: Home, text: str) -> None:
    home.root.mkdir(parents=True, exist_ok=True)
    (home.root / "config.yaml").write_text(text)


def test_defaults(home: Home) -> None:
    configuration = configure(home, {})
    settings, limits = configuration.server_settings(), configuration.limits()
    assert (settings.host, settings.port, settings.asks_for_key) == ("127.0.0.1", 11434, False)
    assert (limits.max_loaded_models, limits.max_queue, limits.keep_alive.seconds) == (3, 512, 300.0)
    assert set(configuration.origins.values()) == {"default"}


def test_options_before_ours_before_ollamas_before_the_file(home: Home) -> None:
    write(home, "serve:\n  max_queue: 1\n  keep_alive: 1m\n  port: 1\n  grace_seconds: 2\n")
    environment = {
        "OLLAMA_MAX_QUEUE": "2",
        "OLLAMA_KEEP_ALIVE": "120",
        "MLXBUILD_KEEP_ALIVE": "3m",
        "OLLAMA_HOST": ":2",
    }
    configuration = configure(home, environment, {"port": 3, "host": None})
    form, origins = configuration.form, configuration.origins
    assert (form.max_queue, origins["max_queue"]) == (2, "OLLAMA_MAX_QUEUE")
    assert (form.keep_alive.seconds, origins["keep_alive"]) == (180.0, "MLXBUILD_KEEP_ALIVE")
    assert (form.port, origins["port"]) == (3, "--port")
    assert (form.host, origins["host"]) == ("127.0.0.1", "OLLAMA_HOST")
    assert (form.grace_seconds, origins["grace_seconds"]) == (2.0, f"{home.root / 'config.yaml'}:5")


def test_where_to_change_a_bound(home: Home) -> None:
    write(home, "serve:\n  max_queue: 1\n  max_transfers: 1\n")
    configuration = configure(home, {"OLLAMA_MAX_QUEUE": "2", "OLLAMA_HOST": ":2"}, {"port": 3})
    places = configuration.limits().places
    assert [places.of(key) for key in ("max_queue", "host", "port")] == [
        "in OLLAMA_MAX_QUEUE",
        "in OLLAMA_HOST",
        "in --port",
    ]
    assert {places.of(key) for key in ("max_transfers", "memory")} == {"in config.yaml"}
    assert configuration.server_settings().places == places


@pytest.mark.parametrize(
    ("written", "told", "hint"),
    [
        ("keep_alive: 1s\n", "`keep_alive` is a setting of the server", "write it below `serve:`"),
        ("default_registery: x\n", "there is no setting `default_registery`", "did you mean `default_registry`?"),
        ("default_registry: [a]\nserve: {port: 0}\n", "`default_registry` is not a text", None),
    ],
)
def test_mistakes_beside_the_servers_settings_are_told(home: Home, written: str, told: str, hint: str | None) -> None:
    write(home, written)
    with pytest.raises(InvalidSettings, match=told) as caught:
        configure(home, {})
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("0.0.0.0", "0.0.0.0", None),
        ("0.0.0.0:80", "0.0.0.0", 80),
        (":5000", "127.0.0.1", 5000),
        ("http://example.local", "example.local", 80),
        ("https://example.local", "example.local", 443),
        ("https://example.local:7/path", "example.local", 7),
        ("[::1]:8080", "::1", 8080),
        ("::1", "::1", None),
        ("127.0.0.1:none", "127.0.0.1", None),
        ("127.0.0.1:99999", "127.0.0.1", None),
    ],
)
def test_addresses(written: str, host: str, port: int | None) -> None:
    assert split_address(written) == (host, port)


def test_ollamas_variables(home: Home) -> None:
    environment = {
        "OLLAMA_HOST": "' 0.0.0.0:8080 '",
        "OLLAMA_ORIGINS": "https://a.example, https://b.example",
        "OLLAMA_LOAD_TIMEOUT": "0",
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_CONTEXT_LENGTH": "4096",
        "OLLAMA_MAX_LOADED_MODELS": "0",
        "OLLAMA_DEBUG": "1",
        "OLLAMA_NUM_PARALLEL": "7",
    }
    configuration = configure(home, environment)
    settings, limits = configuration.server_settings(), configuration.limits()
    assert (settings.host, settings.port, settings.asks_for_key) == ("0.0.0.0", 8080, True)
    assert settings.origins == ("https://a.example", "https://b.example")
    assert settings.context_length == 4096
    assert limits.keep_alive.seconds is None
    assert limits.patience.stall_seconds == math.inf
    assert limits.max_loaded_models == 3
    assert configuration.form.log_level == "debug"


def test_sizes_lists_and_keys(home: Home) -> None:
    write(home, "serve: {memory: 8GiB, body_limit: 10MB, pin: [hello], preload: 'a, b', api_keys: always}\n")
    form = configure(home, {}).form
    assert (form.memory, form.body_limit) == (8 * 2**30, 10_000_000)
    assert (form.pin, form.preload) == (("hello",), ("a", "b"))
    assert configure(home, {}).asks_for_key
    assert not configure(home, {"MLXBUILD_API_KEYS": "never", "OLLAMA_HOST": "0.0.0.0"}).asks_for_key


def test_drafts_and_kept_bits(home: Home) -> None:
    assert (configure(home, {}).limits().kv_bits, configure(home, {}).drafts().names) == (None, {})
    write(home, "serve:\n  kv_bits: 4\n  drafts: {hello:none@1.0: hello:int4, 'big/*': small}\n")
    configuration = configure(home, {})
    assert configuration.limits().kv_bits == 4
    assert list(configuration.drafts().names.items()) == [("hello:none@1.0", "hello:int4"), ("big/*", "small")]
    assert configuration.drafts().where == f"{home.root / 'config.yaml'}:3"
    configuration = configure(home, {"MLXBUILD_DRAFTS": "a:b@1 = c, *=d:e", "OLLAMA_KV_CACHE_TYPE": "Q8_0"})
    assert dict(configuration.drafts().names) == {"a:b@1": "c", "*": "d:e"}
    assert (configuration.limits().kv_bits, configuration.origins["kv_bits"]) == (8, "OLLAMA_KV_CACHE_TYPE")
    for ours, bits in (("none", None), ("0", None), ("8", 8), ("4", 4)):
        limits = configure(home, {"MLXBUILD_KV_BITS": ours, "OLLAMA_KV_CACHE_TYPE": "q4_0"}).limits()
        assert limits.kv_bits == bits
    assert configure(home, {"OLLAMA_KV_CACHE_TYPE": "f16"}).limits().kv_bits is None


@pytest.mark.parametrize(
    ("text", "environment", "message", "where"),
    [
        ("serve: {prot: 1}", {}, "there is no setting `serve.prot`", "config.yaml:1"),
        ("serve:\n  port: x\n", {}, "`serve.port` cannot be 'x'", "config.yaml:2"),
        ("serve: 5", {}, "is not a map", "config.yaml"),
        ("", {"OLLAMA_KEEP_ALIVE": "soon"}, "`serve.keep_alive` cannot be 'soon'", "OLLAMA_KEEP_ALIVE"),
        ("", {"MLXBUILD_LOG": "paper"}, "`serve.log` cannot be 'paper'", "MLXBUILD_LOG"),
        ("", {"OLLAMA_KV_CACHE_TYPE": "q5_1"}, "`serve.kv_bits` cannot be 'q5_1': write one", "KV_CACHE_TYPE"),
        ("serve: {kv_bits: 5}", {}, "`serve.kv_bits` cannot be 5", "config.yaml:1"),
        ("", {"MLXBUILD_DRAFTS": "hello"}, "`serve.drafts` cannot be 'hello'", "MLXBUILD_DRAFTS"),
        ("", {"MLXBUILD_DRAFTS": "a=b, a=c"}, "each model once", "MLXBUILD_DRAFTS"),
        ("serve:\n  drafts: {a: B}\n", {}, "has uppercase letters", "config.yaml:2"),
        ("serve: {drafts: [a]}", {}, "`serve.drafts` cannot be ['a']", "config.yaml:1"),
        ("serve: {memory: much}", {}, "`serve.memory` cannot be 'much'", "config.yaml:1"),
    ],
)
def test_mistakes(home: Home, text: str, environment: dict[str, str], message: str, where: str) -> None:
    write(home, text)
    with pytest.raises(InvalidSettings) as wrong:
        configure(home, environment)
    assert message in wrong.value.message
    assert str(wrong.value.where).endswith(where)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("body_limit", "0", "1,000 to"),
        ("blob_limit", "1", "1,000 to"),
        ("log_bytes", "0", "1,000 to"),
        ("stored_responses_bytes", "0", "1,000 to"),
        ("body_seconds", "0", "0.1 to 86,400"),
        ("header_seconds", "-1", "0.1 to 86,400"),
        ("idle_seconds", "1000h", "0.1 to 86,400"),
        ("grace_seconds", "-5", "0 to 86,400"),
        ("max_connections", "0", "1 to"),
        ("max_queue", "0", "1 to"),
        ("max_transfers", "1000000", "1 to 1,000"),
        ("memory", "-1", "0 to"),
        ("context_length", "-1", "0 to"),
        ("requests_per_minute", "-1", "0 to"),
        ("log_files", "5000", "0 to 1,000"),
        ("port", "70000", "0 to 65,535"),
    ],
)
def test_numbers_that_make_no_sense(home: Home, key: str, value: str, told: str) -> None:
    write(home, f"serve:\n  {key}: {value}\n")
    with pytest.raises(InvalidSettings) as wrong:
        configure(home, {})
    assert wrong.value.message.startswith(f"`serve.{key}` cannot be ")
    assert told in str(wrong.value.hint)


@pytest.mark.parametrize(
    ("key", "value", "said", "hint"),
    [
        (
            "memory",
            "10 gigs",
            "it is not a size",
            "bytes from 0 to 1,000,000,000,000,000,000, or one with a unit: `10GB`",
        ),
        ("memory", "10", "no model fits into 10 B; write a size with its unit, such as `10GB`", "a unit: `10GB`"),
        ("memory", "99MB", "no model fits into 99 MB; write a size with its unit, such as `10GB`, `1.5GiB`", "`10GB`"),
        ("body_limit", "10", "it is too small", "or one with a unit: `10GB`, `1.5GiB`"),
        ("header_seconds", "soon", "it is not a duration", "seconds from 0.1 to 86,400, or one with a unit: `5m`"),
        ("grace_seconds", "-1", "it is too small", "or one with a unit: `5m`, `1h30m`, `500ms`"),
        ("load_timeout", "5 minutes", "it is not a duration", "it is a number of seconds, or one with a unit: `5m`"),
        ("keep_alive", "soon", "it is not a duration", "it is a number of seconds, or one with a unit: `5m`"),
        ("max_queue", "many", "it is not a whole number", "it is a whole number from 1 to 1,000,000"),
    ],
)
def test_the_forms_of_numbers_are_told(home: Home, key: str, value: str, said: str, hint: str) -> None:
    write(home, f"serve: {{{key}: {value}}}\n")
    with pytest.raises(InvalidSettings) as wrong:
        configure(home, {})
    assert (said in wrong.value.message, hint in str(wrong.value.hint)) == (True, True), wrong.value.diagnostics()


@pytest.mark.parametrize("key", ServeForm.model_fields)
@pytest.mark.parametrize("value", ["banana", "-7.5", "1e30", "{a: 1}", "[[1]]", "null", "true", ".inf", "-1", "9" * 30])
def test_no_mistake_is_told_in_words_of_python(home: Home, key: str, value: str) -> None:
    write(home, f"serve: {{{key}: {value}}}\n")
    try:
        configure(home, {})
    except InvalidSettings as wrong:
        told = f"{wrong.message} {wrong.hint}"
        assert not any(word in told for word in ("Input", "integer", "string", "tuple", "dictionary")), told


def test_a_mistake_in_an_option_names_it_as_it_was_typed(home: Home) -> None:
    typed = {"memory": "--memory", "keep_alive": "--keep-alive", "max_loaded_models": "--models"}
    write(home, "serve: {memory: 1GB, keep_alive: 1s, max_loaded_models: 1}\n")
    environment = {f"MLXBUILD_{key.upper()}": "2" for key in typed}
    for key, option in typed.items():
        with pytest.raises(InvalidSettings) as wrong:
            configure(home, environment, {key: "banana"})
        assert wrong.value.where == option
    configuration = configure(home, environment, {"memory": "3GB", "keep_alive": "3m", "max_loaded_models": 3})
    form = configuration.form
    assert (form.memory, form.keep_alive.seconds, form.max_loaded_models) == (3_000_000_000, 180.0, 3)
    assert [configuration.origins[key] for key in typed] == list(typed.values())


def test_every_number_has_a_range() -> None:
    without = {key for key, field in ServeForm.model_fields.items() if field.annotation in (int, float)}
    unbounded = {key for key in without if " to " not in (told_number(key) or "")}
    assert unbounded == {"kv_bits", "load_timeout", "stored_responses_age"}


@pytest.mark.parametrize(
    ("written", "seconds"), [("90", 90), ("1.5", 1.5), ("1m30s", 90), ("'2m'", 120), ("500ms", 0.5)]
)
def test_durations_are_written_in_both_ways_everywhere(home: Home, written: str, seconds: float) -> None:
    serve = ("header_seconds", "idle_seconds", "body_seconds", "grace_seconds", "load_timeout", "stored_responses_age")
    lines = "".join(f"  {key}: {written}\n" for key in (*serve, "keep_alive"))
    write(home, f"read_seconds: {written}\nconnect_seconds: {written}\nserve:\n{lines}")
    form, registries = configure(home, {}).form, Settings.load(home)
    assert {getattr(form, key) for key in serve} == {seconds}
    assert {form.keep_alive.seconds, registries.read_seconds, registries.connect_seconds} == {seconds}


@pytest.mark.parametrize(
    "written",
    [
        f"serve: {{body_limit: '{'9' * 400}'}}",
        f"serve: {{header_seconds: {'9' * 400}}}",
        f"serve: {{port: {'9' * 5000}}}",
        "serve: {port: 2026-13-45}",
        "serve: " + "[" * 3000,
        "serve: {load_timeout: .nan}",
        *(
            f"serve: {{{key}: true}}"
            for key in ("port", "max_queue", "memory", "header_seconds", "keep_alive", "kv_bits")
        ),
    ],
)
def test_what_no_number_can_be_is_refused(home: Home, written: str) -> None:
    write(home, written)
    with pytest.raises(InvalidSettings):
        configure(home, {})


@pytest.mark.parametrize("written", ["[::", ":::99999", "[::1]evil.com"])
def test_an_address_that_is_none_is_no_bug(written: str) -> None:
    assert split_address(written)[1] is None


def test_the_section_leaves_registries_alone(home: Home) -> None:
    write(home, "default_registry: ghcr.io/acme\nserve: {port: 1}\n")
    assert Settings.load(home).default_registry == "ghcr.io/acme"


@pytest.mark.parametrize(
    ("text", "environment", "address"),
    [
        ("", {}, ("127.0.0.1", 11434)),
        ("serve: {host: 0.0.0.0, port: 5}", {}, ("127.0.0.1", 5)),
        ("serve: {port: 5}", {"OLLAMA_HOST": "box.local"}, ("box.local", 11434)),
        ("", {"OLLAMA_HOST": "box.local:6", "MLXBUILD_HOST": "[::]:7"}, ("::1", 7)),
        ("", {"MLXBUILD_PORT": "8"}, ("127.0.0.1", 8)),
        ("serve: []", {"OLLAMA_HOST": "https://box.local"}, ("box.local", 443)),
        ("serve: {port: true}", {}, ("127.0.0.1", 11434)),
    ],
)
def test_where_clients_look(home: Home, text: str, environment: dict[str, str], address: tuple[str, int]) -> None:
    write(home, text)
    assert server_address(home, environment) == address
