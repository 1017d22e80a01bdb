"""Sets up the execution of a graph as the options ask: its action cache, its executor and its remote cache."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.cache.action_cache import ActionCache
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.execute.execution import Execution, ExecutionOptions
from mlxbuild.toolchain.execute.inline import InlineExecutor
from mlxbuild.toolchain.execute.perform import ExecutionContext
from mlxbuild.toolchain.execute.port import Executor
from mlxbuild.toolchain.execute.process import ProcessExecutor
from mlxbuild.toolchain.graph.graph import Graph
from mlxbuild.toolchain.options import BuildOptions

if TYPE_CHECKING:
    from mlxbuild.toolchain.execute.remote_cache_threads import RemoteCacheThreads


def set_up(graph: Graph, store: Store, stream: EventStream, options: BuildOptions) -> Execution:
    """The execution of a graph, ready to run."""
    return Execution(
        graph,
        ActionCache(store, refresh=options.refresh, salt=options.salt),
        _executor(options, store),
        stream,
        ExecutionOptions(options.keep_going or options.in_ci, _order(options.shuffle)),
        remote=_remote_lane(options, store, stream),
    )


def _executor(options: BuildOptions, store: Store) -> Executor:
    context = ExecutionContext.of(store, options.refresh)
    if options.executor == "process":
        return ProcessExecutor(context, options.jobs)
    return InlineExecutor(context, options.jobs)


def _order(seed: int | None) -> Callable[[list[str]], list[str]]:
    if seed is None:
        return list
    source = random.Random(seed)
    return lambda labels: source.sample(labels, len(labels))


def _remote_lane(options: BuildOptions, store: Store, stream: EventStream) -> RemoteCacheThreads | None:
    """The connection to the remote cache, or None; its dependencies are loaded only if there is one."""
    if options.cache_from is None and options.cache_to is None:
        return None
    from mlxbuild.registry.oci.remote.client import Remote
    from mlxbuild.toolchain.cache.remote import RemoteTraces
    from mlxbuild.toolchain.execute.remote_cache_threads import RemoteCacheThreads

    settings = Settings.load(store.home)

    def traces(repository: str | None) -> RemoteTraces | None:
        if repository is None:
            return None
        return RemoteTraces(Remote.open(Reference.parse(repository), settings, store.home), store)

    return RemoteCacheThreads(traces(options.cache_from), traces(options.cache_to), stream)
