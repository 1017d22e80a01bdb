"""Draws a graph in several formats. The many similar blocks of one variant can be folded into one box."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlxbuild.toolchain.graph.graph import Graph

if TYPE_CHECKING:
    import networkx

_BLOCK = re.compile(r"(.*/(?:convert|quantize))/[^/]+")


def to_networkx(graph: Graph, *, fold: bool = False) -> networkx.DiGraph[str]:
    """The graph for analysis: edges run from a node to its consumers; nodes have the attributes `step` and `count`."""
    import networkx

    picture: networkx.DiGraph[str] = networkx.DiGraph()
    for node in graph.nodes.values():
        name = _name(node.label, fold=fold)
        count = picture.nodes[name]["count"] + 1 if name in picture else 1
        picture.add_node(name, step=node.step, count=count)
    for node in graph.nodes.values():
        for other in sorted(node.needs | frozenset(node.after)):
            picture.add_edge(_name(other, fold=fold), _name(node.label, fold=fold))
    return picture


def to_mermaid(graph: Graph, *, fold: bool) -> str:
    """A Mermaid flowchart, which GitHub and many editors render."""
    picture = to_networkx(graph, fold=fold)
    numbers = {name: f"n{number}" for number, name in enumerate(picture.nodes)}
    lines = ["flowchart LR"]
    lines += [f'  {numbers[name]}["{_title(name, facts)}"]' for name, facts in picture.nodes.items()]
    lines += [f"  {numbers[start]} --> {numbers[end]}" for start, end in picture.edges]
    return "\n".join(lines)


def to_dot(graph: Graph, *, fold: bool) -> str:
    """The graph in Graphviz DOT."""
    picture = to_networkx(graph, fold=fold)
    lines = ["digraph build {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f'  "{name}" [label="{_title(name, facts)}"];' for name, facts in picture.nodes.items()]
    lines += [f'  "{start}" -> "{end}";' for start, end in picture.edges]
    return "\n".join([*lines, "}"])


def to_json(graph: Graph) -> dict[str, Any]:
    """Nodes and edges as plain JSON data, with nothing folded."""
    return {
        "nodes": [{"label": node.label, "step": node.step, "bytes": node.work_bytes} for node in graph.nodes.values()],
        "edges": [
            {"from": other, "to": node.label}
            for node in graph.nodes.values()
            for other in sorted(node.needs | frozenset(node.after))
        ],
    }


def _name(label: str, *, fold: bool) -> str:
    match = _BLOCK.fullmatch(label) if fold else None
    return match[1] if match else label


def _title(name: str, facts: dict[str, Any]) -> str:
    title = name.replace('"', "'")
    return f"{title} × {facts['count']}" if facts["count"] > 1 else title
