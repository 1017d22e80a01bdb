"""What is asked of `create` and refused before anything is built."""

from __future__ import annotations

from typing import Any

import pytest

from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.ollama.create import CreateBody, _order


@pytest.mark.parametrize("name", ["./x.gguf", "/models/x", "~/x", "x.GGUF"])
def test_a_file_is_no_model_to_build_from(name: str) -> None:
    body: dict[str, Any] = {"model": "mine", "from": name}
    with pytest.raises(InvalidRequest) as caught:
        _order(CreateBody(**body), None)  # type: ignore[arg-type]
    assert caught.value.message == f"`{name}` is a file, and the server reads none of those around it"
    assert caught.value.hint == "send it to /api/blobs and name it in `files`, as `ollama create` does"
