"""How good the topics of a topic model are, judged by their words alone."""

import itertools
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from common.errors import UserError
from common.evaluation.means import Mean


def npmi(topics: Sequence[Sequence[str]], documents: Sequence[str]) -> Mean:
    """Mean normalized pointwise mutual information of the word pairs within each topic, in [-1, 1].

    NPMI(v, w) = log( p(v, w) / (p(v) p(w)) ) / -log p(v, w), p the shares of documents that hold the words; -1 for
    words that never meet (Bouma 2009; as topic coherence: Lau et al. 2014). The mean is over pairs, then over topics.

    Args:
        topics: the first words of each topic, at least two.
        documents: the reference texts, lower-cased words between blanks.

    Raises:
        UserError: there is no topic or no document, or a topic has fewer than two words.
    """
    if not documents:
        raise UserError("npmi needs at least one document to count words in")
    if not topics or min(map(len, topics)) < 2:
        raise UserError("npmi needs at least one topic, and two words of each")
    words = sorted({word for topic in topics for word in topic})
    count = CountVectorizer(vocabulary=words, binary=True, lowercase=False, tokenizer=str.split, token_pattern=None)
    held = count.transform(documents).astype(np.float64)
    together = (held.T @ held).toarray() / held.shape[0]
    alone = together.diagonal()
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.log(together / np.outer(alone, alone)) / -np.log(together)
    value[together == 0] = -1.0
    value[together == 1] = 1.0  # both words in every document: the formula is 0 / 0
    column = {word: position for position, word in enumerate(words)}
    means = [np.mean([value[column[v], column[w]] for v, w in itertools.combinations(topic, 2)]) for topic in topics]
    return Mean(means)


def topic_diversity(topics: Sequence[Sequence[str]]) -> float:
    """The share of different words among the first words of all topics, in (0, 1] (Dieng et al. 2020).

    Raises:
        UserError: there is no word.
    """
    words = [word for topic in topics for word in topic]
    if not words:
        raise UserError("topic_diversity needs at least one word")
    return len(set(words)) / len(words)
