"""What must hold exactly of the momentum encoder, of the gradient of its keys, and of XLCO as a bound."""

import math
from itertools import product

import torch
from torch import Tensor

from common.batches import Translations
from common.losses import queue_info_nce
from papers.sentence.infoxlm.module import InfoXLM

TEXTS = [
    *("ba vogi be baku bi zelo bo lozo bu poki", "ke kudi ki gava go kaki ka bero gu kufa ko ku ko"),
    *("fi domo fe zozu fo teve ga sove fu badi ge gi", "ba kudi be gava bi kaki bo lozo bu poki"),
    *("fi domo fe baku fo zelo ga sove fu kufa ge gi", "ke vogi ki baku go zelo ka lozo gu badi ko ku ko"),
    *("ba domo be gava bi teve bo bero bu badi", "fi kudi fe baku fo kaki ga lozo fu poki ge gi"),
]


class SilentInfoXLM(InfoXLM):
    """Without a trainer there is no log, and random numbers have a key of their own."""

    def log_loss(self, loss: Tensor, **terms: Tensor) -> Tensor:
        self.terms = terms
        return loss

    def key(self, purpose: str, *, per_process: bool = False) -> tuple[int, ...]:
        return 5, len(purpose)


def small(seed: int, **arguments) -> SilentInfoXLM:
    """A model whose momentum encoder is another, its queue full, in float64."""
    torch.manual_seed(seed)
    model = SilentInfoXLM(**{"queue_size": 6, "masked": 0.4, **arguments}).double()
    if model.queue is not None:
        with torch.no_grad():
            for weight in filter(torch.is_floating_point, model.teacher.body.buffers()):
                weight.add_(0.02 * torch.randn_like(weight))
        # Not by `enqueue`, to which several processes would bring as many keys each.
        model.queue._keys.copy_(torch.nn.functional.normalize(torch.randn(6, 128, dtype=torch.float64), dim=1))
        model.queue._written.fill_(6)
    return model


def batch(rows: int = 8) -> Translations:
    """Sentences and others, not their translations."""
    source, target = ([TEXTS[(k + shift) % len(TEXTS)] for k in range(rows)] for shift in (0, 1))
    language = torch.zeros(rows, dtype=torch.int64)
    return Translations(source, target, language, language + 1, torch.arange(rows))


@torch.no_grad()
def followed(seed: int) -> float:
    """How far a momentum encoder is from m^n of its start and 1 - m^n of an encoder that stays as it is."""
    model = small(seed, momentum=0.9)
    before = {name: value.clone() for name, value in model.teacher.body.named_buffers()}
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter))
    steps = 1 + seed
    for _ in range(steps):
        model.follow()
    student, share = dict(model.student.named_parameters()), 0.9**steps
    wanted = {name: share * before[name] + (1 - share) * value for name, value in student.items()}
    found = dict(model.teacher.body.named_buffers())
    return max(float((found[name] - value).abs().max()) for name, value in wanted.items())


def one_sided(seed: int) -> float:
    """How far XLCO's gradient is from that with keys and queue as constants.

    Raises:
        ArithmeticError: keys by the encoder itself have the same gradient, and the check means nothing.
    """
    gradients = []
    for contrast in ("queue", "constant", "batch"):
        model = small(seed, contrast="batch" if contrast == "batch" else "queue")
        left, right, ids = model.positives(batch())
        weights = [*model.encoder.parameters(), model.projection.weight]
        if contrast == "constant":
            query = model.compared(model.student, left, ids, "masks of queries")
            rows = model.compared(model.teacher, right, ids, "masks of keys")
            logits = torch.cat([(query * rows).sum(1, keepdim=True), query @ model.queue.keys.T], dim=1)
            loss = -(logits / model.temperature).log_softmax(1)[:, 0].mean()
        else:
            loss = model.tell_apart(batch())[0]
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        gradients.append(torch.cat([g.flatten() for g in found if g is not None]))
    ours, constant, both = gradients
    if float((ours - both).abs().max()) < 1e-3:
        raise ArithmeticError("a gradient through the keys makes no difference")
    return float((ours - constant).abs().max())


def below_information(seed: int) -> float:
    """How far log(K + 1) - XLCO goes above the mutual information of a sentence and its translation, for K = 2.

    Expectations are sums over all outcomes of three sentences with three translations, the queue's two keys drawn by
    themselves, for scores at random and for the best ones, log p(x, y) - log p(x) p(y).

    Raises:
        ArithmeticError: the best scores tell less than those at random, or nothing.
    """
    draw = torch.Generator().manual_seed(seed)
    joint = (2 * torch.randn(9, generator=draw, dtype=torch.float64)).softmax(0).view(3, 3)
    key = joint.sum(0)
    ratio = (joint / (joint.sum(1, keepdim=True) * key)).log()
    rows, columns = torch.cartesian_prod(torch.arange(3), torch.arange(3)).unbind(1)
    bounds = []
    for scores in (3 * torch.randn(3, 3, generator=draw, dtype=torch.float64), ratio):
        loss = torch.zeros((), dtype=torch.float64)
        for queue in product(range(3), repeat=2):
            # The inner product with a unit vector is the score of one translation.
            at = torch.eye(3, dtype=torch.float64)
            each = [
                queue_info_nce(scores[x, None], at[y, None], at[list(queue)], temperature=1.0)
                for x, y in zip(rows, columns, strict=True)
            ]
            loss = loss + key[list(queue)].prod() * (joint.flatten() * torch.stack(each)).sum()
        bounds.append(math.log(3) - float(loss))
    if not bounds[1] > max(0.0, bounds[0]):
        raise ArithmeticError(f"the best scores tell {bounds[1]:.3f}, others {bounds[0]:.3f}")
    return max(0.0, max(bounds) - float((joint * ratio).sum()))
