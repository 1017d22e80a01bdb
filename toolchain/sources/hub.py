"""Access to the Hugging Face Hub through its own client: revisions, file lists, ranged reads and downloads.

The client is imported when it is first needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.oci.remote.retry import Failure, Patience, retry
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.oci.remote.watch import Limits, Watch, watching
from mlxbuild.toolchain.sources.errors import HubTooSlow, HubUnreachable, Offline
from mlxbuild.toolchain.sources.hub_connections import watch_client
from mlxbuild.toolchain.sources.hub_errors import (
    client_errors,
    client_utilities,
    http_library,
    never_connected,
    offline,
    too_late,
    too_slow,
    translate,
    wait_seconds,
)
from mlxbuild.toolchain.sources.hub_settings import HubSettings

_Answer = TypeVar("_Answer")
_PATIENCE = Patience(attempts=5, first_pause_seconds=1, longest_pause_seconds=8, longest_asked_seconds=300)
_BRIEFLY = Patience(attempts=2, first_pause_seconds=0.5, longest_pause_seconds=0.5, longest_asked_seconds=2)
_TIMEOUT_SECONDS = 30
_HEADER_GUESS_BYTES = 64 * 1024
_RETRYABLE = frozenset({408, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository's listing."""

    path: str
    size_bytes: int
    sha256: Digest | None
    """Known without downloading only for files in LFS or Xet."""
    git_id: str
    """The git blob id: sha1 of `blob <size>\\0` and the content (of the pointer, for a file in LFS)."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository in a search result."""

    repository: str
    downloads: int | None
    """Downloads in the last month, or None if unknown."""


