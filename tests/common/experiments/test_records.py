import dataclasses
import errno
import json
import os
import threading

import pytest

from common.errors import UserError
from common.experiments.records import Ledger, Record, current, select

RECORD = Record(
    paper="toy",
    experiment="main",
    arm="a",
    recipe="mini.yaml",
    seed=0,
    benchmark="numbers",
    metrics={"repeat/error": 0.1},
    steps=8,
    seconds=1.5,
    peak_memory_mb=500.0,
    device="cpu",
    threads=1,
    versions={"torch": "2"},
    git_commit="abc",
    git_dirty=False,
    recipe_hash="r1",
    data_hash="d1",
    finished="2026-01-01T00:00:00+00:00",
)


def record(**changes) -> Record:
    return dataclasses.replace(RECORD, **changes)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "runs")


def test_what_is_appended_is_read_back(ledger):
    written = [record(seed=s, metrics={"größe": 1 / 3, "b": 2.0}) for s in range(3)]
    for one in written:
        ledger.append(one)
    assert ledger.read("toy") == (written, [])
    assert ledger.slugs() == ["toy"]
    assert ledger.read("other") == ([], [])


def test_a_half_written_line_is_reported_and_the_next_starts_afresh(ledger):
    ledger.append(record(seed=0))
    with ledger.path("toy").open("ab") as file:
        file.write(record(seed=1).line().encode()[:50])
    ledger.append(record(seed=2))
    records, warnings = ledger.read("toy")
    assert [r.seed for r in records] == [0, 2]
    assert warnings == [f"{ledger.path('toy')}:2: skipped a broken record: not valid JSON ({reason(ledger, 2)})"]


def reason(ledger: Ledger, line: int) -> str:
    with pytest.raises(json.JSONDecodeError) as error:
        json.loads(ledger.path("toy").read_text().split("\n")[line - 1])
    return f"{error.value.msg} at column {error.value.colno}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"\xff\xfe", "not UTF-8 text"),
        (b"[1]", "not a JSON object"),
        (b"{}", "the field 'paper' is missing"),
        (record().line().replace('"seed": 0', '"seed": "0"').encode(), "the field 'seed' is '0', not of type int"),
        (record().line().replace("0.1}", '"high"}').encode(), "the metric 'repeat/error' is 'high', not a number"),
    ],
)
def test_a_broken_line_does_not_hide_the_others(ledger, line, message):
    ledger.append(record(seed=0))
    with ledger.path("toy").open("ab") as file:
        file.write(line + b"\n")
    ledger.append(record(seed=1))
    records, warnings = ledger.read("toy")
    assert [r.seed for r in records] == [0, 1]
    assert warnings == [f"{ledger.path('toy')}:2: skipped a broken record: {message}"]


def test_a_full_disk_leaves_the_file_as_it_was(ledger, monkeypatch):
    ledger.append(record())
    before = ledger.path("toy").read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
    with pytest.raises(UserError, match=r"toy\.jsonl: cannot be written: No space left on device$"):
        ledger.append(record(seed=1))
    assert ledger.path("toy").read_bytes() == before

    def full(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(UserError, match=r"No space left on device$"):
        ledger.append(record(seed=1))
    assert ledger.path("toy").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written: "):
        Ledger(tmp_path / "file").check_writable("toy")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_one_clear_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        Ledger(tmp_path).append(record())


def test_writers_at_the_same_time_do_not_mix_lines(ledger):
    def write(seed: int) -> None:
        for step in range(20):
            Ledger(ledger.folder).append(record(seed=seed, steps=step, git_commit="x" * 3000))

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records, warnings = ledger.read("toy")
    assert not warnings
    assert sorted((r.seed, r.steps) for r in records) == [(s, i) for s in range(4) for i in range(20)]


def test_a_metric_that_is_not_finite_is_never_written(ledger):
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.append(record(metrics={"a": float("nan")}))
    assert ledger.read("toy") == ([], [])


def test_current_records_are_those_of_the_latest_recipe():
    old = [record(seed=s) for s in range(3)]
    new = [record(seed=s, recipe_hash="r2") for s in range(2)]
    other = [record(arm="b", seed=s) for s in range(2)]
    full = [record(recipe="full.yaml", recipe_hash="r9")]
    assert current([*old, *other, *full, *new]) == [*other, *full, *new]


def test_the_last_of_repeated_runs_counts():
    first, again = record(metrics={"m": 1.0}), record(metrics={"m": 2.0}, data_hash="d2")
    assert current([first, record(seed=1), again]) == [again, record(seed=1)]


def test_select_by_fields():
    records = [record(seed=s, arm=arm) for arm in "ab" for s in range(2)]
    assert select(records, arm="b", seed=1) == [records[3]]


def test_the_line_is_plain_json():
    assert json.loads(RECORD.line())["metrics"] == {"repeat/error": 0.1}
