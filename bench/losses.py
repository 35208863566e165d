"""The losses against their peers: forward and backward over normalized float32 embeddings of width 256.

Peers are imported when a cell is built, so that one that is not installed is a line in the table and not a crash.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bench.measure import Make, Run, Task
from common import losses as ours

WIDTH = 256
TEMPERATURE = 0.07
CLASSES = 100


def pair(size: int) -> tuple[Tensor, Tensor]:
    """Queries and their keys: normalized, and closer to each other than to the rest."""
    generator = torch.Generator().manual_seed(0)
    query = F.normalize(torch.randn(size, WIDTH, generator=generator), dim=1)
    key = F.normalize(query + 0.05 * torch.randn(size, WIDTH, generator=generator), dim=1)
    return query.requires_grad_(), key.requires_grad_()


def forward_and_backward(loss: Callable[[Tensor, Tensor], Tensor]) -> Make:
    """The cell for a loss of queries and keys."""

    def make(size: int) -> Run:
        query, key = pair(size)

        def step() -> None:
            query.grad = key.grad = None
            loss(query, key).backward()

        return step

    return make


def with_scale(loss: Callable[..., Tensor]) -> Make:
    """The cell for a loss of queries, keys and a learned scale, which gets its gradient too."""
    scale = torch.tensor(1 / TEMPERATURE, requires_grad=True)
    return forward_and_backward(lambda query, key: loss(query, key, scale))


def lazily(build: Callable[[], Make]) -> Make:
    """Imports the peer in the process that measures it."""
    return lambda size: build()(size)


# symmetric InfoNCE


def _our_symmetric(query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
    return ours.symmetric_info_nce(query, key, temperature=1 / scale)


def _open_clip() -> Make:
    from open_clip.loss import ClipLoss

    return with_scale(ClipLoss())


def _checkpointed(query: Tensor, key: Tensor, scale: Tensor, rows: int = 512) -> Tensor:
    """Plain PyTorch with the same aim: each direction in blocks of rows, computed again in the backward pass."""
    target = torch.arange(len(query))

    def block(anchors: Tensor, others: Tensor, scale: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(scale * anchors @ others.T, target, reduction="sum")

    total = torch.zeros(())
    for a, b in ((query, key), (key, query)):
        for start in range(0, len(a), rows):
            part = slice(start, start + rows)
            total = total + checkpoint(block, a[part], b, scale, target[part], use_reentrant=False)
    return total / (2 * len(query))


def three_products(size: int) -> float:
    """Scores and two gradients: the products that no exact implementation can do without."""
    return 3 * 2 * size**2 * WIDTH


SYMMETRIC = Task(
    "symmetric_info_nce",
    "Symmetric InfoNCE with a learned scale, D = 256",
    (128, 512, 2048, 4096, 8192, 65536),
    {
        "ours": with_scale(_our_symmetric),
        "open_clip ClipLoss": lazily(_open_clip),
        "torch.utils.checkpoint, blocks of 512": with_scale(_checkpointed),
    },
    largest={"open_clip ClipLoss": 8192, "torch.utils.checkpoint, blocks of 512": 8192},
    floating_point_operations=three_products,
)


# sigmoid


def _with_bias(loss: Callable[..., Tensor]) -> Make:
    bias = torch.tensor(-10.0, requires_grad=True)
    return with_scale(lambda query, key, scale: loss(query, key, scale, bias))


def _our_sigmoid(query: Tensor, key: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return ours.sigmoid_pairwise(query, key, scale=scale, bias=bias)


def _open_clip_sigmoid() -> Make:
    from open_clip.loss import SigLipLoss

    return _with_bias(SigLipLoss())


SIGMOID = Task(
    "sigmoid_pairwise",
    "Sigmoid loss with a learned scale and bias, D = 256",
    (128, 512, 2048, 4096, 8192),
    {"ours": _with_bias(_our_sigmoid), "open_clip SigLipLoss": lazily(_open_clip_sigmoid)},
    floating_point_operations=three_products,
)


# SupCon


def labels(size: int) -> Tensor:
    return torch.arange(size) % CLASSES


def on_both_views(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Make:
    """The cell for a loss of 2N stacked views; the size counts the views. Labels are those of N images."""

    def over(query: Tensor, key: Tensor) -> Tensor:
        return loss(query, key, labels(len(query)))

    make = forward_and_backward(over)
    return lambda size: make(size // 2)


def _our_sup_con(a: Tensor, b: Tensor, label: Tensor) -> Tensor:
    return ours.sup_con(torch.cat([a, b]), label.repeat(2), temperature=TEMPERATURE)


def dense_sup_con(embeddings: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Khosla et al. 2020, eq. 2, in the form the authors released: every step is a whole matrix.

    Scores less each row's maximum, a mask of positives and one without the diagonal, the log-probability of every pair,
    and its mean over the positives.
    """
    scores = embeddings @ embeddings.T / temperature
    scores = scores - scores.max(dim=1, keepdim=True).values.detach()
    others = 1.0 - torch.eye(len(label))
    positives = (label[:, None] == label[None, :]).float() * others
    log_probability = scores - (scores.exp() * others).sum(1, keepdim=True).log()
    return -((positives * log_probability).sum(1) / positives.sum(1)).mean()


