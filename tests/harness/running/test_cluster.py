"""Runs on a Ray of this machine. Without Ray, what stands around it."""

import dataclasses
import io
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from common.errors import UserError
from common.experiments.items import item_line
from common.experiments.records import ItemKey, Ledger, select
from harness.cli import main
from harness.recipes.catalog import find
from harness.running import node
from harness.running.cluster import AGAIN, Cluster, connected
from harness.running.plan import data_sections, plan
from harness.running.runner import execute
from harness.running.worker import perform

CHECKS = """
import os
import signal
import time
from pathlib import Path


def killed_once(seed):
    mark = Path(__file__).with_name("killed")
    if seed == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return seed * 1e-6


def forever(seed):
    time.sleep(10**6)


def dies(seed):
    os.kill(os.getpid(), signal.SIGKILL)


def fails(seed):
    raise KeyError("no such thing")
"""

SECOND = """
  - name: second
    kind: compare
    recipe: mini.yaml
    arms:
      same: {}
      wider: {model: {init_args: {dropout: 0.2}}}
    claims:
      - {text: less is dropped, method: same, baseline: wider, metric: repeat/error, better: lower, learns: no matter}
"""


@pytest.fixture
def root(toy_root, monkeypatch):
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    monkeypatch.chdir(toy_root)
    (toy_root / "deaths.py").write_text(CHECKS)
    card = toy_root / "papers/toys/toy/paper.yaml"
    card.write_text(card.read_text() + SECOND)
    return toy_root


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Ray of two workers; its processes are most of what these tests cost."""
    pytest.importorskip("ray", reason="Ray is not installed: the extra [cluster]")
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.chdir(home)
        patch.setenv("HOME", str(home))  # where Ray puts the token of its cluster
        # On a busy machine it is up late, and workers that yield to all others would not get on.
        patch.setenv("RAY_agent_register_timeout_ms", "120000")
        patch.setenv("RAY_worker_niceness", "0")
        with connected("local", 2) as there:
            yield there


def do(runs, ledger, hire, workers=2):
    console = Console(file=io.StringIO(), width=200)
    return execute(runs, ledger, workers, console=console, hire=hire), console.file.getvalue()


def checks(root, name, count, **changes):
    """The first runs of the experiment `slow`, with another check."""
    runs = plan(find("toy", root), Ledger(root / "none"), ["slow"]).runs[:count]
    return [dataclasses.replace(run, check=name, **changes) for run in runs]


def test_the_table_is_that_of_this_machine_with_a_worker_killed_and_others_failing(root, cluster):
    card, ledger = find("toy", root), Ledger(root / "runs")
    trained = [
        r for r in plan(card, ledger, ["main", "second", "exact"], seeds=2).runs if r.arm not in ("plain", "wider")
    ]
    killed = checks(root, "deaths:killed_once", 3)
    bad = [*checks(root, "deaths:dies", 1, arm="dies"), *checks(root, "deaths:fails", 1, arm="fails")]
    outcome, shown = do([*killed, *bad, *trained], ledger, cluster.hire, workers=1)

    # A run is tried again when its worker was lost, and reported when that goes on; others are not.
    again = [line for line in shown.splitlines() if "it is tried again" in line]
    assert [line.split(":")[0] for line in again] == ["toy/slow seed 1", *["toy/slow dies seed 0"] * AGAIN]
    failed = {failure.run.arm: failure.message for failure in outcome.failed}
    assert set(failed) == {"dies", "fails"} and outcome.exit_code == 2
    assert failed["dies"].startswith("its process was ended by SIGKILL") and failed["dies"].endswith(", 3 times")
    assert failed["fails"].startswith("KeyError: 'no such thing' (traceback in ")

    # All the others are on record once, to the last bit as this process finds them.
    records, warnings = ledger.read("toy")
    assert not warnings and len(records) == len(killed) + len(trained)
    assert {r.seed: r.metrics["deviation"] for r in select(records, experiment="slow")} == {0: 0.0, 1: 1e-6, 2: 2e-6}
    items = (root / "items/toy.jsonl").read_text().splitlines()
    for run in trained:
        (record,) = select(records, experiment=run.experiment, arm=run.arm, seed=run.seed)
        scores = perform(run, None).scores
        assert (record.metrics, record.data_hash) == (scores.metrics, scores.data_hash)
        assert record.first_losses == scores.first_losses and record.processor and record.threads == 1
        key = ItemKey(run.experiment, run.arm, run.recipe_hash, run.seed)
        assert not scores.items or item_line(key, scores.items) in items
    # What two experiments share was trained once.
    assert (root / "logs/toy/main/repeat/seed0/config.yaml").is_file() and not (root / "logs/toy/second").exists()


def test_ctrl_c_keeps_what_has_ended_and_cancels_the_rest(root, cluster):
    ledger = Ledger(root / "runs")
    runs = checks(root, "toychecks:slow", 2) + checks(root, "deaths:forever", 12)[2:]

    def interrupt():
        while len(ledger.read("toy")[0]) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    outcome, shown = do(runs, ledger, cluster.hire)
    assert outcome.exit_code == 130
    assert "interrupted: 2 of 12 runs are on record; the same command goes on from there" in shown
    assert sorted(r.seed for r in ledger.read("toy")[0]) == [0, 1]
    # The two cores are free again.
    again, _ = do(checks(root, "toychecks:slow", 4)[2:], ledger, cluster.hire)
    assert len(again.finished) == 2


def test_a_node_with_other_code_is_named_before_anything_is_sent(root, cluster, monkeypatch):
    monkeypatch.setattr(node, "state", lambda root: {"the code": "another", "torch": "1.0"})
    with pytest.raises(
        UserError, match=r"1 of 1 nodes cannot do these runs; .*: the code is \w{12}, not another, torch"
    ):
        do(checks(root, "toychecks:slow", 1), Ledger(root / "runs"), cluster.hire)


def test_a_run_that_fits_on_no_node_is_named(root, cluster):
    run = plan(find("toy", root), Ledger(root / "none"), ["main"], seeds=1).runs[0]
    run = dataclasses.replace(run, config=run.config | {"trainer": {"accelerator": "gpu", "devices": 4}})
    with pytest.raises(UserError, match="needs 4 CPU and 4 GPU on one node"):
        do([run], Ledger(root / "runs"), cluster.hire)


@pytest.mark.parametrize(
    ("trainer", "gpus", "needs"),
    [
        ({"accelerator": "cpu"}, 2, (1, 0)),
        ({"accelerator": "cpu", "devices": 2}, 2, (2, 0)),
        ({"accelerator": "auto"}, 0, (1, 0)),
        ({"accelerator": "auto", "devices": "auto"}, 2, (1, 1)),
        ({"accelerator": "gpu", "devices": 8}, 8, (8, 8)),
        ({"accelerator": "gpu", "devices": [0, 1]}, 8, (2, 2)),
        (None, 2, (1, 0)),
    ],
)
def test_what_a_run_asks_of_its_node(root, trainer, gpus, needs):
    there = Cluster(SimpleNamespace(cluster_resources=lambda: {"CPU": 16.0, "GPU": float(gpus)}))
    run = checks(root, "toychecks:slow", 1, config=None if trainer is None else {"trainer": trainer})[0]
    assert there._needs(run) == dict(zip(("num_cpus", "num_gpus"), needs, strict=True))
    assert (there.slots(), there.slots(full=True)) == (16, gpus or 16)


def test_a_node_does_runs_one_after_the_other_in_a_worker_of_its_own(root):
    runs = checks(root, "toychecks:slow", 2)
    said = [list(node.relay(run, root / "logs", node.state(root), root)) for run in runs]
    assert [[kind for kind, _ in one] for one in said] == [["done"], ["done"]]
    assert [one[0][1].scores.metrics for one in said] == [{"deviation": 0.0}, {"deviation": 1e-6}]
    assert len(list(root.glob("worker-*"))) == 1
    # It joined later than the others were asked.
    ((kind, text),) = node.relay(runs[0], root / "logs", {"the code": "another"}, root)
    assert kind == "failed" and text.startswith("this node cannot do it: the code is ")
    node._pool.popitem()[1].__exit__()


def test_what_a_node_lacks_is_told(root, monkeypatch):
    run = plan(find("toy", root), Ledger(root / "none"), ["main"], seeds=1).runs[0]
    sections = data_sections([run, run])
    assert len(sections) == 1
    assert node.faults(node.state(root), root, sections) == ""
    monkeypatch.setattr(node, "unfetched", lambda section: ["mnist5k (12 MB)"])
    assert node.faults(node.state(root), root, sections) == "mnist5k (12 MB) is not fetched there"


def test_changed_code_is_another_state(root):
    before = node.state(root)
    node.state.cache_clear()
    (root / "toychecks.py").write_text("")
    after = node.state(root)
    assert before.pop("the code") != after.pop("the code") and before == after


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "nowhere:\u00b2", "ray://127.0.0.1:10001"])
def test_an_address_that_is_not_there_is_told_in_a_line(address):
    pytest.importorskip("ray", reason="Ray is not installed: the extra [cluster]")
    with pytest.raises(UserError, match=f"^--cluster .*{address}"), connected(address):
        pass


def test_without_ray_a_line_names_the_extra(root, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["rerun", "toy", "--experiment", "slow", "--cluster", "auto", "--dry-run"]
    assert main(words, root) == 2
    assert capsys.readouterr().err == "papers: --cluster needs Ray: pip install 'contrastive-papers[cluster]'\n"
