"""PromCSE: what is trained, which candidates the hinge looks at, and what its controls are."""

import pytest
import torch
from torch.nn import functional as F

from common.batches import SentenceTriplets
from common.encoders.prefix import PrefixedBody
from common.errors import UserError
from papers.sentence.promcse import properties
from papers.sentence.promcse.module import PromCSE, SupervisedPromCSE
from papers.sentence.simcse.module import SimCSE, SupervisedSimCSE

SLOT = {"encoder": "slot-bert", "pooling": "mean", "max_length": 24}


def trained(module: torch.nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if p.requires_grad}


def test_prompt_and_head_are_trained_and_nothing_else() -> None:
    assert trained(PromCSE(prefix=4, **SLOT)) == {"encoder.body.table", "head.0.weight", "head.0.bias"}
    assert trained(PromCSE(prefix=4, head=False, **SLOT)) == {"encoder.body.table"}
    assert trained(PromCSE(prefix=0, linear=True, **SLOT)) == {"head.weight", "head.bias"}
    assert PromCSE(prefix=16, **SLOT | {"max_length": 16}).encoder.body.table.numel() == 16 * 2 * 2 * 128


def test_without_a_prompt_the_supervised_method_is_simcse() -> None:
    module = SupervisedPromCSE(prefix=0, weight=0.0, **SLOT)
    assert trained(module) == trained(SupervisedSimCSE(**SLOT))


def test_a_linear_control_starts_as_the_encoder_and_stays_on() -> None:
    module, plain = PromCSE(prefix=0, linear=True, **SLOT), SimCSE(**SLOT)
    texts = ["a b", "c"]
    torch.testing.assert_close(module.embed_text(texts), plain.embed_text(texts))
    module.head.weight.data.mul_(2.0)
    torch.testing.assert_close(module.embed_text(texts), 2 * plain.embed_text(texts))


def test_prompts_act_in_scoring_too() -> None:
    module = PromCSE(prefix=4, **SLOT)
    assert isinstance(module.encoder.body, PrefixedBody)
    before = module.embed_text(["a b"])
    module.encoder.body.table.data.normal_()
    assert (module.embed_text(["a b"]) - before).abs().max() > 0.01


def test_the_head_stays_on_in_scoring_where_there_are_labels() -> None:
    texts = ["a b", "c"]
    for made, stays in ((PromCSE, False), (SupervisedPromCSE, True)):
        module = made(prefix=4, **SLOT)
        below = module.encoder.embed(texts)
        torch.testing.assert_close(module.embed_text(texts), module.head(below) if stays else below)


@pytest.mark.parametrize("hard", [True, False])
def test_the_hinge_is_on_the_most_offending_candidate(hard: bool) -> None:
    torch.manual_seed(0)
    module = SupervisedPromCSE(prefix=4, weight=3.0, margin=0.3, **SLOT)
    rows = torch.randn(3, 5, 8)
    query, key, negative = F.normalize(rows.double(), dim=2)
    total = 0.0
    for i in range(5):
        others = [*(key[j] for j in range(5) if j != i), *(negative if hard else [])]
        total += max(0.0, 0.3 + max(float(query[i] @ other) for other in others) - float(query[i] @ key[i]))
    given = (*rows[:2], rows[2] if hard else None)
    assert module.energy_hinge(*given).item() == pytest.approx(total / 5, rel=1e-5)
    expected = SimCSE.contrast(module, *given) + 3.0 * total / 5
    assert module.contrast(*given).item() == pytest.approx(float(expected), rel=1e-5)


def test_a_step_on_triplets_holds_both_losses() -> None:
    module = SupervisedPromCSE(prefix=4, dropout=0.0, **SLOT).train()
    module.log_loss = lambda loss, **terms: loss
    batch = SentenceTriplets(["a", "b"], ["c", "d"], ["e", "f"], torch.arange(2))
    rows = [module.head(module.encoder(texts)) for texts in batch[:3]]
    torch.testing.assert_close(module.training_step(batch, 0), module.contrast(*rows))


@pytest.mark.parametrize(("check", "bound"), [("frozen", 0.0), ("slope", 1e-12), ("scale", 1e-12)])
def test_the_properties_hold(check: str, bound: float) -> None:
    assert getattr(properties, check)(0) <= bound


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match=r"model.margin -0.1: expected a finite number at least 0"):
        SupervisedPromCSE(margin=-0.1, **SLOT)
    with pytest.raises(UserError, match=r"model.prefix is 40; it must be from 1 to 29"):
        PromCSE(prefix=40, **SLOT)
    with pytest.raises(UserError, match=r"model.max_length is 24; a prefix of 9 leaves 23 positions"):
        PromCSE(prefix=9, **SLOT)
