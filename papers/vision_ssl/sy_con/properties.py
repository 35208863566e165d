"""What Sy-CON's two terms are where one of the models has given no negatives yet."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from papers.vision_ssl.sy_con.module import SyCon

TEMPERATURE = 0.2
ROWS, DIM, QUEUE = 12, 8, 20


def unit(draw: torch.Generator, *shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, DIM, generator=draw, dtype=torch.float64), dim=-1)


def cross_entropy(query: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
    """InfoNCE from its whole matrix: the positive in the first column."""
    own = (query * positive).sum(dim=1, keepdim=True)
    logits = torch.cat([own, query @ negatives.T], dim=1) / TEMPERATURE
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64))


def limits(seed: int) -> dict[str, float]:
    """Loss and gradients with one of the queues empty, against MoCo's loss and a distillation from the frozen model.

    With no frozen keys plasticity is MoCo's loss, and with no current ones stability is the contrastive distillation;
    the other term has the negatives that there are.
    """
    draw = torch.Generator().manual_seed(seed)
    query, key, frozen, queue = (unit(draw, 2, rows) for rows in (ROWS, ROWS, ROWS, QUEUE))
    found = {}
    for which in ("frozen_keys", "keys"):
        torch.manual_seed(seed)
        module = SyCon(width=8, projection_dim=DIM, queue_size=QUEUE, temperature=TEMPERATURE).double()
        module.predictor.requires_grad_(True)
        full = module.keys if which == "frozen_keys" else module.frozen_keys
        for held, keys in zip(full, queue, strict=True):
            held.enqueue(keys)
        leaves = [query.clone().requires_grad_(), key.clone().requires_grad_(), frozen.clone().requires_grad_()]
        ours = module.remember(*([*x] for x in (leaves[0], leaves[1].detach(), leaves[2].detach())))
        plain = torch.zeros((), dtype=torch.float64)
        for view, other in ((0, 1), (1, 0)):
            predicted = F.normalize(module.predictor(leaves[0][view]), dim=-1)
            plain = plain + cross_entropy(leaves[0][view], key[other], queue[other]) / 2
            plain = plain + cross_entropy(predicted, frozen[view], queue[other]) / 2
        parameters = [leaves[0], *module.predictor.parameters()]
        gradients = [torch.autograd.grad(x, parameters, retain_graph=True) for x in (ours, plain)]
        pairs = [(ours.detach()[None], plain.detach()[None]), *zip(*gradients, strict=True)]
        # The bias before a normalization has no gradient: what is left of it is rounding.
        largest = max(float(b.abs().max()) for _, b in pairs[1:])
        found[f"no {which}"] = max(float((a - b).abs().max()) for a, b in pairs) / largest
    return found


def constants(seed: int) -> dict[str, float]:
    """The largest gradient that reaches the frozen model, the key encoder or a queue from a step of the second task."""
    torch.manual_seed(seed)
    module = SyCon(width=8, projection_dim=DIM, queue_size=QUEUE).double()
    draw = torch.Generator().manual_seed(seed)
    module.predictor.requires_grad_(True)
    views = torch.rand(2, ROWS, 1, 16, 16, generator=draw, dtype=torch.float64)
    still: list[nn.Module] = [module.teacher, module.frozen, *module.keys, *module.frozen_keys]
    held = [x.requires_grad_() for part in still for x in part.buffers() if x.is_floating_point()]
    for queues in (module.keys, module.frozen_keys):
        for queue in queues:
            queue.enqueue(unit(draw, QUEUE))
    query, key, frozen = (
        [network(view) for view in views] for network in (module.network, module.teacher, module.frozen)
    )
    module.remember(query, key, frozen).backward()
    trained = all(p.grad is not None and bool(p.grad.any()) for p in module.network.parameters())
    reached = max(0.0 if x.grad is None else float(x.grad.abs().max()) for x in held)
    return {"the network is not reached": float(not trained), "what is held is reached": reached}
