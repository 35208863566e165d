"""Which cross-device losses give the gradient of one process: ours and the peers', under DDP over gloo.

A linear encoder shared by both views is wrapped in DDP. Each of W processes holds a contiguous shard of one batch, and
the gradient after DDP's averaging is compared with that of the same loss on one process. The ratio is the length of its
projection on the right gradient: 1.000 with cosine 1.000 is right, 1 / W is a learning rate W times too small, and a
cosine below 1 is another objective.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing import start_processes
from torch.nn.parallel import DistributedDataParallel

from bench.measure import machine
from bench.report import table, versions
from common import losses as ours
from common.distributed import Exchange

ROWS, INPUTS, WIDTH = 16, 12, 8
SCALE, BIAS = 10.0, -2.0
WORLDS = (2, 4)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From our shard of queries and keys, normalized, and the global ids of its rows."""


@dataclass(frozen=True)
class Contender:
    """A loss as its documentation says to use it on `world` processes."""

    name: str
    build: Callable[[int, int], Loss]
    """From (rank, world) to the loss; imports what it needs."""


def _ours(name: str, exchange: Exchange) -> Contender:
    options: dict = {"exchange": exchange}
    if name == "sigmoid_pairwise":
        options |= {"scale": SCALE, "bias": BIAS}
    else:
        options |= {"temperature": 1 / SCALE}
    function = getattr(ours, name)

    def build(rank: int, world: int) -> Loss:
        if name == "sup_con":
            return lambda a, b, ids: function(torch.cat([a, b]), torch.cat([ids, ids]) % 5, **options)
        return lambda a, b, ids: function(a, b, **options)

    return Contender(f"ours: {name}, {exchange.value}", build)


def _open_clip(rank: int, world: int, **flags: bool) -> Loss:
    from open_clip.loss import ClipLoss

    loss = ClipLoss(rank=rank, world_size=world, **flags)
    return lambda a, b, ids: loss(a, b, SCALE)


def _open_clip_sigmoid(rank: int, world: int, way: str) -> Loss:
    from open_clip.loss import SigLipLoss

    loss = SigLipLoss(rank=rank, world_size=world, dist_impl=way)
    return lambda a, b, ids: loss(a, b, SCALE, BIAS)


def _lightly(rank: int, world: int) -> Loss:
    from lightly.loss import NTXentLoss

    loss = NTXentLoss(temperature=1 / SCALE, gather_distributed=world > 1)
    return lambda a, b, ids: loss(a, b)


def _ranking(rank: int, world: int) -> Loss:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(modules=[nn.Identity()], device="cpu")
    loss = MultipleNegativesRankingLoss(model, scale=SCALE, gather_across_devices=True)
    return lambda a, b, ids: loss.compute_loss_from_embeddings([a, b], None)


def _metric_learning(rank: int, world: int, efficient: bool) -> Loss:
    from pytorch_metric_learning.losses import NTXentLoss
    from pytorch_metric_learning.utils.distributed import DistributedLossWrapper

    loss = DistributedLossWrapper(NTXentLoss(temperature=1 / SCALE), efficient=efficient)
    return lambda a, b, ids: loss(torch.cat([a, b]), torch.cat([ids, ids]))


def _solo(rank: int, world: int) -> Loss:
    function = _from_checkout("solo-learn", "solo.losses.simclr").simclr_loss_func
    return lambda a, b, ids: function(torch.cat([a, b]), torch.cat([ids, ids]), 1 / SCALE)


def _multimodal(rank: int, world: int, kind: str) -> Loss:
    module = _from_checkout("multimodal", "torchmultimodal.modules.losses.contrastive_loss_with_temperature")
    log_scale = torch.tensor(SCALE).log()
    backprop = module.BackpropType[kind]
    return lambda a, b, ids: module.contrastive_loss_with_temperature(a, b, log_scale, backprop_type=backprop).loss


def _disco(rank: int, world: int) -> Loss:
    gather = _from_checkout("DisCo-CLIP", "disco.gather").Gather if world > 1 else lambda x: x

    def loss(a: Tensor, b: Tensor, ids: Tensor) -> Tensor:
        all_a, all_b = gather(a), gather(b)
        own = slice(len(a) * rank, len(a) * (rank + 1))
        by_row = F.cross_entropy(SCALE * all_a[own] @ all_b.T, ids)
        by_column = F.cross_entropy(SCALE * all_b[own] @ all_a.T, ids)
        return by_row + by_column

    return loss


def _from_checkout(folder: str, module: str):
    """A module of a peer that is on no package index: from $BENCH_CHECKOUTS, a folder that holds clones."""
    root = Path(os.environ.get("BENCH_CHECKOUTS", "checkouts")) / folder
    if not root.is_dir():
        raise ImportError(f"no clone of {folder} in $BENCH_CHECKOUTS")
    sys.path.insert(0, str(root))
    return importlib.import_module(module)


