import pytest
import torch

from common.errors import UserError
from papers.scaling.gradcache.module import GradCache
from papers.scaling.gradcache.properties import CHUNK, build, gradient, triplets


def test_a_chunk_must_be_known_to_bound_the_negatives() -> None:
    with pytest.raises(UserError, match=r"model\.negatives is 'chunk'; model\.chunk_size must say"):
        GradCache(negatives="chunk")


def test_two_towers_embed_queries_and_passages() -> None:
    apart = build(0, shared=False).eval()
    texts = ["the king", "of all his people"]
    torch.testing.assert_close(apart.embed_query(texts), apart.embed_text(texts))  # both start from the same weights
    apart.query_encoder.body.embeddings.word_embeddings.weight.data += torch.randn(192)
    assert not torch.allclose(apart.embed_query(texts), apart.embed_text(texts))
    assert sum(p.numel() for p in apart.parameters()) == 2 * sum(p.numel() for p in build(0).parameters())


def test_uneven_chunks_weigh_as_much_as_they_hold() -> None:
    """Ten queries in chunks of eight: a mean over queries, not over chunks."""
    module, batch = build(0, dropout=0.0, chunk_size=CHUNK, negatives="chunk"), triplets(10, 0)
    alone = build(0, dropout=0.0).double()
    parts = [
        size * gradient(alone, type(batch)(*(side[start : start + size] for side in batch)))
        for start, size in ((0, 8), (8, 2))
    ]
    torch.testing.assert_close(gradient(module, batch), sum(parts) / 10, atol=1e-12, rtol=0)


@pytest.mark.parametrize("chunk_size", [None, CHUNK])
def test_hard_negatives_and_normalization_change_the_loss(chunk_size: int | None) -> None:
    batch, losses = triplets(2 * CHUNK, 0), set()
    for hard in (True, False):
        for normalize in (True, False):
            module = build(0, dropout=0.0, chunk_size=chunk_size, hard_negatives=hard, normalize=normalize)
            losses.add(round(module.training_step(batch, 0).item(), 4))
    assert len(losses) == 4
