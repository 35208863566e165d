"""Pictures and their captions: retrieval both ways, re-ranking by a fusion model, distractors, zero-shot classes.

Everything takes rows that a benchmark has embedded and normalized already. A clip is a picture here: whatever has
captions may stand on the side of the images.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.benchmark import Metrics
from common.checks import check_ids
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.evaluation.means import Mean, average, both
from common.evaluation.retrieval import both_directions, listed, retrieval_metrics
from common.evaluation.scoring import Products, embeddings, finite, products, scoring
from common.protocols import RanksPairs

AT = (1, 5, 10)
"""Cut-offs of the recall."""
HARDEST = 6
"""Up to which mean log2 rank the rank variance of queries is compared with that of others as hard."""

_DIRECTIONS = ("image_to_text", "text_to_image")


def image_text_retrieval(image: Tensor, text: Tensor, image_ids: Tensor, text_ids: Tensor) -> Metrics:
    """Each picture looks for its captions among all captions, each caption for its pictures among all pictures.

    Args:
        image: normalized rows, shape (n, d).
        text: normalized rows, shape (m, d).
        image_ids, text_ids: a caption fits every picture whose id equals its own, shapes (n,) and (m,). Two scenes that
            one caption describes, or the five captions of one picture, have equal ids.

    Returns:
        `image_to_text/recall@k/gallery{m}` and `text_to_image/recall@k/gallery{n}` for k in `AT`, so too `mrr` (mean
        reciprocal rank) and `log2_rank` (mean binary logarithm of the rank, the lower the better); the mean of the two
        directions as `recall@k/gallery{n}`. Means over the queries, the last ones over the pairs.

    Raises:
        UserError: embeddings are not finite, ids do not fit them, or a query has no positive.
    """
    found = both_directions(image, text, image_ids, text_ids, names=("image", "text"), at=AT)
    return _with_means({name: value for name, value in found.items() if "/median_rank/" not in name}, len(image))


def over_languages(found: Sequence[Metrics]) -> Metrics:
    """What retrieval in one language says beside that in another, of the same pairs.

    Args:
        found: what `image_text_retrieval` says of each language, in the same order of pairs, one gallery for all.

    Returns:
        `languages/mrr/gallery{n}` and `languages/log2_rank/gallery{n}`: the means over the languages.
        `languages/log2_rank_variance/gallery{n}` and `languages/rank_variance/gallery{n}`: how much the logarithm of a
        query's rank, and the rank, vary over the languages, the lower the better: the variance (over K, not K - 1),
        averaged over the queries and both directions. The latter is the mean rank variance of Nie et al. 2024 (CCRK),
        which a few bad ranks decide. Both fall where all ranks do, and are read beside the mean reciprocal rank.
        `languages/log2_rank_variance_matched/gallery{n}`: the former of queries that are as hard, see `_as_hard`.
    """
    gallery = next(name for name in found[0] if name.startswith("mrr/")).removeprefix("mrr/")
    metrics: Metrics = {
        f"languages/{metric}/{gallery}": average([one[f"{metric}/{gallery}"] for one in found])
        for metric in ("mrr", "log2_rank")
    }
    sides: dict[str, list[Mean]] = {"log2_rank_variance": [], "rank_variance": [], "log2_rank_variance_matched": []}
    for way in _DIRECTIONS:
        key = next(name for name in found[0] if name.startswith(f"{way}/log2_rank/"))
        ranks = torch.stack([_items(one[key]) for one in found])
        of_log, of_rank = (x.var(dim=0, correction=0) for x in (ranks, ranks.exp2()))
        for values, value in zip(sides.values(), (Mean(of_log), Mean(of_rank), _as_hard(of_log, ranks)), strict=True):
            values.append(value)
    return metrics | {f"languages/{name}/{gallery}": both(*values) for name, values in sides.items()}


def _as_hard(variance: Tensor, ranks: Tensor) -> Mean:
    """The mean variance of queries sorted by their mean log rank, whatever the share of the easy ones.

    The strata are half a doubling wide, from a mean log2 rank above 0 to `HARDEST`, and count alike; one without a
    query is left out. Where all ranks are 1 there is nothing to vary, and those queries take no part. An item is the
    value moved by the query's influence on it.

    Args:
        variance: of each query, (q,).
        ranks: log2, (languages, q).
    """
    mean = ranks.mean(dim=0)
    part = (mean > 0) & (mean <= HARDEST)
    stratum = (2 * mean[part]).ceil().long() - 1
    count = torch.zeros(2 * HARDEST, dtype=mean.dtype).index_add_(0, stratum, torch.ones_like(mean[part]))
    within = torch.zeros_like(count).index_add_(0, stratum, variance[part]) / count.clamp(min=1)
    strata = int((count > 0).sum())
    value = float(within.sum()) / max(strata, 1)
    items = torch.full_like(mean, value)
    items[part] += (variance[part] - within[stratum]) * len(mean) / (strata * count[stratum])
    return Mean(items, value)


def _items(metric: float) -> Tensor:
    assert isinstance(metric, Mean), "a rank of each query is needed"
    return metric.items


def paired_retrieval(image: Tensor, text: Tensor, pairs: Tensor) -> Metrics:
    """`image_text_retrieval` where a caption may be that of several pictures, and a picture have several captions.

    Args:
        image: normalized rows, shape (n, d).
        text: normalized rows, shape (m, d).
        pairs: (picture, caption) that fit, int64 of shape (p, 2), each pair once; all of both sides occur.

    Raises:
        UserError: embeddings are not finite, or a query has no positive.
    """
    pairs = pairs.to(image.device)
    sides = (image, text, pairs), (text, image, pairs.flip(1))
    found = {
        f"{name}/{metric}": value
        for name, (query, key, right) in zip(_DIRECTIONS, sides, strict=True)
        for metric, value in retrieval_metrics(query, key, listed(right), at=AT).items()
        if "median_rank/" not in metric
    }
    return _with_means(found, len(image))


def chance_retrieval(image_ids: Tensor, text_ids: Tensor) -> Metrics:
    """What `image_text_retrieval` returns in expectation if every order of the gallery is as likely."""
    sides = (image_ids, text_ids), (text_ids, image_ids)
    return _chance(*((queries[:, None] == gallery).sum(1).cpu() for queries, gallery in sides))


def paired_chance(pairs: Tensor) -> Metrics:
    """The same of `paired_retrieval`."""
    return _chance(*(pairs[:, side].bincount() for side in (0, 1)))


def _chance(texts: Tensor, images: Tensor) -> Metrics:
    """Of the number of right captions of each picture, (n,), and of right pictures of each caption, (m,)."""
    metrics = {}
    for name, right, size in zip(_DIRECTIONS, (texts, images), (len(images), len(texts)), strict=True):
        number, queries = right.unique(return_counts=True)
        rank = torch.arange(1, size + 1, dtype=torch.float64)
        # Of each rank, how likely the best of p positives stands behind it: no draw without replacement has found one.
        left = size + 1 - rank
        missed = ((left - number[:, None].double()).clamp(min=0) / left).cumprod(dim=1)
        tail = (missed * queries[:, None]).sum(0) / queries.sum()
        chance = torch.cat([1 - tail[:1], tail[:-1] - tail[1:]])
        found = {f"recall@{k}": float(1 - tail[min(k, size) - 1]) for k in AT}
        found |= {"mrr": float((chance / rank).sum()), "log2_rank": float((chance * rank.log2()).sum())}
        metrics |= {f"{name}/{metric}/gallery{size}": value for metric, value in found.items()}
    return _with_means(metrics, len(texts))


def reranked_retrieval(
    module: nn.Module,
    pixels: Tensor,
    texts: list[str],
    image: Tensor,
    text: Tensor,
    image_ids: Tensor,
    text_ids: Tensor,
    shortlist: int = 16,
) -> Metrics:
    """Retrieval as ALBEF is scored: the cosine makes a shortlist of each query, `match_scores` puts it in order.

    Args:
        module: offers `match_scores`.
        pixels, texts: what `image` and `text` are embeddings of.
        image, text, image_ids, text_ids: as in `image_text_retrieval`.
        shortlist: candidates a query; what is not among them counts as not found.

    Returns:
        The recalls of `image_text_retrieval`, with `reranked{shortlist}_` before `recall`. Ties count against the
        method, in the shortlist as in its order.

    Raises:
        UserError: the gallery is smaller than the shortlist, or the shortlist than the largest cut-off; a score is not
            finite, or ids do not fit the embeddings.
    """
    check_ids("image_ids", image_ids, len(image))
    check_ids("text_ids", text_ids, len(text))
    if not max(AT) <= shortlist <= min(len(image), len(text)):
        raise UserError(
            f"shortlist is {shortlist}; it must be from {max(AT)} to the gallery's {min(len(image), len(text))}"
        )
    image, text = embeddings("image", image), embeddings("text", text)
    texts_of = _shortlist(image, text, image_ids, text_ids, shortlist)
    images_of = _shortlist(text, image, text_ids, image_ids, shortlist)
    rows = torch.arange(len(image), device=image.device).repeat_interleave(shortlist)
    columns = torch.arange(len(text), device=text.device).repeat_interleave(shortlist)
    pairs = torch.cat([torch.stack([rows, texts_of.flatten()], 1), torch.stack([images_of.flatten(), columns], 1)])
    matched = match_pairs(module, pixels, texts, pairs).split([len(rows), len(columns)])
    metrics = {}
    rights = text_ids[texts_of] == image_ids[:, None], image_ids[images_of] == text_ids[:, None]
    for name, match, right, size in zip(_DIRECTIONS, matched, rights, (len(text), len(image)), strict=True):
        match = match.view_as(right)
        best = match.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
        above = (match.masked_fill(right, -torch.inf) >= best).sum(1)
        for k in AT:
            found = right.any(1) & (above < k)
            metrics[f"{name}/reranked{shortlist}_recall@{k}/gallery{size}"] = Mean(found)
    return _with_means(metrics, len(image))


@scoring()
def _shortlist(query: Tensor, key: Tensor, query_ids: Tensor, key_ids: Tensor, size: int) -> Tensor:
    """The best keys of each query, (n, size); of keys that tie, the wrong ones."""
    products, parts = Products(query, key), []
    for start in range(0, len(query), 1024):
        scores = products(slice(start, start + 1024))
        right = query_ids[start : start + 1024, None] == key_ids
        # The next float32 below is behind what ties, and before all else.
        scores[right] = scores[right].nextafter(scores.new_tensor(-torch.inf))
        parts.append(scores.topk(size, dim=1).indices)
    return torch.cat(parts)


def match_pairs(module: RanksPairs, pixels: Tensor, texts: list[str], pairs: Tensor, at_once: int = 32) -> Tensor:
    """The match score of each pair, in eval mode; every picture is encoded once.

    Args:
        module: offers `match_scores`.
        pixels: uint8 pixels of shape (n, ...).
        texts: m texts.
        pairs: (row of pixels, row of texts), int64 of shape (p, 2); repeated pairs are scored once.
        at_once: pictures in one call.

    Returns:
        float32 of shape (p,), on the device of `pairs`.

    Raises:
        UserError: a score is NaN or infinite.
    """
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else pixels.device
    distinct, back = pairs.cpu().unique(dim=0, return_inverse=True)  # sorted by picture
    scores = torch.empty(len(distinct))
    with evaluating(module):
        for start in range(0, len(pixels), at_once):
            rows = slice(*torch.searchsorted(distinct[:, 0].contiguous(), torch.tensor([start, start + at_once])))
            image, text = distinct[rows].unbind(1)
            if len(image) == 0:
                continue
            used, text = text.unique(return_inverse=True)
            part = pixels[start : start + at_once].to(device)
            local = torch.stack([image - start, text], 1).to(device)
            scores[rows] = module.match_scores(part, [texts[i] for i in used.tolist()], local).float().cpu()
    return finite("match scores", scores)[back].to(pairs.device)


def distractor_accuracy(own: Tensor, distractors: Tensor) -> Mean:
    """How often the right partner scores higher than every distractor; a tie is a miss.

    Args:
        own: score of each query with its partner, shape (n,).
        distractors: its scores with what differs from the partner in one attribute, shape (n, k); -inf is none.

    Returns:
        The mean over the queries.

    Raises:
        UserError: a score is NaN or infinite, or the shapes do not fit.
    """
    if own.ndim != 1 or distractors.ndim != 2 or not 0 < len(own) == len(distractors):
        raise UserError(
            f"partners {tuple(own.shape)} and distractors {tuple(distractors.shape)}: expected (n,), (n, k)"
        )
    finite("scores of partners", own)
    finite("scores of distractors", distractors.masked_fill(distractors == -torch.inf, 0.0))
    return Mean((own[:, None] > distractors).all(1))


class Variants(NamedTuple):
    """Copies of the first n pictures and captions with one attribute changed; they stand behind the n in both lists."""

    count: int
    """n, the number of originals."""
    original: Tensor
    """Which of them each variant is a copy of, int64 of shape (v,)."""
    aspect: Tensor
    """What was changed, int64 of shape (v,); at most one variant an original and aspect."""


def variant_accuracy(score: Callable[[Tensor], Tensor], variants: Variants, names: Sequence[str]) -> Metrics:
    """Whether originals go with originals rather than with variants, from which a bag of words hardly tells them.

    Args:
        score: maps pairs (row of the pictures, row of the captions), int64 of shape (p, 2), to how well they fit, (p,).
        variants: the layout of those rows.
        names: of the aspects.

    Returns:
        `text`: a picture prefers its caption to all variants of it. `image`: a caption prefers its picture. For each
        aspect that occurs, under its name: the mean of both with the variants of that aspect alone.
    """
    count, original, aspect = variants
    copies = torch.arange(count, count + len(original), device=original.device)
    own = torch.arange(count, device=original.device)
    pairs = torch.cat([torch.stack(pair, 1) for pair in ((own, own), (original, copies), (copies, original))])
    right, text, image = score(pairs).split([count, len(copies), len(copies)])
    tables = right.new_full((2, count, len(names)), -torch.inf)
    tables[0, original, aspect], tables[1, original, aspect] = text, image
    metrics = {name: distractor_accuracy(right, table) for name, table in zip(("text", "image"), tables, strict=True)}
    for number, name in enumerate(names):
        rows = original[aspect == number]
        if len(rows):
            metrics[name] = both(*(distractor_accuracy(right[rows], table[rows, number, None]) for table in tables))
    return metrics


@scoring()
def class_scores(image: Tensor, prompts: Tensor, classes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What each picture scores with the nearest prompt of each class.

    A class of many looks (a circle in eight colours) lies in several places, of which the mean would be none.

    Args:
        image: normalized rows, shape (n, d).
        prompts: normalized rows, any number a class, shape (p, d).
        classes: class of each prompt, int64 of shape (p,).
        labels: class of each picture, int64 of shape (n,); each has a prompt.

    Returns:
        The scores, a column for each class in ascending order, shape (n, k), and the right column, int64 of shape (n,).

    Raises:
        UserError: embeddings are not finite, or classes and labels do not fit them.
    """
    image, prompts = embeddings("image", image), embeddings("prompt", prompts)
    check_ids("classes", classes, len(prompts))
    check_ids("labels", labels, len(image))
    names, numbers = classes.unique(return_inverse=True)
    own = torch.searchsorted(names, labels).clamp(max=len(names) - 1)
    if (names[own] != labels).any():
        raise UserError(f"no prompt is of class {int(labels[names[own] != labels][0])}, which a picture has")
    scores = image.new_full((len(image), len(names)), -torch.inf)
    return scores.scatter_reduce_(1, numbers.expand(len(image), -1), products(image, prompts), "amax"), own


@scoring()
def zero_shot_accuracy(image: Tensor, prompts: Tensor, classes: Tensor, labels: Tensor) -> Mean:
    """Top-1 accuracy of the class of the nearest prompt; a tie between classes is a miss.

    Args:
        image, prompts, classes, labels: as in `class_scores`, which also says what is raised.

    Returns:
        The mean over the pictures.
    """
    scores, own = class_scores(image, prompts, classes, labels)
    return Mean((scores >= scores.gather(1, own[:, None])).sum(1) == 1)


def _with_means(metrics: Metrics, images: int) -> Metrics:
    """Adds the mean of the two directions, under the name of the pictures' gallery."""
    means = {}
    for name, value in metrics.items():
        direction, metric, _ = name.split("/")
        if direction == "image_to_text":
            means[f"{metric}/gallery{images}"] = both(value, metrics[f"text_to_image/{metric}/gallery{images}"])
    return metrics | means
