"""Which name of an artifact lists show, and what else it is called."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mlxbuild.registry.artifact.aliases import NamedArtifact, grouped
from mlxbuild.registry.artifact.manifest import InvalidManifest
from mlxbuild.registry.core.digest import Digest

INT4, NONE = Digest.of_bytes(b"int4"), Digest.of_bytes(b"none")
KNOWN = {
    INT4: {"org.opencontainers.image.title": "hello:int4@1.0", "org.opencontainers.image.version": "1.0"},
    NONE: {"org.opencontainers.image.title": "hello:none@1.0", "org.opencontainers.image.version": "1.0"},
}


def rows(*names: tuple[str, Digest]) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.name, each.aliases) for each in grouped(names, KNOWN.__getitem__)]


def test_an_artifact_is_one_row_under_its_variant() -> None:
    tags = [("hello:1.0", INT4), ("hello:latest", INT4), ("hello:int4-1.0", INT4), ("hello:int4", INT4)]
    others = [("hello:none-1.0", NONE), ("hello:none", NONE)]
    assert rows(*tags, *others) == [
        ("hello:int4", ("hello:1.0", "hello:int4-1.0", "hello:latest")),
        ("hello:none", ("hello:none-1.0",)),
    ]


@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        (("latest", "1.0"), "latest"),
        (("1.0", "int4-1.0"), "1.0"),
        (("latest", "mine", "int4-1.0"), "mine"),
        (("int4-1.0",), "int4-1.0"),
    ],
)
def test_without_a_tag_of_the_variant_another_one_is_shown(tags: tuple[str, ...], shown: str) -> None:
    ((name, aliases),) = rows(*((f"host:5000/a/hello:{tag}", INT4) for tag in tags))
    assert name == f"host:5000/a/hello:{shown}"
    assert len(aliases) == len(tags) - 1


def test_a_copy_under_another_name_is_a_row_of_its_own() -> None:
    assert rows(("hello:int4", INT4), ("mine:latest", INT4)) == [("hello:int4", ()), ("mine:latest", ())]


def test_an_artifact_that_cannot_be_read_is_still_listed() -> None:
    def unreadable(digest: Digest) -> Mapping[str, str]:
        raise InvalidManifest(f"{digest} is broken")

    tags = [("hello:int4", INT4), ("hello:latest", INT4)]
    assert grouped(tags, unreadable) == (NamedArtifact("hello:int4", INT4, ("hello:latest",)),)
