"""Selects the files of a source that are used, and refuses unsafe ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from mlxbuild.registry.artifact.files import UnsafePath, collisions, unsafe
from mlxbuild.toolchain.sources.errors import PickledWeights, SourceIncomplete

SIDE_FILES = (
    "*.json",
    "*.jinja",
    "additional_chat_templates/*.jinja",
    "1_Pooling/config.json",
    "tokenizer.model",
    "*.tiktoken",
    "*.txt",
    "LICENSE*",
)
"""Files other than weights: configuration, tokenizer, templates, pooling, licences."""

ARTIFACT_FILES = ("mlxbuild/accuracy.json", "mlxbuild/defaults.json", "mlxbuild/facts.json")
"""Additional files of an artifact."""

_WEIGHTS = "*.safetensors"
_ADAPTER_FILES = ("adapters.safetensors", "adapter_model.safetensors", "adapter_config.json", "LICENSE*")
_PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npz"})
_CODE = frozenset({".py", ".pyc", ".pyd", ".so", ".dylib", ".dll", ".sh"})


def select(
    paths: Iterable[str], *, role: str, include: Sequence[str], where: str, more: Sequence[str] = ()
) -> tuple[str, ...]:
    """The sorted paths that are used, out of those that a source lists.

    Without `include`, a base provides its safetensors and everything beside them, a tokenizer all but weights, and an
    adapter only the adapter. Safetensors that mlx-lm reads (`model*`) are preferred, and copies for other
    loaders (`consolidated*`) are skipped. Only the top level is listed, except for patterns with a `/`.
    Pickled weights and code are never used.

    Raises:
        UnsafePath: a path is absolute, leaves the folder, or collides with another used one.
        PickledWeights: the only weights are pickled.
        SourceIncomplete: there are no weights, or no `config.json` although the role needs it.
    """
    listed = [_contained(path, where) for path in paths]
    part = role.partition(".")[0]
    patterns = (*(include or _defaults(part)), *more)
    matching = {path for path in listed if any(matches(path, pattern) for pattern in patterns)}
    taken = {path for path in matching if PurePosixPath(path).suffix.lower() not in _PICKLED | _CODE}
    if not include:
        taken -= _superfluous(taken, part)
    _check_names(taken, where)
    if part != "tokenizer":
        _check_weights(taken, listed, where)
        needed = "adapter_config.json" if part == "adapter" else "config.json"
        if needed not in taken:
            hint = ADAPTER_HINT if "adapter_config.json" in listed else _INCOMPLETE
            raise SourceIncomplete(f"the source has no `{needed}`", where=where, hint=hint)
    return tuple(sorted(taken))


ADAPTER_HINT = "this is an adapter: name it below `adapters`, and the model that it was made for as `base`"
_UNSAFE = "do not build from this source"
_INCOMPLETE = "point the recipe at a folder or repository in the format of transformers or mlx-lm"


def matches(path: str, pattern: str) -> bool:
    """Whether a glob matches a path, component by component: `*` never crosses a `/`."""
    parts, globs = path.split("/"), pattern.split("/")
    return len(parts) == len(globs) and all(map(fnmatchcase, parts, globs))


def _defaults(part: str) -> tuple[str, ...]:
    match part:
        case "adapter":
            return _ADAPTER_FILES
        case "tokenizer":
            return SIDE_FILES
        case _:
            return (_WEIGHTS, *SIDE_FILES)


def _superfluous(taken: set[str], part: str) -> set[str]:
    """Files of the default selection to skip: indices without their weights, and safetensors that mlx-lm ignores."""
    indices = {path for path in taken if path.endswith(".safetensors.index.json")}
    if part == "tokenizer":
        return indices
    weights = {path for path in taken if matches(path, _WEIGHTS)}
    preferred = {path for path in weights if path.startswith("adapters" if part == "adapter" else "model")}
    keep = preferred or {path for path in weights if not path.startswith("consolidated")}
    return (weights - keep) | (indices - {"model.safetensors.index.json"})


def _check_weights(taken: set[str], listed: Sequence[str], where: str) -> None:
    if any(path.endswith(".safetensors") for path in taken):
        return
    pickled = sorted(path for path in listed if PurePosixPath(path).suffix.lower() in _PICKLED)
    if pickled:
        raise PickledWeights(
            f"the source has only pickled weights (`{pickled[0]}`), which can run code when loaded",
            where=where,
            hint="use a revision or repository with safetensors, or convert the weights in a place you can lose",
        )
    original = sorted(path for path in listed if matches(path, "consolidated*.safetensors"))
    if original:
        raise SourceIncomplete(
            f"the source has its weights only as `{original[0]}`, whose tensors are named as in Mistral's own code",
            where=where,
            hint="get the `model*.safetensors` of the repository; most have both, else transformers' script "
            "convert_mistral_weights_to_hf.py makes them",
        )
    gguf = sorted(path for path in listed if path.endswith(".gguf"))
    raise SourceIncomplete(
        "the source has no safetensors weights",
        where=where,
        hint=f"name one of its GGUF files, {_some(gguf)}: write `file: {gguf[0]}` beside `hf_repo`, or `gguf: "
        f"folder/{gguf[0]}` in place of `path`"
        if gguf
        else _INCOMPLETE,
    )


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 6} more" if len(paths) > 6 else ""
    return ", ".join(f"`{path}`" for path in paths[:6]) + more


def _contained(path: str, where: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise UnsafePath(f"the source lists {path!a}, outside of itself", where=where, hint=_UNSAFE)
    return path


def _check_names(taken: set[str], where: str) -> None:
    for path in sorted(taken):
        if reason := unsafe(path):
            raise UnsafePath(f"the source lists {path!a}, which {reason}", where=where, hint=_UNSAFE)
    for first, second in collisions(taken):
        raise UnsafePath(
            f"`{first}` and `{second}` are one file on systems that ignore case",
            where=where,
            hint="name the one to take with `include`",
        )
