"""SimCSE: what is compared with what, and where the head stands."""

import math

import pytest
import torch
from torch.nn import functional as F

from common.batches import Sentences, SentenceTriplets
from papers.sentence.simcse.module import SimCSE, SupervisedSimCSE
from tests.common.encoders.test_narrow import TEXTS, tiny

__all__ = ["tiny"]


def quiet(module: SimCSE) -> SimCSE:
    module.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return module.train()


def loop(queries: torch.Tensor, keys: torch.Tensor, negatives: torch.Tensor, temperature: float) -> float:
    """Equation 5 as it is written."""
    queries, keys, negatives = (F.normalize(x.double(), dim=-1) for x in (queries, keys, negatives))
    losses = []
    for i, query in enumerate(queries):
        others = [math.exp(float(query @ other) / temperature) for other in (*keys, *negatives)]
        losses.append(-math.log(math.exp(float(query @ keys[i]) / temperature) / sum(others)))
    return sum(losses) / len(losses)


def test_without_noise_the_loss_is_that_of_equal_copies() -> None:
    torch.manual_seed(0)
    module = quiet(SimCSE(dropout=0.0, max_length=24))
    batch = Sentences(TEXTS[:6], torch.arange(6))
    rows = module.head(module.encoder(batch.text)).detach()
    assert module.training_step(batch, 0).item() == pytest.approx(loop(rows, rows, rows[:0], 0.05), rel=1e-4)


@pytest.mark.parametrize("hard", [True, False])
def test_every_anchor_meets_every_contradiction(hard: bool) -> None:
    torch.manual_seed(0)
    module = quiet(SupervisedSimCSE(hard_negatives=hard, dropout=0.0, max_length=24))
    batch = SentenceTriplets(TEXTS[:5], TEXTS[5:10], TEXTS[10:15], torch.arange(5))
    anchor, positive, negative = (module.head(module.encoder(texts)).detach() for texts in batch[:3])
    expected = loop(anchor, positive, negative if hard else negative[:0], 0.05)
    assert module.training_step(batch, 0).item() == pytest.approx(expected, rel=1e-4)


def test_independent_masks_part_the_copies_and_one_mask_does_not() -> None:
    batch = Sentences(TEXTS[:6], torch.arange(6))
    losses = {}
    for masks in ("independent", "same"):
        torch.manual_seed(0)
        module = quiet(SimCSE(masks=masks, max_length=24))
        seen = []
        module.contrast = lambda query, key, seen=seen: seen.append(F.cosine_similarity(query, key)) or query.sum()
        module.training_step(batch, 0)
        losses[masks] = float((1 - seen[0]).abs().max())
    assert losses["same"] < 1e-6 < 1e-3 < losses["independent"]


def test_the_head_is_for_training_alone_unless_there_are_labels() -> None:
    unsupervised, supervised = SimCSE(max_length=24), SupervisedSimCSE(max_length=24)
    torch.testing.assert_close(unsupervised.embed_text(TEXTS), unsupervised.encoder.embed(TEXTS))
    torch.testing.assert_close(supervised.embed_text(TEXTS), supervised.head(supervised.encoder.embed(TEXTS)))


def test_without_a_head_the_loss_compares_what_is_embedded() -> None:
    torch.manual_seed(0)
    module = quiet(SimCSE(dropout=0.0, max_length=24, head=False))
    batch = Sentences(TEXTS[:6], torch.arange(6))
    rows = module.embed_text(batch.text)
    assert module.training_step(batch, 0).item() == pytest.approx(loop(rows, rows, rows[:0], 0.05), rel=1e-4)
    assert not [name for name, _ in module.named_parameters() if name.startswith("head")]