@dataclass(frozen=True, slots=True)
class Hub:
    """A Hub and its client's cache on this machine."""

    settings: HubSettings = field(default_factory=HubSettings.from_environment)
    limits: Limits = field(default_factory=lambda: Settings.load(Home.from_environment()).limits)
    """Time limits for its requests, the same as for registries."""
    patience: Patience = _PATIENCE
    answer_seconds: float | None = None
    """The limit for each answer with all its attempts, if there is one."""

    @classmethod
    def of(cls, home: Home, *, offline: bool = False) -> Hub:
        """The Hub that the environment names, with the time limits of a home; `offline` forbids all requests."""
        settings = HubSettings.from_environment()
        return cls(replace(settings, offline=offline or settings.offline), Settings.load(home).limits)

    def answering_within(self, seconds: float) -> Hub:
        """The same Hub for somebody who waits: each answer takes so many seconds at most, half of them to connect.

        A Hub that cannot be reached is not asked again, and one that fails is asked once more.
        """
        limits = replace(self.limits, connect_seconds=min(self.limits.connect_seconds, seconds / 2))
        return replace(self, limits=limits, patience=_BRIEFLY, answer_seconds=seconds)

    def commit(self, repository: str, revision: str) -> str:
        """The commit that a branch, tag or abbreviated commit currently refers to.

        Raises:
            RepositoryMissing, GatedRepository, RevisionMissing, AccessDenied: the name cannot be resolved.
            HubUnreachable, HubRateLimited, Offline: the Hub does not answer.
        """

        def information() -> Any:
            return self._client().model_info(repository, revision=revision, timeout=_TIMEOUT_SECONDS)

        commit = self._ask(repository, revision, information, retryable=_RETRYABLE | {429}).sha
        if not isinstance(commit, str) or len(commit) != 40 or not set(commit) <= set("0123456789abcdef"):
            raise HubUnreachable(
                "the Hub names no commit for the revision",
                where=f"{repository}@{revision}",
                hint="check HF_ENDPOINT",
            )
        return commit

    def files(self, repository: str, commit: str, *, recursive: bool = False) -> tuple[HubFile, ...]:
        """The files of a commit at the top level, or at all levels with `recursive`.

        Raises:
            The same errors as `commit`.
        """

        def listing() -> tuple[HubFile, ...]:
            # `HfApi.list_repo_tree` would do the same but without a timeout: a Hub that hangs would hang the build.
            client = client_utilities()
            entries = client.paginate(
                f"{self.settings.endpoint}/api/models/{quote(repository)}/tree/{quote(commit, safe='')}",
                params={"recursive": recursive, "expand": False},
                headers=client.build_hf_headers(),
                timeout=_TIMEOUT_SECONDS,
            )
            return tuple(_listed(entry) for entry in entries if entry["type"] == "file")

        self._client()
        return self._ask(repository, commit, listing)

    def search(self, word: str, limit: int) -> tuple[HubModel, ...]:
        """At most `limit` model repositories whose name contains a word, the most downloaded first.

        Raises:
            HubUnreachable, HubRateLimited, Offline, AccessDenied: the Hub does not answer.
        """
        if self.settings.offline:
            raise Offline(
                "the Hub cannot be searched, because HF_HUB_OFFLINE is set", hint="unset it, or search with --no-hub"
            )

        def listing() -> tuple[HubModel, ...]:
            # `HfApi.list_models` would do the same, but would try again for half a minute.
            client = client_utilities()
            answer = client.get_session().get(
                f"{self.settings.endpoint}/api/models",
                params={"search": word, "sort": "downloads", "limit": limit},
                headers=client.build_hf_headers(),
                timeout=_TIMEOUT_SECONDS,
            )
            client.hf_raise_for_status(answer)
            return tuple(HubModel(str(each["id"]), each.get("downloads")) for each in answer.json()[:limit])

        self._client()
        return self._ask(f"search for {word}", "main", listing, retryable=_RETRYABLE | {429})

    def reader(self, repository: str, commit: str, path: str) -> Callable[[int, int], bytes]:
        """A function that reads (offset, size) of a file; the start of the file is requested once and kept.

        The function raises the errors of `commit`, and SourceMissing if the file is gone.
        """
        start: list[bytes] = []

        def read(begin: int, size: int) -> bytes:
            if not start:
                start.append(self._read(repository, commit, path, 0, max(_HEADER_GUESS_BYTES, size)))
            if begin + size <= len(start[0]):
                return start[0][begin : begin + size]
            return self._read(repository, commit, path, begin, size)

        return read

    def cached(self, repository: str, commit: str, path: str, digest: Digest | None = None) -> Iterator[Path]:
        """Paths at which the client's cache may hold a file, best first. Needs neither the client nor the network.

        The layout is the client's documented one: `snapshots/<commit>/<path>`, and `blobs/<sha256>` for LFS files.
        """
        folder = self.settings.cache / f"models--{repository.replace('/', '--')}"
        snapshot = folder / "snapshots" / commit / path
        if snapshot.is_file():
            yield snapshot
        if digest is not None:
            blob = folder / "blobs" / digest.hex
            if blob.is_file():
                yield blob

    def download(
        self,
        repository: str,
        commit: str,
        path: str,
        *,
        again: bool = False,
        progress: Callable[[int], None] | None = None,
        checkpoint: Callable[[], None] | None = None,
    ) -> Path:
        """The path of a file in the client's cache, downloaded if it is not there. Interrupted transfers are resumed.

        Args:
            again: Download it even if it is there.
            progress: Called with the size in bytes of each chunk that arrives.
            checkpoint: Called between chunks; may raise, which aborts the transfer.

        Raises:
            The errors of `commit`; SourceMissing: the file is gone; DiskFull, HubCacheFailure: it cannot be cached.
        """

        def transfer() -> Path:
            from huggingface_hub import hf_hub_download

            return Path(
                hf_hub_download(
                    repository,
                    path,
                    revision=commit,
                    cache_dir=self.settings.cache,
                    endpoint=self.settings.endpoint,
                    force_download=again,
                    tqdm_class=_meter(progress, checkpoint),
                )
            )

        self._client()
        return self._ask(repository, commit, transfer, path, retryable=_RETRYABLE)

    def _read(self, repository: str, commit: str, path: str, begin: int, size: int) -> bytes:
        def ranged() -> bytes:
            from huggingface_hub import hf_hub_url

            client = client_utilities()
            url = hf_hub_url(repository, path, revision=commit, endpoint=self.settings.endpoint)
            headers = {
                **client.build_hf_headers(),
                "Range": f"bytes={begin}-{begin + size - 1}",
                "Accept-Encoding": "identity",
            }
            with client.get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_SECONDS) as answer:
                client.hf_raise_for_status(answer)
                skip = begin if answer.status_code == 200 else 0  # a server may ignore the range header
                data = bytearray()
                for piece in answer.iter_bytes():
                    data += piece
                    if len(data) >= skip + size:
                        break
                return bytes(data[skip : skip + size])

        self._client()
        return self._ask(repository, commit, ranged, path, retryable=_RETRYABLE | {429})

    def _client(self) -> Any:
        if self.settings.offline:
            raise offline(self.settings.endpoint)
        from huggingface_hub import HfApi

        client_utilities().logging.set_verbosity_error()  # its retries would interfere with our progress display
        return HfApi(endpoint=self.settings.endpoint)

    def _ask(
        self,
        repository: str,
        revision: str,
        call: Callable[[], _Answer],
        path: str | None = None,
        *,
        retryable: frozenset[int] = frozenset(),
    ) -> _Answer:
        """Call the client, retry after temporary failures, and translate its exceptions.

        The client itself retries often; `retryable` names HTTP statuses for which it does not in this call. A request
        that has exceeded a time limit twice is not tried a third time.
        """
        where = f"{repository}@{revision}" + (f"/{path}" if path else "")
        if self.settings.offline:
            raise offline(where)
        expected = client_errors()
        watch_client()

        is_brief = self.answer_seconds is not None

        def once() -> _Answer:
            with watching(Watch(self.limits, partial(too_slow, where=where, settings=self.settings, brief=is_brief))):
                return call()

        def classified(problem: Exception) -> Failure | None:
            if isinstance(problem, HubTooSlow):
                return Failure(retryable=bool(retryable) and not is_brief, is_slow=True)
            if not isinstance(problem, expected):
                return None
            retried = _is_retryable(problem, retryable) and not (is_brief and never_connected(problem))
            return Failure(retried, asked_seconds=wait_seconds(problem))

        try:
            with ExitStack() as stack:
                if (seconds := self.answer_seconds) is not None:
                    late = partial(too_late, seconds, where, self.settings)
                    stack.enter_context(cancellation.until(time.monotonic() + seconds, late))
                return retry(once, self.patience, classified)
        except expected as problem:
            # The client's exception is not chained, because its text and request may hold credentials.
            raise translate(problem, repository=repository, revision=revision, path=path) from None


