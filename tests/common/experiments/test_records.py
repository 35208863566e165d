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
        (record().line().replace("0.1}", "NaN}").encode(), "NaN is not a number"),
        (record().line().replace("0.1}", "-Infinity}").encode(), "-Infinity is not a number"),
        (record().line().replace("0.1}", "1e999}").encode(), "1e999 is not finite"),
        (record().line().replace("0.1}", "7" * 400 + "}").encode(), f"{'7' * 20}... has 400 digits"),
        (record().line().replace("0.1}", "[" * 50_000).encode(), "brackets are nested too deeply"),
        (record().line().replace("0.1}", "true}").encode(), "the metric 'repeat/error' is True, not a number"),
        (
            record().line().replace("0.1}", '0.1, "repeat/error": 0.2}').encode(),
            "the key 'repeat/error' is given twice",
        ),
        (record(paper="other").line().encode(), "it is of the paper 'other'"),
        (record(seed=-1).line().encode(), "the field 'seed' is -1; it must not be negative"),
        (record().line().replace('"seed": 0', '"seed": false').encode(), "the field 'seed' is False, not of type int"),
        (record(first_losses=("a",)).line().encode(), "the field 'first_losses' is ['a'], not a list of numbers"),
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


def test_a_line_of_before_a_field_was_added_is_read(ledger):
    written = record(
        first_losses=(1.0, 0.5), cpu_seconds=2.0, hash_version=2, capability="AVX2", processor="p", means=("m",)
    )
    old = {k: v for k, v in json.loads(written.line()).items() if k not in ADDED}
    assert Record.parse(json.dumps(old)) == RECORD
    assert RECORD.hash_version == 1
    assert Record.parse(written.line()) == written


ADDED = ("hash_version", "cpu_seconds", "processor", "capability", "first_losses", "means")


def test_a_second_record_of_a_run_is_said_and_counts(ledger):
    for value in (1.0, 2.0):
        ledger.append(record(metrics={"m": value}))
    records, warnings = ledger.read("toy")
    assert [r.metrics["m"] for r in current(records)] == [2.0]
    said = "main/a seed 0 is on record in line 1 already; the last record counts"
    assert warnings == [f"{ledger.path('toy')}:2: {said}"]


def test_a_run_done_anew_for_a_new_metric_is_no_fault(ledger):
    for metrics in ({"m": 1.0}, {"m": 1.0, "new": 2.0}, {"m": 1.0, "new": 3.0}):
        ledger.append(record(metrics=metrics))
    records, warnings = ledger.read("toy")
    assert [r.metrics["new"] for r in current(records)] == [3.0]
    said = "main/a seed 0 is on record in line 2 already; the last record counts"
    assert warnings == [f"{ledger.path('toy')}:3: {said}"]


def test_the_check_of_a_property_may_move_to_another_module():
    old, new = (record(benchmark="property", recipe=f"{module}:check", recipe_hash="r2") for module in "ab")
    assert current([old, new]) == [new]


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
            Ledger(ledger.folder).append(record(seed=seed, data_hash=str(step), steps=step, git_commit="x" * 3000))

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
