"""The command line: registers the commands, and maps errors to exit codes. The entry point is `main`.

Commands are imported only when they are called, and slow libraries only inside them.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from mlxbuild import __version__
from mlxbuild.cli import ending
from mlxbuild.cli.early_signals import INTERRUPTED, TERMINATED, told
from mlxbuild.cli.invocation import Invocation, begin, is_verbose
from mlxbuild.registry.core.errors import Kind, MlxbuildError, UserError
from mlxbuild.registry.core.printable import printable
from mlxbuild.registry.core.suggestions import did_you_mean
from mlxbuild.toolchain.events.github import GithubAnnotations
from mlxbuild.toolchain.failures import failure
from mlxbuild.toolchain.spec.errors import SpecError
from mlxbuild.toolchain.spec.report import render

COMMANDS: dict[str, str] = {
    "init": "Write a first recipe from a model folder or a Hub repository.",
    "lint": "Report every mistake of a recipe, with line and hint.",
    "lock": "Pin every source of a recipe by digest.",
    "plan": "Show what a build would do, and why, without building.",
    "create": "Build all variants of recipes into artifacts.",
    "why": "Show which inputs of an action changed.",
    "graph": "Print the build graph.",
    "verify": "Verify an artifact against its digests, recipe and lock.",
    "keygen": "Create a key pair for signing.",
    "sign": "Sign an artifact, its provenance and its gate results.",
    "evidence": "List what is attached to an artifact, and who signed it.",
    "test": "Run the gates of an artifact.",
    "run": "Answer a prompt with a built model.",
    "chat": "Chat with a built model.",
    "embed": "Print the embeddings of texts.",
    "serve": "Serve models over the Ollama, OpenAI and Anthropic APIs.",
    "ps": "List the models that the server has in memory.",
    "stop": "Unload models from the server's memory.",
    "bench": "Measure how fast a model answers.",
    "list": "List the artifacts in the store, or the tags of a repository.",
    "show": "Show what is in an artifact.",
    "inspect": "Show an artifact of the store or of a registry without its weights.",
    "diff": "Compare two artifacts: recipe, template, tokenizer, tensors.",
    "export": "Write an artifact as a folder for mlx_lm and transformers.",
    "pack": "Write an artifact as an OCI archive.",
    "import": "Import artifacts of archives; print recipes for other models.",
    "cp": "Give an artifact another name (between registries: copy).",
    "rm": "Remove names of artifacts.",
    "push": "Push artifacts to a registry.",
    "pull": "Pull an artifact from a registry.",
    "copy": "Copy an artifact between registries (in the store: cp).",
    "search": "Search artifacts at registries and models on the Hub.",
    "login": "Log in to a registry.",
    "logout": "Remove the credentials of a registry.",
    "gc": "Remove blobs that nothing needs.",
    "log": "Show earlier runs.",
    "cache": "Show what the store and the cache hold.",
    "config": "Show and set the server's settings, and manage its API keys.",
    "completion": "Print the script that completes command lines in a shell.",
    "doctor": "Check this machine and this home.",
    "schema": "Print the JSON Schema of ModelSpec.",
    "version": "Print the versions that determine results.",
}


OF_OTHER_TOOLS: dict[str, str] = {
    "build": "`mlxbuild create` builds recipes",
    "tag": "`mlxbuild cp NAME NEW-NAME` gives an artifact another name",
    "rename": "`mlxbuild cp NAME NEW-NAME` gives the new name, `mlxbuild rm NAME` removes the old one",
    "delete": "`mlxbuild rm` removes names, `mlxbuild gc` frees the disk",
    "remove": "`mlxbuild rm` removes names, `mlxbuild gc` frees the disk",
    "rmi": "`mlxbuild rm` removes names, `mlxbuild gc` frees the disk",
    "images": "`mlxbuild list` lists artifacts",
    "ls": "`mlxbuild list` lists artifacts, `mlxbuild ps` those in the server's memory",
    "models": "`mlxbuild list` lists artifacts, `mlxbuild ps` those in the server's memory",
    "info": "`mlxbuild show NAME` shows an artifact, `mlxbuild doctor` this machine",
    "quantize": "write `quantization: int4` in a recipe (`mlxbuild init MODEL`), then `mlxbuild create`",
    "convert": "`mlxbuild init MODEL` writes a recipe, `mlxbuild create` builds it",
    "prune": "`mlxbuild gc` removes what nothing needs",
    "system": "`mlxbuild gc` removes what nothing needs, `mlxbuild cache du` shows what the disk holds",
    "signin": "`mlxbuild login HOST` logs in to a registry",
    "signout": "`mlxbuild logout HOST` removes the credentials of a registry",
    "launch": "`mlxbuild serve` serves models to other programs, `mlxbuild chat NAME` starts a chat",
    "clean": "`mlxbuild gc` removes what nothing needs",
    "history": "`mlxbuild log` shows earlier runs, `mlxbuild why NAME` why they ran",
    "fetch": "`mlxbuild pull` fetches artifacts, `mlxbuild init ORGANISATION/NAME` begins with a model of the Hub",
    "download": "`mlxbuild pull` fetches artifacts, `mlxbuild init ORGANISATION/NAME` begins with a model of the Hub",
    "generate": "`mlxbuild run NAME PROMPT` answers a prompt",
    "server": "`mlxbuild serve` starts the server",
    "start": "`mlxbuild serve` starts the server, which loads models when they are asked",
    "upgrade": "`mlxbuild lock --upgrade` updates the sources of recipes",
    "update": "`mlxbuild lock --upgrade` updates the sources of recipes",
    "validate": "`mlxbuild lint` checks recipes, `mlxbuild verify` artifacts",
    "check": "`mlxbuild lint` checks recipes, `mlxbuild verify` artifacts",
    "eval": "`mlxbuild test NAME` runs the gates of an artifact, `mlxbuild bench NAME` measures its speed",
    "tree": "`mlxbuild graph` prints the build graph",
}
"""What to run in place of a command of Ollama, Docker, mlx-lm and other tools."""


class UnknownCommand(UserError):
    """There is no command of that name."""

    code = "unknown-command"


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All commands, in the order of a typical workflow."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A placeholder with the command's one-line help, which is enough for the list of commands."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name], short_help=COMMANDS[cmd_name])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Import the command that is called, or suggest similar names."""
        name = args[0]
        if name in COMMANDS:
            module = importlib.import_module(f"mlxbuild.cli.{name}_command")
            ending.end_in_order()
            command = typer.main.get_command(module.app)
            command.name = name
            return name, command, args[1:]
        if name.startswith("-"):
            return super().resolve_command(ctx, args)
        hint = OF_OTHER_TOOLS.get(name) or did_you_mean(name, COMMANDS) or "see `mlxbuild --help`"
        raise UnknownCommand(f"there is no command `{name}`", hint=hint)


