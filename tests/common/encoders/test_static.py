"""Word vectors by counting."""

import math
from collections import Counter

import torch
from scipy.sparse import csr_array

from common.encoders.static import StaticVectors, ppmi_svd, ppmi_svd_of_counts

TEXTS = ["a b c", "a b", "c d d a", "e f", "b e f", "f"]
WORDS = ["a", "b", "c", "d", "e", "f", "g"]


def ppmi() -> torch.Tensor:
    """As it is written, from all pairs of places with two different words."""
    together = Counter()
    for text in TEXTS:
        words = text.split()
        together.update((x, y) for i, x in enumerate(words) for j, y in enumerate(words) if i != j and x != y)
    total = sum(together.values())
    of_word = {x: sum(together[x, y] for y in WORDS) for x in WORDS}
    rows = [
        [max(0.0, math.log(together[x, y] * total / of_word[x] / of_word[y])) if together[x, y] else 0.0 for y in WORDS]
        for x in WORDS
    ]
    return torch.tensor(rows, dtype=torch.double)


def test_whole_vectors_hold_the_whole_matrix() -> None:
    vectors = ppmi_svd(TEXTS, WORDS, len(WORDS)).double()
    # U S U' squared is the matrix squared, whatever the signs of its eigenvalues.
    torch.testing.assert_close((vectors @ vectors.T).matrix_power(2), ppmi().matrix_power(2), atol=1e-4, rtol=1e-4)
    assert not vectors[WORDS.index("g")].abs().max() > 1e-6, "a word that no text has"
    torch.testing.assert_close(ppmi_svd(TEXTS, WORDS, 2), vectors[:, :2].float())
    for column in vectors[:, :3].T:
        assert next(x for x in column if abs(x) > 0.999 * column.abs().max()) > 0, (
            "of the largest the first is positive"
        )


def test_rare_words_weigh_more_and_the_mean_is_taken_off() -> None:
    plain, weighted = StaticVectors(TEXTS, 3), StaticVectors(TEXTS, 3, weighted=True)
    parts = plain.embed_text(["d", "a", "b"])
    torch.testing.assert_close(plain.embed_text(["a d b"])[0], parts.mean(dim=0))
    assert plain.embed_text(["unknown"]).abs().max() == 0
    assert weighted.embed_text(TEXTS).mean(dim=0).abs().max() < 1e-6
    torch.testing.assert_close(weighted.embed_text(["unknown"]), -weighted.mean[None])
    # Of 15 words, "a" is 3 and "d" is 2.
    for word, count in {"a": 3, "d": 2}.items():
        expected = plain.embed_text([word]) * 0.001 / (0.001 + count / 15)
        torch.testing.assert_close(weighted.embed_text([word]) + weighted.mean, expected)


def test_counts_may_be_given() -> None:
    """Of words beside other words than those that are asked for; what is never counted is 0."""
    counts = torch.tensor([[4.0, 0, 1, 2], [0, 5, 1, 0], [0, 0, 0, 0], [3, 1, 0, 6], [2, 2, 2, 2]], dtype=torch.double)
    share = counts / counts.sum()
    ppmi = (share / (share.sum(1, keepdim=True) * share.sum(0)).clamp(min=1e-300)).clamp(min=1).log()
    left, sizes, _ = torch.linalg.svd(ppmi)
    expected = left[:, :3] * sizes[:3].sqrt()
    found = ppmi_svd_of_counts(csr_array(counts.numpy()), 3).double()
    torch.testing.assert_close(found @ found.T, expected @ expected.T, atol=1e-6, rtol=1e-5)
    assert (found.gather(0, found.abs().argmax(dim=0, keepdim=True)) > 0).all() and not found[2].any()