def _is_retryable(problem: Exception, retryable: frozenset[int]) -> bool:
    from huggingface_hub import errors

    http = http_library()
    if isinstance(problem, errors.HfHubHTTPError):
        return problem.response.status_code in retryable
    if isinstance(problem, http.TimeoutException | http.NetworkError | http.RemoteProtocolError):
        return bool(retryable)
    # The client raises a plain OSError for a body that ends early without a protocol error.
    return type(problem) is OSError and problem.errno is None and bool(retryable)


def _listed(entry: Mapping[str, Any]) -> HubFile:
    lfs = entry.get("lfs")
    if lfs is None:
        return HubFile(entry["path"], int(entry["size"]), None, entry["oid"])
    return HubFile(entry["path"], int(lfs["size"]), Digest.parse(f"sha256:{lfs['oid']}"), entry["oid"])


def _meter(progress: Callable[[int], None] | None, checkpoint: Callable[[], None] | None) -> type[Any]:
    class Meter(client_utilities().tqdm):  # type: ignore[misc]
        """A replacement for the client's progress bar that shows nothing and reports the bytes."""

        def __init__(self, *positional: Any, **named: Any) -> None:
            super().__init__(*positional, **{**named, "disable": True})

        def update(self, count: float | None = 1) -> None:
            if progress is not None and count:
                progress(int(count))
            if checkpoint is not None:
                checkpoint()

    return Meter
