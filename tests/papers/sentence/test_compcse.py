"""CompCSE: what is composed where, what the loss compares, and what a crop leaves out."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import SentenceParts
from common.errors import UserError
from data.slot_language import phrases
from papers.sentence.compcse.module import CompCSE, composition
from papers.sentence.compcse.properties import SENTENCES, composed_of_itself, unseen_dimensions

BATCH = SentenceParts(SENTENCES, *map(list, zip(*map(phrases, SENTENCES), strict=True)), torch.arange(len(SENTENCES)))


def silent(**arguments) -> CompCSE:
    torch.manual_seed(0)
    method = CompCSE(**{"encoder": "slot-bert", "pooling": "mean", "dropout": 0.0} | arguments).train()
    method.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return method


def loop(queries: Tensor, keys: Tensor, temperature: float) -> float:
    """The objective as the paper writes it."""
    q, k = (F.normalize(side.detach().double(), dim=1) for side in (queries, keys))
    losses = []
    for at, query in enumerate(q):
        logits = torch.stack([query @ key / temperature for key in k])
        losses.append(float(logits.exp().sum().log() - logits[at]))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("composed", ["below", "above"])
@pytest.mark.parametrize("compared", [None, 43])
def test_the_whole_loss_is_that_of_a_loop(composed: str, compared: int | None) -> None:
    method = silent(composed=composed, compared=compared)
    text, left, right = (method.encoder(texts) for texts in BATCH[:3])
    below = composed == "below"
    keys = method.head((left + right) / 2) if below else (method.head(left) + method.head(right)) / 2
    expected = loop(method.head(text)[:, :compared], keys[:, :compared], 0.05)
    assert method.training_step(BATCH, 0).item() == pytest.approx(expected, rel=1e-4)
    assert method.embed_text(BATCH.text).shape == (len(SENTENCES), 128), "all dimensions are embedded"


def test_compositions() -> None:
    left, right = torch.arange(6.0).view(2, 3), torch.ones(2, 3)
    assert composition([left, right], "mean").tolist() == [[0.5, 1, 1.5], [2, 2.5, 3]]
    # An odd dimension is the right part's, as by their half of an even width.
    assert composition([left, right], "halves").tolist() == [[0, 1, 1], [3, 1, 1]]
    for kind in ("mean", "halves"):
        assert composition([left], kind).equal(left)


def test_a_crop_is_one_of_the_parts_and_either_comes() -> None:
    method = silent(positive="one")
    seen = []
    encode = method.encoder.forward
    method.encoder.forward = lambda texts: seen.append(texts) or encode(texts)
    losses = [method.training_step(BATCH, 0)]
    (texts,) = seen
    n = len(SENTENCES)
    assert texts[:n] == SENTENCES and len(texts) == 2 * n
    sides = [part in side for part, *side in zip(texts[n:], BATCH.left, BATCH.right, strict=True)]
    assert all(sides)
    assert 0 < sum(part == left for part, left in zip(texts[n:], BATCH.left, strict=True)) < n
    rows = method.head(encode(texts))
    assert losses[0].item() == pytest.approx(loop(rows[:n], rows[n:], 0.05), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"compose": "max"}, "model.compose is 'max'; it must be one of mean, halves"),
        ({"composed": "inside"}, "model.composed is 'inside'; it must be one of below, above"),
        ({"positive": "none"}, "model.positive is 'none'; it must be one of both, one"),
        ({"compared": 129}, "model.compared 129: expected"),
        ({"masks": "same"}, "model.masks is 'same'"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        silent(**arguments)


def test_the_properties_hold() -> None:
    assert composed_of_itself(0) < 1e-6 and unseen_dimensions(0) == 0
