"""The curves of a training as one small table, to keep beside a checkpoint."""

import csv
from pathlib import Path


def write_log(logs: Path, table: Path) -> None:
    """Joins the CSV logs of a run, which may have been resumed; the last word on a step counts.

    Args:
        logs: the folder of a CSVLogger, with its version_0, version_1 ...
        table: the file to write: a row a step, a column a metric, four decimals.
    """
    rows: dict[int, dict[str, str]] = {}
    last: dict[str, str] = {}
    for file in sorted(logs.glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        with file.open(newline="") as opened:
            for row in csv.DictReader(opened):
                # Lightning writes the last value of a term again where there is none, as of a teacher's once it is
                # silent; to all digits no measurement repeats.
                fresh = {
                    key: value for key, value in row.items() if value and key != "epoch" and last.get(key) != value
                }
                last |= fresh
                rows.setdefault(int(row["step"]), {"step": row["step"]}).update(fresh)
    columns = ["step", *sorted({key for row in rows.values() for key in row} - {"step"})]
    with table.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{float(v):.4f}" if k != "step" else v for k, v in rows[step].items()} for step in sorted(rows)
        )
