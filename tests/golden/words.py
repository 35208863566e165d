"""Our side of the losses over words and their translations, and over pairs of sentences."""

from types import SimpleNamespace

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from common.batches import GradedPairs, ParallelWords
from common.losses import queue_info_nce
from papers.sentence.mirroralign.module import MirrorAlign
from papers.sentence.trans_encoder.module import TransEncoder
from tests.golden.ours import like
from tests.golden.recorded import Case


@like("mirroralign/agreement", "mirroralign/without_agreement", "mirroralign/sharp")
def mirroralign(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    (source, target), negatives = (given["source_ids"], given["target_ids"]), int(case.arguments["negatives"])
    batch, length = source.shape
    # The released agreement is a sum over the batch and a mean over the places of a row; ours is the other way round.
    alpha = case.arguments["alpha"] * batch / length
    rows = dict(source_words=len(x["source"]), target_words=len(x["target"]))
    module = MirrorAlign(**rows, dim=x["source"].shape[1], length=length, negatives=negatives, alpha=alpha).double()
    module.log_loss = lambda loss, **terms: loss
    module.indices = [SimpleNamespace(ids=lambda side, length: side)] * 2
    weights = {"tables.0.weight": x["source"], "tables.1.weight": x["target"]}
    data = ParallelWords(source, target, torch.arange(batch))
    loss = functional_call(Step(module), {f"module.{name}": rows for name, rows in weights.items()}, data)
    # Where a sentence has ended and the one before it has not, the released sum has a negative of logit 0, a constant.
    ended = sum(
        int(((side == 0) & (side.roll(k, 0) > 0)).sum()) for side in (source, target) for k in range(1, negatives + 1)
    )
    return loss + ended * torch.tensor(2.0).double().log() / (batch * (1 + negatives))


class Step(torch.nn.Module):
    def __init__(self, module: MirrorAlign) -> None:
        super().__init__()
        self.module = module

    def forward(self, *batch: Tensor) -> Tensor:
        return self.module.training_step(ParallelWords(*batch), 0)


@like("infoxlm/queue", "infoxlm/queue_cold", "infoxlm/queue_unit")
def infoxlm(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return len(x["query"]) * queue_info_nce(x["query"], x["key"], x["queue"], **case.arguments)


@like("trans_encoder/bi", "trans_encoder/bi_one", "trans_encoder/cross", "trans_encoder/cross_below_zero")
def trans_encoder(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    model = SimpleNamespace(
        cosines=lambda first, second: F.cosine_similarity(x["first"], x["second"]),
        cross=lambda first, second: x["logits"][:, 0],
    )
    y = torch.tensor(case.given["labels"], dtype=torch.float64)
    method = SimpleNamespace(
        rounds=["cross", "bi"], models=[model], cross_batch=None, targets=lambda *_: y, key=lambda purpose: (0,)
    )
    texts = [""] * len(y)
    return TransEncoder.round_loss(
        method, 1 if "logits" in x else 2, GradedPairs(texts, texts, y, torch.arange(len(y)))
    )
