"""InfoXLM: which rows serve which task, the terms and their weights, mixed pairs, and what fills the queue."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from common.errors import UserError
from common.sampling.masking import IGNORED
from common.sampling.queue import KeyQueue
from papers.sentence.infoxlm import properties
from papers.sentence.infoxlm.properties import (
    TEXTS,
    SilentInfoXLM,
    batch,
    below_information,
    followed,
    one_sided,
    small,
)
from tests.processes import assert_steps_agree


class Loader(list):
    """One that has an order."""


def cross_entropy(model: SilentInfoXLM, texts: list, ids: torch.Tensor, purpose: str) -> tuple[float, int]:
    """Of the hidden tokens one by one."""
    visible, targets = model.encoder.hide(texts, ids, *model.key(purpose))
    states, table = model.encoder.hidden_states(visible)[-1], model.encoder.table
    total = count = 0
    for row, line in zip(states, targets.tolist(), strict=True):
        for state, target in zip(row, line, strict=True):
            if target != IGNORED:
                logits = model.encoder.head(state, table)
                total, count = total + float(logits.logsumexp(0) - logits[target]), count + 1
    return total, count


def told_apart(model: SilentInfoXLM, data) -> tuple[float, int]:
    left, right, ids = model.positives(data)
    query = model.student(model.encoder.hide(left, ids, *model.key("masks of queries"))[0])
    key = model.teacher(model.encoder.hide(right, ids, *model.key("masks of keys"))[0])
    if model.unit:
        query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
    total = 0.0
    for q, k in zip(query, key, strict=True):
        logits = torch.stack([q @ k, *(q @ old for old in model.queue.keys)]) / model.temperature
        total += float(logits.logsumexp(0) - logits[0])
    return total, len(query)


@pytest.mark.parametrize(
    "options", [{}, {"mixup": False, "weight": 0.3}, {"weighting": "sizes", "unit": False, "temperature": 20.0}]
)
@torch.no_grad()
def test_the_objective_is_that_of_a_loop(options: dict) -> None:
    model, data = small(0, **options), batch()
    pairs = [*zip(data.source, data.target, strict=True)]
    first, second = torch.tensor([0, 4]), torch.tensor([1, 5])
    terms = [
        cross_entropy(model, [data.source[k] for k in first], first, "masks of texts"),
        cross_entropy(model, [pairs[k] for k in second], second, "masks of pairs"),
        told_apart(model, data),
    ]
    weights = [1.0, 1.0, model.weight]
    if model.weighting == "sizes":
        expected = sum(w * total for w, (total, _) in zip(weights, terms, strict=True)) / sum(n for _, n in terms)
    else:
        expected = sum(w * total / n for w, (total, n) in zip(weights, terms, strict=True))
    assert terms[2][1] == (2 if model.mixup else 4)
    before = model.queue.keys
    assert float(model.training_step(data, 0)) == pytest.approx(expected, rel=1e-9)
    assert not model.queue.keys.equal(before)  # the keys are there from the next step on


@torch.no_grad()
def test_without_contrast_its_rows_are_pairs_for_tlm() -> None:
    model, data = small(0, contrast="none"), batch()
    kept = torch.tensor([1, 2, 3, 5, 6, 7])
    pairs = [(data.source[k], data.target[k]) for k in kept]
    expected = [
        cross_entropy(model, data.source[::4], data.ids[::4], "masks of texts"),
        cross_entropy(model, pairs, kept, "masks of pairs"),
    ]
    loss = model.training_step(data, 0)
    assert float(loss) == pytest.approx(sum(total / n for total, n in expected), rel=1e-9)
    assert model.terms.keys() == {"mmlm", "tlm"} and not [n for n, _ in model.named_parameters() if "projection" in n]


def test_positives_are_of_the_third_and_fourth_of_each_four_rows() -> None:
    data = batch()
    left, right, ids = small(0).positives(data)
    assert ids.tolist() == [2, 6]
    for k, sides in zip((2, 6), zip(left, right, strict=True), strict=True):
        assert {*map(frozenset, sides)} == {frozenset(data.source[k : k + 2]), frozenset(data.target[k : k + 2])}
    plain = small(0, mixup=False).positives(data)
    assert plain[0] == [data.source[k] for k in (2, 6, 3, 7)] and plain[1] == [data.target[k] for k in (2, 6, 3, 7)]
    assert plain[2].tolist() == [2, 6, 3, 7]
    wrong = small(0, mixup=False, shuffled=True).positives(data)
    assert wrong[0] == plain[0] and wrong[1] == [*plain[1][1:], plain[1][0]]


def test_the_queue_is_full_of_the_encoders_own_keys_before_the_first_step() -> None:
    model = small(0)
    model.queue = KeyQueue(7, 128).double()
    loader, epochs = Loader([batch()]), []
    loader.order = SimpleNamespace(set_epoch=epochs.append)
    data = SimpleNamespace(train_dataloader=lambda: loader)
    model._trainer = SimpleNamespace(datamodule=data, train_dataloader=[])
    model.on_train_start()
    keys = model.keys(*model.positives(batch())[1:])
    assert len(model.queue) == 7 and epochs == [1]
    distance = torch.cdist(model.queue.keys, keys).amin(dim=1)
    assert float(distance.max()) < 1e-6
    model.on_train_start()  # as after a checkpoint: nothing to fill
    assert int(model.queue._written) == 8


def test_what_is_contrasted_is_a_linear_map_of_small_weights() -> None:
    model = SilentInfoXLM()
    assert model.projection.bias is None
    assert float(model.projection.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert model.teacher.body.projection.weight.equal(model.projection.weight)


def test_a_text_is_embedded_by_the_contrasted_layer() -> None:
    model = SilentInfoXLM(layer=2)
    assert model.embed_text(TEXTS).equal(model.encoder.embed_layer(TEXTS, 2))
    assert not model.embed_text(TEXTS).requires_grad


def test_two_processes_share_the_queue_and_the_sums() -> None:
    assert_steps_agree((0, 4, 12), lambda: small(3), lambda rows: type(batch())(*(part[rows] for part in batch(12))))


@pytest.mark.parametrize("seed", range(2))
def test_keys_follow_and_have_no_gradient(seed: int) -> None:
    assert followed(seed) < 1e-12
    assert one_sided(seed) < 1e-12


def test_a_loss_without_its_positive_below_the_line_is_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(below_information, range(5))) == 0.0

    def decoupled(query, key, queue, *, temperature):
        return ((query @ queue.T).logsumexp(1) - (query * key).sum(1)).mean()

    monkeypatch.setattr(properties, "queue_info_nce", decoupled)
    assert max(map(below_information, range(5))) > 0.1


def test_bad_arguments_are_named() -> None:
    for wrong, says in (
        ({"layer": 3}, "model.layer 3: expected a finite number at least 1 and at most 2"),
        ({"momentum": 1.5}, "model.momentum 1.5"),
        ({"encoder": "bert"}, "encoder is 'bert'; it must be one of"),
        ({"contrast": "all"}, "model.contrast is 'all'; it must be one of queue, batch, none"),
        ({"weighting": "sums"}, "model.weighting is 'sums'; it must be one of means, sizes"),
        ({"pooling": "max"}, "model.pooling is 'max'; it must be one of cls, mean"),
    ):
        with pytest.raises(UserError, match=says):
            SilentInfoXLM(**wrong)
