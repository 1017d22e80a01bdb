"""`POST /api/pull` and `POST /api/push`, with progress; `registry.oci.exchange` transfers the blobs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.registry.core.errors import TrustError
from mlxbuild.registry.core.reference import DEFAULT_TAG, InvalidReference, Reference
from mlxbuild.registry.oci.exchange.progress import Observe
from mlxbuild.registry.oci.exchange.pull import Pulled, pull
from mlxbuild.registry.oci.exchange.push import Pushed, push
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.errors import BlobCorrupt, BlobTooLarge
from mlxbuild.registry.store.leases import shared
from mlxbuild.registry.trust.errors import Untrusted
from mlxbuild.runtime.server.application import Application, application_of
from mlxbuild.runtime.server.failures import InvalidRequest, UpstreamUnsound
from mlxbuild.runtime.server.long_task import LongTask
from mlxbuild.runtime.server.models.names import find_model, parse_name
from mlxbuild.runtime.server.ollama.body import ModelBody
from mlxbuild.runtime.server.ollama.failures import names_told
from mlxbuild.runtime.server.ollama.progress import PULL, PUSH, TransferMessages, TransferNews, tell_progress


class TransferBody(ModelBody):
    """The fields that both routes share; use `mlxbuild login` instead of `username` and `password`."""

    insecure: bool = False
    stream: bool = True


class PushBody(TransferBody):
    """The body of `POST /api/push`; `force` is our extension."""

    force: bool = False
    """Move version tags, too, even if they have another digest in the registry."""


async def pull_model(request: Request, body: TransferBody) -> HTTPResponse | None:
    """Pull a model from a registry."""
    with names_told(body.named):
        if not body.named:
            raise InvalidReference("the name is empty", hint="write host/name:tag")
        reference = parse_name(body.named)
    do = partial(_pull_artifact, application_of(request), reference, is_insecure=body.insecure)
    return await _transfer(request, do, PULL, streams=body.stream)


async def push_model(request: Request, body: PushBody) -> HTTPResponse | None:
    """Push a model to a registry."""
    if not body.named:
        raise InvalidRequest("model is required")
    application = application_of(request)
    with names_told(body.named):
        find_model(application.store, body.named)
    do = partial(_push_artifact, application, body.named, is_insecure=body.insecure, force=body.force)
    return await _transfer(request, do, PUSH, streams=body.stream)


async def _transfer(
    request: Request, do: Callable[[Observe], object], wording: TransferMessages, *, streams: bool
) -> HTTPResponse | None:
    news = TransferNews(wording)
    work = LongTask(request.app.ctx.task_threads, lambda: do(news.observe), news.told)
    async with work, contextlib.aclosing(work.progress()) as progress:
        return await tell_progress(request, progress, first=wording.first, last=wording.last, streams=streams)


def _pull_artifact(application: Application, reference: Reference, observe: Observe, *, is_insecure: bool) -> Pulled:
    with shared(application.home):
        settings = _settings(application, reference, is_insecure=is_insecure)
        try:
            return pull(application.store, reference, settings=settings, observe=observe)
        except (BlobCorrupt, BlobTooLarge, Untrusted):  # of our store, or of our policy
            raise
        except TrustError as error:
            raise UpstreamUnsound(error) from None


def _push_artifact(application: Application, name: str, observe: Observe, *, is_insecure: bool, force: bool) -> Pushed:
    with shared(application.home):
        reference, digest = find_model(application.store, name)
        target = Reference(reference.repository, reference.tag or DEFAULT_TAG, None, reference.host)
        settings = _settings(application, target, is_insecure=is_insecure)
        return push(application.store, digest, target, settings=settings, observe=observe, force=force)


def _settings(application: Application, reference: Reference, *, is_insecure: bool) -> Settings:
    settings = Settings.load(application.home)
    host = reference.host or (settings.default_registry or "").partition("/")[0]
    return replace(settings, insecure=settings.insecure | {host}) if is_insecure and host else settings
