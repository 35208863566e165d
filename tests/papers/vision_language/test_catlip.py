"""CatLIP: its loss against a plain loop, which labels it takes, and the nouns that become labels."""

import math

import pytest
import torch
from torch import Tensor

from common.batches import ImageText
from common.errors import UserError
from data.sources.wordnet import WORDNET
from papers.vision_language.catlip.module import CatLIP
from papers.vision_language.catlip.properties import parts
from papers.vision_language.catlip.vocabulary import Nouns, columns
from tests.processes import on_processes


def loop(logits: Tensor, told: Tensor) -> float:
    """The mean over rows of the sum over labels of log(1 + exp(-z)) or log(1 + exp(z))."""
    total = 0.0
    for row, held in zip(logits.tolist(), told.tolist(), strict=True):
        total += sum(math.log1p(math.exp(-z if yes else z)) for z, yes in zip(row, held, strict=True))
    return total / len(logits)


def given(n: int = 6, labels: int = 5) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(n)
    logits = 3 * torch.randn(n, labels, generator=draw, dtype=torch.float64)
    return logits, torch.rand(n, labels, generator=draw) < 0.3


@pytest.mark.parametrize(("n", "labels"), [(6, 5), (1, 7), (4, 1)])
def test_the_loss_is_that_of_a_loop(n: int, labels: int) -> None:
    logits, told = given(n, labels)
    assert float(CatLIP.classify(logits, told)) == pytest.approx(loop(logits, told), rel=1e-12)


def test_uneven_shards_make_one_mean() -> None:
    logits, told = given()

    def share() -> Tensor:
        rows = slice(0, 2) if torch.distributed.get_rank() == 0 else slice(2, 6)
        return CatLIP.classify(logits[rows], told[rows])

    for found in on_processes(2, share):
        torch.testing.assert_close(found, CatLIP.classify(logits, told))


def test_half_precision_is_summed_in_float32() -> None:
    logits = torch.full((1, 4000), -9.0, dtype=torch.bfloat16)
    found = CatLIP.classify(logits, torch.zeros(1, 4000, dtype=torch.bool))
    assert found.dtype == torch.float32 and float(found) == pytest.approx(4000 * math.log1p(math.exp(-9)), rel=0.01)


def batch(concepts: Tensor | None) -> ImageText:
    pixels = torch.rand(1, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(3)
    return ImageText(pixels, [["a", "b", "c"]], ids, ids, concepts=concepts)


def test_it_learns_the_first_concepts_alone() -> None:
    torch.manual_seed(0)
    module = CatLIP(labels=4, encoder="small_convnet", width=8)
    module.log_loss = lambda loss, **terms: loss
    told = torch.rand(3, 9, generator=torch.Generator().manual_seed(1)) < 0.5
    loss = module.training_step(batch(told), 0)
    torch.testing.assert_close(loss, module.training_step(batch(told[:, :4]), 0))
    assert not torch.equal(loss, module.training_step(batch(~told), 0))
    features = module.embed_image((255 * batch(None).pixels).to(torch.uint8))
    assert features.shape == (3, module.classifier.in_features) == (3, 32)


@pytest.mark.parametrize(("concepts", "there"), [(None, 0), (torch.zeros(3, 2, dtype=torch.bool), 2)])
def test_captions_that_tell_too_little_are_refused(concepts: Tensor | None, there: int) -> None:
    module = CatLIP(labels=4, encoder="small_convnet", width=8)
    with pytest.raises(UserError, match=rf"model\.labels is 4; the data tells {there} concepts"):
        module.training_step(batch(concepts), 0)


def test_the_property_can_fail() -> None:
    assert parts(0) < 1e-12


def test_nouns_are_words_whose_first_meaning_bears_their_name(fetched) -> None:
    fetched(WORDNET)
    nouns = Nouns()
    found = {word: nouns.noun(word) for word in ("dogs", "dog", "women", "run", "red", "the", "auto", "is", "boxes")}
    # "auto" first means what WordNet calls "car", and is left out; verbs and adjectives with such a noun are not.
    expected = {"dogs": "dog", "dog": "dog", "women": "woman", "run": "run", "red": "red", "boxes": "box"}
    assert found == expected | dict.fromkeys(("the", "auto", "is"))
    captions = ["Two DOGS and a dog", "a dog on the box", "boxes", "a woman"]
    assert columns(captions, nouns, 2) == {"boxes": 1, "box": 1, "dog": 0, "dogs": 0}