def _metric_learning_sup_con() -> Make:
    from pytorch_metric_learning.losses import SupConLoss

    loss = SupConLoss(temperature=TEMPERATURE)
    return on_both_views(lambda a, b, label: loss(torch.cat([a, b]), label.repeat(2)))


SUP_CON = Task(
    "sup_con",
    f"SupCon, {CLASSES} classes, D = 256",
    (128, 512, 2048, 4096, 8192),
    {
        "ours": on_both_views(_our_sup_con),
        "the authors' form (dense)": on_both_views(
            lambda a, b, label: dense_sup_con(torch.cat([a, b]), label.repeat(2), TEMPERATURE)
        ),
        "pytorch-metric-learning SupConLoss": lazily(_metric_learning_sup_con),
    },
    largest={"pytorch-metric-learning SupConLoss": 8192},
    unit="views",
    floating_point_operations=lambda views: 2 * 2 * views**2 * WIDTH,  # scores, and one gradient: both sides are one
    warm=128,
)


# NT-Xent


def _our_nt_xent(query: Tensor, key: Tensor) -> Tensor:
    return ours.nt_xent(query, key, temperature=TEMPERATURE)


def _lightly() -> Make:
    from lightly.loss import NTXentLoss

    return forward_and_backward(NTXentLoss(temperature=TEMPERATURE))


def _metric_learning_nt_xent() -> Make:
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    return forward_and_backward(SelfSupervisedLoss(NTXentLoss(temperature=TEMPERATURE)))


NT_XENT = Task(
    "nt_xent",
    "NT-Xent over 2N views, D = 256",
    (128, 512, 2048, 4096),
    {
        "ours": forward_and_backward(_our_nt_xent),
        "lightly NTXentLoss": lazily(_lightly),
        "pytorch-metric-learning NTXentLoss": lazily(_metric_learning_nt_xent),
    },
    largest={"pytorch-metric-learning NTXentLoss": 128},  # grows with the cube of the batch
    unit="N",
    floating_point_operations=lambda n: 2 * 2 * (2 * n) ** 2 * WIDTH,
)


# InfoNCE, one direction


def _our_info_nce(query: Tensor, key: Tensor) -> Tensor:
    return ours.info_nce(query, key, temperature=TEMPERATURE)


def _ranking() -> Make:
    from sentence_transformers import SentenceTransformer, util
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    # The dot product: like ours it takes normalized embeddings as given. The model is never called.
    model = SentenceTransformer(modules=[torch.nn.Identity()], device="cpu")
    loss = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE, similarity_fct=util.dot_score)
    return forward_and_backward(lambda query, key: loss.compute_loss_from_embeddings([query, key], None))


INFO_NCE = Task(
    "info_nce",
    "InfoNCE, queries to keys, D = 256",
    (128, 512, 2048, 4096, 8192),
    {
        "ours": forward_and_backward(_our_info_nce),
        "sentence-transformers MultipleNegativesRankingLoss": lazily(_ranking),
    },
    floating_point_operations=three_products,
)


# the limit


def _product(size: int) -> Run:
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    return lambda: torch.mm(a, b, out=out)


MATRIX_PRODUCT = Task(
    "matrix_product",
    "torch.mm of square float32 matrices: the limit that the rates above are a share of",
    (2048,),
    {"torch.mm": _product},
    unit="rows",
    floating_point_operations=lambda n: 2 * math.pow(n, 3),
)

TASKS = (MATRIX_PRODUCT, SYMMETRIC, INFO_NCE, SIGMOID, SUP_CON, NT_XENT)
