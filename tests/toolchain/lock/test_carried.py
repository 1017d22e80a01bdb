"""What artifacts carry of recipes and locks: no path of a folder that is not below the recipe's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import Lock, LockedFile, LockedSource
from mlxbuild.toolchain.lock.carried import carried
from mlxbuild.toolchain.lock.file import decode, encode
from mlxbuild.toolchain.prepare import pin
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.spec.canonical import canonical, from_canonical
from mlxbuild.toolchain.spec.recipe_folder import leads_out
from mlxbuild.toolchain.spec.resolved import ContentSource, FolderSource, ResolvedSpec
from tests.toolchain.lock.tiny_sources import WriteRecipe


def locked(role: str, folder: str, **files: str) -> LockedSource:
    blobs = {name: Blob(Digest.of_bytes(content.encode()), len(content)) for name, content in files.items()}
    return LockedSource(role, "folder", folder, None, None, tuple(LockedFile(*each) for each in blobs.items()), ())


@pytest.fixture
def spec(tmp_path: Path, model_folder: Path, write_recipe: WriteRecipe) -> ResolvedSpec:
    """With a base beside the recipe's folder, and adapters inside of it and outside."""
    document = canonical(write_recipe("base: {path: model}\n").variants()[0])
    adapters = [{"source": {"path": path}, "scale": 1.0} for path in ("near", "../one", "/disk/two")]
    return from_canonical(document | {"base": {"path": "../x"}, "adapters": adapters}, tmp_path / "ModelSpec.yaml")


SOURCES = (
    locked("base", "../x", config="{}"),
    locked("adapter.0", "near", weights="a"),
    locked("adapter.1", "../one", weights="a"),
    locked("adapter.2", "/disk/two", weights="a"),
)


def test_folders_elsewhere_are_named_by_content_and_listed_once(spec: ResolvedSpec, tmp_path: Path) -> None:
    named, sources = carried(spec, SOURCES)
    assert [source.role for source in sources] == ["base", "adapter.0", "adapter.1"]
    assert [source.kind for source in sources] == ["content", "folder", "content"]
    assert isinstance(named.base, ContentSource)
    assert str(named.base.content) == sources[0].identity
    text = str(canonical(named)) + str(encode(Lock(Digest.of_bytes(b""), sources)))
    assert not any(path in text for path in ("../x", "../one", "/disk"))
    moved = replace(spec, base=FolderSource(Path("/other"), "/other"))
    assert carried(moved, (locked("base", "/other", config="{}"), *SOURCES[1:])) == (named, sources)


def test_what_an_artifact_carries_is_read_back_and_stays(spec: ResolvedSpec, tmp_path: Path, store: Store) -> None:
    named, sources = carried(spec, SOURCES)
    again = from_canonical(canonical(named), spec.recipe)
    assert canonical(again) == canonical(named)
    listed = decode(encode(Lock(Digest.of_bytes(b""), sources)), "lock").sources
    variant = pin(again, listed, SourceCatalogue(tmp_path, store))
    assert set(variant.sources) == set(listed)
    assert carried(again, variant.sources) == (again, variant.sources)


@pytest.mark.parametrize(
    ("written", "leads"),
    [
        *[(path, False) for path in ("model", "./a/../b", ".", "a/..", "..x")],
        *[(path, True) for path in ("..", "../x", "a/../../x", "../here/model", "/data/run")],
    ],
)
def test_how_a_path_is_written_tells_whether_it_leads_out(written: str, leads: bool) -> None:
    assert leads_out(written) is leads