CONTENDERS = [
    *(
        _ours(name, exchange)
        for name in ("symmetric_info_nce", "info_nce", "nt_xent", "sup_con", "sigmoid_pairwise")
        for exchange in (Exchange.GATHER, Exchange.RING)
    ),
    Contender("open_clip ClipLoss, defaults", _open_clip),
    Contender("open_clip ClipLoss, local_loss", partial(_open_clip, local_loss=True)),
    Contender("open_clip ClipLoss, gather_with_grad", partial(_open_clip, gather_with_grad=True)),
    Contender(
        "open_clip ClipLoss, local_loss and gather_with_grad",
        partial(_open_clip, local_loss=True, gather_with_grad=True),
    ),
    *(
        Contender(f"open_clip SigLipLoss, {way}", partial(_open_clip_sigmoid, way=way))
        for way in ("bidir", "shift", "reduce", "gather")
    ),
    Contender("lightly NTXentLoss, gather_distributed", _lightly),
    Contender("sentence-transformers MultipleNegativesRankingLoss, gather_across_devices", _ranking),
    Contender("pytorch-metric-learning DistributedLossWrapper", partial(_metric_learning, efficient=False)),
    Contender("pytorch-metric-learning DistributedLossWrapper, efficient", partial(_metric_learning, efficient=True)),
    Contender("solo-learn simclr_loss_func", _solo),
    *(
        Contender(f"torchmultimodal contrastive_loss_with_temperature, {kind}", partial(_multimodal, kind=kind))
        for kind in ("GLOBAL", "LOCAL", "NONE")
    ),
    Contender("DisCo-CLIP Gather, as its README uses it", _disco),
]


def gradient(contender: Contender, rank: int, world: int) -> tuple[Tensor, float]:
    """The encoder's gradient after DDP's averaging, and the loss averaged over processes."""
    torch.manual_seed(0)
    encoder = nn.Linear(INPUTS, WIDTH)
    if world > 1:
        encoder = DistributedDataParallel(encoder)
    x, noise = torch.randn(2, ROWS, INPUTS)
    own = slice(rank * ROWS // world, (rank + 1) * ROWS // world)
    views = encoder(torch.cat([x[own], (x + noise)[own]]))
    a, b = F.normalize(views, dim=1).chunk(2)
    loss = contender.build(rank, world)(a, b, torch.arange(ROWS)[own])
    loss.backward()
    value = loss.detach().clone().reshape(())
    if world > 1:
        dist.all_reduce(value)
    return torch.cat([p.grad.flatten() for p in encoder.parameters()]), float(value) / world


def _process(rank: int, world: int, folder: str) -> None:
    if world > 1:  # one process is plain PyTorch: with a group, some peers cut the gradient even there
        store = f"file://{folder}/store{world}"
        dist.init_process_group("gloo", store, timeout=timedelta(seconds=60), rank=rank, world_size=world)
    results = {}
    for contender in CONTENDERS:
        try:
            results[contender.name] = gradient(contender, rank, world)
        except Exception as error:  # raised on every process alike, so the next contender starts together
            results[contender.name] = f"{type(error).__name__}: {error}".splitlines()[0]
    if rank == 0:
        torch.save(results, f"{folder}/{world}")
    if world > 1:
        dist.destroy_process_group()


def measure() -> dict[str, dict[int, tuple[float, float, float]] | str]:
    """For each contender and world: projection ratio, cosine, and the value logged over one process's."""
    with tempfile.TemporaryDirectory() as folder:
        for world in (1, *WORLDS):
            # Forked, so that the peers are imported once.
            start_processes(_process, (world, folder), nprocs=world, start_method="fork")
        results = {world: torch.load(f"{folder}/{world}") for world in (1, *WORLDS)}
    figures = {}
    for contender in CONTENDERS:
        name = contender.name
        errors = [r[name] for r in results.values() if isinstance(r[name], str)]
        if errors:
            figures[name] = errors[0]
            continue
        right, value = results[1][name]
        figures[name] = {}
        for world in WORLDS:
            grad, logged = results[world][name]
            ratio = float(grad @ right / (right @ right))
            figures[name][world] = (ratio, float(F.cosine_similarity(grad, right, dim=0)), logged / value)
    return figures


def main(folder: Path) -> None:
    """Prints the table and writes it to `folder`."""
    rows = []
    for name, figure in measure().items():
        if isinstance(figure, str):
            rows.append([name, figure, *[""] * (2 * len(WORLDS))])
            continue
        wrong = any(abs(n - 1) > 1e-3 for ratio, cosine, _ in figure.values() for n in (ratio, cosine))
        cells = [f"{ratio:.3f} / {cosine:.3f}" for ratio, cosine, _ in figure.values()]
        cells += [f"{logged:.3f}" for _, _, logged in figure.values()]
        rows.append([name, *cells, "**wrong**" if wrong else "right"])
    head = ["loss"]
    head += [f"W = {w}: ratio / cosine" for w in WORLDS] + [f"W = {w}: value logged" for w in WORLDS] + ["gradient"]
    text = "\n\n".join(
        [
            "# Cross-device gradients",
            " ".join(__doc__.split("\n\n", 1)[1].split()),
            "The value logged is the mean over processes, over that of one process. `make bench` writes this page.",
            versions(machine()),
            table(head, rows),
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gradients.md").write_text(text + "\n")
    print(text)