app = typer.Typer(
    cls=LazyGroup,
    name="mlxbuild",
    help="Build models from recipes into OCI artifacts, and run them with MLX.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"mlxbuild {__version__}\n")
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show where an error came from."),
    home: str = typer.Option("", "--home", help="Use this home instead of $MLXBUILD_HOME.", metavar="FOLDER"),
) -> None:
    begin(Invocation(home, verbose))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are printed on stderr."""
    if instruction := os.environ.get("_MLXBUILD_COMPLETE"):
        from mlxbuild.cli.completing import complete

        return complete(instruction)
    if not arguments or arguments[0] == "help":
        arguments = [*arguments[1:2], "--help"]
    elif arguments in (["-v"], ["--verbose"]):  # alone it is what other tools call the version
        arguments = ["--version"]
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="mlxbuild", standalone_mode=False)
        sys.stdout.flush()
    except MlxbuildError as error:
        _tell(error)
        return error.exit_code
    except typer.Exit as ended:
        code = ended.exit_code
    except TyperException as error:
        error.show(sys.stderr)  # type: ignore[attr-defined]
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit) as ended:
        if isinstance(ended, SystemExit) and not isinstance(ended.__context__, BrokenPipeError):
            raise
        return ending.CLOSED_PIPE  # which Typer would turn into another exit code
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(printable(f"error[{Kind.ENVIRONMENT}]: {error.strerror or error}{where}\n"))
        sys.stderr.write("hint: check the disk, the owner and the mode of it; MLXBUILD_HOME chooses another home\n")
        return _verbosely(6)
    except Exception as error:  # noqa: BLE001 - a bug: a person gets a sentence, `-v` the story
        sys.stderr.write(printable(f"error[bug]: {type(error).__name__}: {error}\n"))
        sys.stderr.write("hint: run it again with `mlxbuild -v ...` and report what that prints\n")
        return _verbosely(1)
    if code == INTERRUPTED:  # Typer returns this code for an interrupt, without a message
        code = TERMINATED if ending.was_terminated() else code
        with suppress(BrokenPipeError):
            sys.stderr.write(told(code))
    return code if isinstance(code, int) else 0


def _tell(error: MlxbuildError) -> None:
    """Print an error; under GitHub Actions as annotations, at the lines of the recipe if it has them."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        _annotate(error)
    else:
        sys.stderr.write(f"{error.diagnostics()}\n")
    _verbosely(0)


def _annotate(error: MlxbuildError) -> None:
    if isinstance(error, SpecError):
        sys.stderr.write(f"{render(error.problems, 'github')}\n")
    else:
        GithubAnnotations(sys.stderr).failure(failure(error))


def _verbosely(code: int) -> int:
    if is_verbose():
        import traceback

        traceback.print_exc()
    return code
