"""RCML: attention and loss by loops over the paper's equations, links, processes, what the arms leave out."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from common.batches import ImageText
from common.distributed import Shards
from common.errors import UserError
from papers.vision_language.rcml import properties
from papers.vision_language.rcml.conditioning import SAME, Attention, told
from papers.vision_language.rcml.module import LINKED, RCML
from tests.processes import assert_steps_agree

TEXTS = ["a small dog", "a large red circle", "a white ring at the top", "a large tent", "a fox", "a large owl, left"]
WORDS = (("the same kind", "alike in kind"), ("the same size", "alike in size"))
# Ids, and for each relation the id of the partner; the last but one is linked twice, the last not at all.
IDS = torch.tensor([5, 2, 8, 0, 7, 3])
NEIGHBOURS = torch.tensor([[2, 7], [5, 0], [-1, -1], [99, -1], [8, -1], [-1, -1]])
Rows = list[list[float]]


def module(**arguments: Any) -> RCML:
    torch.manual_seed(0)
    made = RCML(**{"image_size": 16, "channels": 8, "width": 8} | arguments).double()
    made.log_loss, made.key = lambda loss: loss, lambda purpose: (len(purpose),)
    return made


def batch(own: slice = slice(None)) -> ImageText:
    pixels = torch.rand(1, 6, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    ids = IDS[own]
    return ImageText(pixels[:, own], [TEXTS[own]], ids, ids, neighbours=NEIGHBOURS[own], relations=WORDS)


def vectors(seed: int = 0, n: int = 6) -> Tensor:
    draws = torch.randn(2, 3, n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return torch.nn.functional.normalize(draws, dim=-1)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def times(matrix: Rows, vector: list[float]) -> list[float]:
    return [dot(row, vector) for row in matrix]


def attended(tokens: Rows, about: list[float], matrices: list[Rows], beta: float, own: bool) -> list[float]:
    """Equations 4 to 6 for one item under one relation."""
    query, key, value, output = matrices
    asked = times(query, about)
    logits = [(1 - beta) * dot(asked, times(key, token)) / math.sqrt(len(about)) for token in tokens]
    if own:
        logits[0] += beta
    weights = [math.exp(x) for x in logits]
    values = [times(value, token) for token in tokens]
    pooled = [sum(w * v[d] for w, v in zip(weights, values, strict=True)) / sum(weights) for d in range(len(about))]
    found = times(output, pooled)
    return [x / math.sqrt(dot(found, found)) for x in found]


def loop(
    vectors: list[list[Rows]], pairs: list[tuple[int, int, int]], temperature: float, within: float, decoupled: bool
) -> float:
    """Equations 1 and 2: the mean over pairs (item, item, relation), relation 0 that of an item with itself."""
    n, total = len(vectors[0][0]), 0.0
    for x in (0, 1):
        for y in (0, 1):
            counted = [pair for pair in pairs if x != y or pair[2]]
            terms = 0.0
            for i, j, e in counted:
                unrelated = [k for k in range(n) if k != i and not any({i, k} == {a, b} for a, b, _ in pairs)]
                anchor, others = vectors[x][e][i], vectors[y][e]
                positive = math.exp(dot(anchor, others[j]) / temperature)
                rest = sum(math.exp(dot(anchor, others[k]) / temperature) for k in unrelated)
                terms += math.log((rest if decoupled else rest + positive) / positive)
            total += (within if x == y else 0.5) * terms / max(1, len(counted))
    return total


def both_ways() -> list[tuple[int, int, int]]:
    """The pairs of the batch: each item with itself, and what a column names, one way and the other."""
    found = {(i, i, 0) for i in range(6)}
    for i, row in enumerate(NEIGHBOURS.tolist()):
        for relation, partner in enumerate(row, start=1):
            if partner in IDS.tolist():
                j = IDS.tolist().index(partner)
                found |= {(i, j, relation), (j, i, relation)}
    return sorted(found)


@pytest.mark.parametrize("beta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("side", ["images", "texts"])
def test_attention_is_that_of_the_equations(side: str, beta: float) -> None:
    method, relations = module(beta=beta), ["the same kind", "alike in size"]
    if side == "images":
        states = method.image(batch().pixels)
        found, tokens = method.conditioning.images(states, method.text, relations), states.tolist()
    else:
        read = method.text.tokens(TEXTS)
        states, found = method.text.read(read), method.conditioning.texts(TEXTS, method.text, relations)
        tokens = [rows[: int(m.sum())] for rows, m in zip(states.tolist(), read.mask, strict=True)]
        assert len({len(rows) for rows in tokens}) > 1, "some captions are padded"
    matrices = [getattr(method.conditioning, name).weight.tolist() for name in ("query", "key", "value", "output")]
    about = told(method.text, relations).tolist()
    for e, relation in enumerate(about):
        for i, rows in enumerate(tokens):
            expected = attended(rows, relation, matrices, beta, own=e == 0)
            assert found[e, i].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_links_go_both_ways_under_their_relation() -> None:
    linked = module().links(NEIGHBOURS, IDS, Shards((6,), 0))
    found = {(i, j, e + 1) for e, i, j in linked.nonzero().tolist()}
    assert found == {pair for pair in both_ways() if pair[2]}
    assert not module(relations="none").links(NEIGHBOURS, IDS, Shards((6,), 0)).any()


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize(("temperature", "within"), [(0.1, 0.5), (0.02, 0.0), (1.0, 2.0)])
def test_the_loss_is_that_of_the_equations(temperature: float, within: float, decoupled: bool) -> None:
    method = module(temperature=temperature, within=within, decoupled=decoupled)
    layout = Shards((6,), 0)
    linked = method.links(NEIGHBOURS, IDS, layout)
    expected = loop(vectors().tolist(), both_ways(), temperature, within, decoupled)
    assert float(method.contrast(vectors(), linked, layout)) == pytest.approx(expected, rel=1e-9)
    alone = loop(vectors().tolist(), [(i, i, 0) for i in range(6)], temperature, within, decoupled)
    assert float(method.contrast(vectors(), linked & False, layout)) == pytest.approx(alone, rel=1e-9)
    assert torch.autograd.gradcheck(lambda x: method.contrast(x, linked, layout), vectors().requires_grad_())


def test_an_anchor_without_a_negative_counts_nothing() -> None:
    layout, everybody = Shards((3,), 0), torch.ones(2, 3, 3, dtype=torch.bool)
    given = vectors(n=3).requires_grad_()
    loss = module().contrast(given, everybody, layout)
    assert float(loss.detach()) == 0.0
    assert not torch.autograd.grad(loss, given)[0].any()


@pytest.mark.parametrize("arguments", [{}, {"conditioning": "concatenated"}, {"conditioning": "gated"}], ids=str)
def test_the_step_is_the_loss_of_both_sides_on_any_processes(arguments: dict[str, Any]) -> None:
    method = module(**arguments)
    loss = method.training_step(batch(), 0).detach()
    candidates = [[a, b] for a in WORDS[0] for b in WORDS[1]]
    layout = Shards((6,), 0)
    linked = method.links(NEIGHBOURS, IDS, layout)
    with torch.no_grad():
        seen = [method.vectors(batch().pixels, TEXTS, words) for words in candidates]
        losses = [float(method.contrast(one, linked, layout)) for one in seen]
    assert min(abs(float(loss) - one) for one in losses) < 1e-12 and len({round(x, 9) for x in losses}) == 4
    assert_steps_agree((0, 4, 6), lambda: module(**arguments), batch)


def test_words_are_drawn_at_each_step() -> None:
    method, seen = module(), set()
    for step in range(20):
        method.key = lambda purpose, step=step: (step,)
        method.vectors = lambda pixels, texts, relations: seen.add(tuple(relations)) or vectors()
        method.training_step(batch(), 0)
    assert seen == {(a, b) for a in WORDS[0] for b in WORDS[1]}


def test_what_is_embedded_follows_the_relation() -> None:
    pixels = (batch().pixels * 255).byte()
    for name in ("attention", "gated", "concatenated"):
        method = module(conditioning=name).float()
        image, text = method.embed_related(pixels, TEXTS, [words[0] for words in WORDS])
        assert image.shape == text.shape == (2, 6, 8)
        assert not torch.allclose(text[0], text[1])
        assert torch.allclose(image[0], image[1]) == (name == "concatenated")
        assert method.embed_image(pixels).shape == method.embed_text(TEXTS).shape == (6, 8)


def test_untold_relations_are_one_text_and_differ_from_none() -> None:
    method = module(relations="untold")
    found = method.vectors(batch().pixels, TEXTS, [words[0] for words in WORDS])
    torch.testing.assert_close(found[:, 1], found[:, 2])
    torch.testing.assert_close(found[:, 1], module().vectors(batch().pixels, TEXTS, [LINKED])[:, 1])
    assert not torch.allclose(found[:, 0], found[:, 1])


def test_a_captions_vector_does_not_hang_on_the_others_in_its_batch() -> None:
    for name in ("attention", "gated", "concatenated"):
        method = module(conditioning=name)
        torch.testing.assert_close(method.embed_text(TEXTS)[:1], method.embed_text(TEXTS[:1]))


def test_the_properties() -> None:
    assert properties.scaled(3) < 1e-12 and properties.share(3) < 1e-12
    assert properties.selects(3) > 0.5
    weights = Attention(width=8, beta=0.5).double().weights(*properties.given(0))
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert SAME not in [word for words in WORDS for word in words]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"relations": "shown"}, "model.relations is 'shown'"),
        ({"conditioning": "added"}, "model.conditioning is 'added'"),
        ({"beta": 1.5}, "model.beta"),
        ({"within": -1.0}, "model.within"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)


def test_links_and_words_are_needed() -> None:
    for missing in ({"neighbours": None}, {"relations": ()}):
        with pytest.raises(UserError, match=r"see data\.structure"):
            module().training_step(batch()._replace(**missing), 0)
