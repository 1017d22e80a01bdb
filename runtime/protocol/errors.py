"""Errors that both the server and its runners raise."""

from __future__ import annotations

from mlxbuild.registry.core.errors import UserError


class RequestTooLarge(UserError):
    """A request's body is longer than `serve.body_limit` of config.yaml allows, a blob longer than `serve.blob_limit`,
    or a request longer than a runner accepts."""

    code = "request-too-large"
