"""The document as text: the machine, and the tables of all parts."""

from importlib import import_module
from typing import Any

from fastsm._bench import PARTS

__all__ = ["header", "text"]


def text(document: dict[str, Any]) -> str:
    """Return everything for a person at a terminal."""
    modules = [import_module(f"fastsm._bench.{part}") for part in PARTS if document.get(part)]
    parts = [header(document), *(module.tables(document).rstrip() for module in modules)]
    parts += [f"FAILED {name}: {why}" for name, why in document["failed"].items()]
    return "\n\n".join(parts)


def header(document: dict[str, Any]) -> str:
    """Return what was measured, on what."""
    machine, versions = document["machine"], document["versions"]
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items()) or "caches unknown"
    cores = f"{machine['cores']} core{'s' * (machine['cores'] > 1)}"
    memory = "" if machine["memory_gb"] is None else f", {machine['memory_gb']:g} GB"
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        f"fastsm {document['fastsm']}, {document['date']}{', a quick run' if document['quick'] else ''}",
        f"{machine['cpu']} ({caches}), {cores}{memory}",
        f"{machine['platform']}, {machine['python']}, {libraries}",
        f"fastsm's kernels use {machine.get('instruction_set', 'nothing: none ran')}",
    ]
    if document["missing"]:
        lines.append(f"not installed: {', '.join(document['missing'])}")
    return "\n".join(lines)
