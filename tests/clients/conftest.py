"""The server that clients are let at: the one of `tests/mlxbuild/serving`, over the example's models."""

from tests.mlxbuild.serving.conftest import built_home, served

__all__ = ["built_home", "served"]
