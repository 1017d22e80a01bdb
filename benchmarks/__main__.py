"""The command line: which questions there are, in which order, and the table at the end."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time

from benchmarks.finding import Finding, table

_QUESTIONS = {
    "cold_create": "a cold create beside mlx_lm convert: time, memory, bytes",
    "nothing_to_do": "create beside dvc repro, both with nothing to do",
    "small_change": "another chat template, and other bits for one layer",
    "many_recipes": "plan over a thousand recipes",
    "transfers": "push and pull at a registry beside oras-py and skopeo",
    "action_overhead": "what the scheduler adds to an action",
    "serving": "serve beside mlx_lm.server: tokens per second",
    "first_minute": "a real model: its first requests after a load; one stream beside mlx_lm.server and llama.cpp",
    "front": "what HTTP adds to a request; how fast serve starts; 500 streams",
    "runner_overhead": "what a model's own process adds to its answers",
    "engine": "the engine beside mlx_lm's bare loop: tokens per second, waiting times, a cold run",
    "verify_speed": "verify beside the machine's sha256",
}
"""Questions that run in this process come last: a child begins with the memory of its parent."""


def main() -> None:
    """Measure, tell how it goes on stderr, and print the table; exit with 1 where a bound does not hold."""
    options = _arguments()
    findings: list[Finding] = []
    _tell(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}; medians of {options.runs} runs"
    )
    for name in _QUESTIONS:
        if options.questions and name not in options.questions:
            continue
        begun = time.perf_counter()
        _tell(f"{name}: {_QUESTIONS[name]}")
        for finding in importlib.import_module(f"benchmarks.{name}").measure(options.runs):
            findings.append(finding)
            _tell(
                f"  {finding.what}: {finding.ours:.4g} {finding.unit}, {'fine' if finding.holds else 'DOES NOT HOLD'}"
            )
        _tell(f"  took {time.perf_counter() - begun:.0f} s, load {os.getloadavg()[0]:.2f}")
    if options.json:
        sys.stdout.write(json.dumps([finding.to_json() for finding in findings], indent=1) + "\n")
    else:
        sys.stdout.write(table(findings) + "\n")
    sys.exit(0 if all(finding.holds for finding in findings) else 1)


def _arguments() -> argparse.Namespace:
    listed = "\n".join(f"  {name:16} {question}" for name, question in _QUESTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measure mlxbuild beside what a user would pick instead.\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", choices=[*_QUESTIONS, []], metavar="NAME", help="default: all")
    parser.add_argument("--runs", type=int, default=5, help="how often each thing is measured (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def _tell(message: str) -> None:
    sys.stderr.write(f"{message}\n")


if __name__ == "__main__":
    main()
