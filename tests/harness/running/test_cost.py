"""What a full run takes is told by what trains; an untrained network costs its scoring alone."""

from pathlib import Path

from harness.running.cost import cost
from harness.running.run import Run


def run(arm: str, trainer: dict) -> Run:
    model = {"class_path": "papers.classification.cross_entropy.module.CrossEntropy", "init_args": {"optimizer": "sgd"}}
    config = {"model": model, "data": {"class_path": "x.Y", "init_args": {"batch_size": 64}}, "trainer": trainer}
    return Run("p", "e", arm, 0, "full.yaml", "hash", Path(), (), config=config)


def test_untrained_networks_are_no_trainings() -> None:
    untrained, trained = run("a@untrained", {"max_steps": 0}), run("a", {"max_epochs": 7})
    memory, time, _ = cost([untrained, trained, trained])
    assert time.startswith("time: 2 runs of 7 epochs each") and "sgd" in memory and "of 64 samples" in memory
    assert cost([untrained]) == []
