import pytest

from common.experiments.card import Comparison
from common.experiments.metrics import best, better
from harness.recipes import catalog


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("probe_linear/top1", "higher"),
        ("text_to_motion/median_rank/all", "lower"),
        ("uniformity/verses", "lower"),
        ("class_means/frame_distance", "lower"),
        ("class_means/scatter", "lower"),
        ("modality_gap", None),
        ("linear_separability", None),
        ("modality_gap/step100", None),
    ],
)
def test_which_way_is_better(metric: str, expected: str | None) -> None:
    assert better(metric) == expected


def test_cards_say_the_same() -> None:
    for card in catalog.cards():
        for experiment in card.experiments:
            for claim in experiment.claims if isinstance(experiment, Comparison) else ():
                assert better(claim.metric) in (claim.better, None), f"{card.slug}: {claim.metric}"


def test_the_best_of_some_values() -> None:
    assert best("probe_ridge/mae", [3.0, 1.0, 2.0]) == 1.0
    assert best("probe_ridge/top1", [3.0, 1.0, 2.0]) == 3.0
