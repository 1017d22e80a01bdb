"""A network namespace: programs in it reach each other over loopback, and nothing else. Only Linux has it."""

from __future__ import annotations

import subprocess

from tests import real_parts, real_tools


def opening() -> list[str]:
    """The words before a command that make it the first process of a new namespace."""
    real_tools.find("ip")
    unshare = [real_tools.find("unshare"), "--map-root-user", "--net"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        real_parts.missing("a network namespace", "allow this process to make one, with its user namespace")
    return [*unshare, "sh", "-c", 'ip link set lo up && exec "$0" "$@"']


def joining(process: int) -> list[str]:
    """The words before a command that run it in the namespace of that process."""
    return [real_tools.find("nsenter"), "--target", str(process), "--user", "--net", "--preserve-credentials"]


def interfaces(process: int) -> list[str]:
    """The network interfaces of that process."""
    listed = subprocess.run([*joining(process), "cat", "/proc/net/dev"], capture_output=True, text=True, check=True)
    return [line.split(":")[0].strip() for line in listed.stdout.splitlines() if ":" in line]
