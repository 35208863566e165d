"""What must hold exactly of the momentum encoder and of the gradient of its keys."""

import torch
from torch import Tensor

from common.batches import Translations
from papers.sentence.infoxlm.module import InfoXLM

TEXTS = [
    *("the night and the day", "malam dan siang", "gece ve gunduz", "a garden and a river", "taman dan sungai"),
    *("bir bahce ve bir nehir", "they ask of the hour", "mereka bertanya tentang saat", "saati soruyorlar"),
]


class SilentInfoXLM(InfoXLM):
    """Without a trainer there is no log, and random numbers have a key of their own."""

    def log_loss(self, loss: Tensor, **terms: Tensor) -> Tensor:
        self.terms = terms
        return loss

    def key(self, purpose: str, *, per_process: bool = False) -> tuple[int, ...]:
        return 5, len(purpose)


def small(seed: int, **arguments) -> SilentInfoXLM:
    """A model over pieces of some lines, its queue full, in float64."""
    torch.manual_seed(seed)
    shape = dict(vocab_size=90, width=8, layers=2, heads=2, hidden=16, positions=32, max_length=24)
    model = SilentInfoXLM(**shape, **{"queue_size": 6, "masked": 0.4, **arguments}).double()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):  # so that states differ by more than rounding
            torch.nn.init.normal_(layer.weight, std=0.5)
    model.encoder.learn(TEXTS)
    if model.queue is not None:
        # Not by `enqueue`, to which several processes would bring as many keys each.
        model.queue._keys.copy_(torch.nn.functional.normalize(torch.randn(6, 8, dtype=torch.float64), dim=1))
        model.queue._written.fill_(6)
    return model


def batch(rows: int = 8) -> Translations:
    """Lines and lines of another language, not their translations."""
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
