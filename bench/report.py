"""Measured rows as JSON, and as the Markdown tables that are read."""

import json
from collections.abc import Iterable
from pathlib import Path

from bench.measure import Task


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def seconds(value: float) -> str:
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def figures(row: dict) -> str:
    """What was measured, on one line of a terminal."""
    if "error" in row:
        return row["error"]
    rate = f" {row['gflops']:5.0f} GFLOP/s" if "gflops" in row else ""
    return f"{seconds(row['cpu_seconds']):>9}  x{ratio(row['time_ratio_to_ours']):6} {row['extra_mib']:6.0f} MiB{rate}"


def rows_of(task: Task, rows: list[dict], limit: float | None) -> str:
    """One task's table."""
    rate = task.floating_point_operations is not None and limit
    head = [task.unit, "implementation", "CPU time", "time / ours", "extra memory"]
    lines = []
    for row in rows:
        if "error" in row:
            lines.append([str(row["size"]), row["implementation"], row["error"], "", "", *([""] if rate else [])])
            continue
        cells = [
            str(row["size"]),
            row["implementation"],
            seconds(row["cpu_seconds"]),
            ratio(row["time_ratio_to_ours"]),
            f"{row['extra_mib']:.0f} MiB",
        ]
        lines.append([*cells, f"{row['gflops']:.0f} ({row['gflops'] / limit:.0%})"] if rate else cells)
    return f"## {task.title}\n\n" + table([*head, "GFLOP/s (of the limit)"] if rate else head, lines)


def write(
    folder: Path, name: str, title: str, intro: str, tasks: Iterable[Task], rows: list[dict], machine: dict
) -> None:
    """Writes `name`.json and `name`.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    limit = next((row["gflops"] for row in rows if row["task"] == "matrix_product" and "gflops" in row), None)
    parts = [f"# {title}", intro, versions(machine)]
    for task in tasks:
        mine = [row for row in rows if row["task"] == task.name]
        if mine:
            parts.append(rows_of(task, mine, limit))
    (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n")


def versions(machine: dict) -> str:
    """One line on the machine and the packages."""
    installed = {name: version for name, version in machine["versions"].items() if version != "not installed"}
    packages = ", ".join(f"{name} {version}" for name, version in installed.items())
    return f"{machine['cpu']}, {machine['threads']} thread; Python {machine['python']}; {packages}."
