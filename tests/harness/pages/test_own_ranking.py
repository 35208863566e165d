"""The ranking of what was tested on own data."""

from pathlib import Path

import pytest

from common.errors import UserError
from harness.fitting.scores import Score, latest, plain, read_scores, write_score
from harness.pages.own_ranking import own_ranking

FLOOR = {"chance": {"top1": 0.2, "loss": 3.0}, "pixels": {"top1": 0.7}}


def score(paper: str, top1: float, checkpoint: str, **arguments: object) -> Score:
    return Score(paper, paper.title(), dict(arguments), "image_folder", "abc", checkpoint, {"top1": top1, "loss": top1})


def test_seeds_are_one_row_and_other_arguments_another() -> None:
    scores = [
        score("one", 0.5, "a.ckpt", lr=1),
        score("one", 0.7, "b.ckpt", lr=1),
        score("one", 0.9, "c.ckpt", lr=2),
        score("one", 0.1, "untrained", lr=1),
        score("two", 0.65, "d.ckpt"),
    ]
    rows = own_ranking(scores, FLOOR, "top1", "it")
    assert [(row.label, row.slug, row.estimate.n) for row in rows] == [
        ("One (lr 2)", "one", 1),
        ("pixels", None, 1),
        ("Two", "two", 1),
        ("One (lr 1)", "one", 2),
        ("chance", None, 1),
        ("One (lr 1, untrained)", "one", 1),
    ]
    assert rows[3].estimate.mean == pytest.approx(0.6)
    lowest = own_ranking(scores, FLOOR, "loss", "it")
    assert lowest[0].label == "One (lr 1, untrained)" and lowest[-1].label == "chance"
    with pytest.raises(
        UserError, match=r"nothing has the metric 'top2' \(did you mean 'top1'\?\); there are: loss, top1"
    ):
        own_ranking(scores, FLOOR, "top2", "it")


def test_scores_are_found_again_and_the_last_test_of_a_checkpoint_counts(tmp_path: Path) -> None:
    first, second, other = score("one", 0.5, "a.ckpt"), score("one", 0.6, "a.ckpt"), score("one", 0.4, "b.ckpt")
    for number, one in enumerate((first, other, second)):
        write_score(tmp_path / f"one/test/version_{number}", one)
    (tmp_path / "one/test/version_3").mkdir()
    (tmp_path / "one/test/version_3/scores.json").write_text("{")
    found = read_scores(tmp_path)
    assert sorted(found, key=str) == sorted([first, second, other], key=str)
    assert latest([first, other, second]) == [second, other]
    assert plain({"lr": 1.0, "_class_path": "x", "part": object()}) == {"lr": 1.0}
