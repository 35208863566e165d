"""Our side of whole training steps of sentence methods: texts as ids in, all weights drawn, the loss out."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from common.batches import Sentences, SentenceTriplets
from common.encoders.pooling import Tokens
from papers.sentence.diffcse.module import DiffCSE
from papers.sentence.promcse.module import PromCSE, SupervisedPromCSE
from papers.sentence.simcse.module import SimCSE
from tests.golden.ours import like
from tests.golden.recorded import Case


class Step(nn.Module):
    """The training step of a method on texts that are these tokens."""

    def __init__(self, method: SimCSE, tokens: Tokens) -> None:
        super().__init__()
        self.method = method.double().train()
        method.log_loss = lambda loss, **terms: loss
        method.encoder.tokenize = lambda texts: tokens

    def forward(self, batch: Sentences | SentenceTriplets) -> Tensor:
        return self.method.training_step(batch, 0)

    def under(self, weights: dict[str, Tensor], batch: Sentences | SentenceTriplets) -> Tensor:
        """The loss with all parameters of each named part, one after the other, out of one array."""
        named = {}
        for part, flat in weights.items():
            parameters = dict(self.method.get_submodule(part).named_parameters(prefix=f"method.{part}"))
            rows = flat.split([p.numel() for p in parameters.values()])
            named |= {name: row.view_as(p) for (name, p), row in zip(parameters.items(), rows, strict=True)}
        assert named.keys() == dict(self.named_parameters()).keys()
        return functional_call(self, named, (batch,))


@like("diffcse/whole", "diffcse/whole_heavy")
def diffcse(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # Theirs are sentence by sentence, ours copy by copy.
    ids, mask, visible = (given[name].transpose(0, 1).flatten(0, 1) for name in ("ids", "mask", "visible"))
    method = DiffCSE(encoder="slot-bert", dropout=0.0, **case.arguments)
    method.edit = lambda tokens, _: method.generator(tokens, tokens._replace(ids=visible))
    weights = {
        "encoder": x["encoder"],
        "head": x["projector"],
        "discriminator.encoder": x["discriminator"],
        "discriminator.head": x["detector"],
        "generator.encoder": x["generator"],
        "generator.head": x["generator_head"],
    }
    count = len(ids) // 2
    return Step(method, Tokens(ids, mask)).under(weights, Sentences([""] * count, torch.arange(count)))


@like("promcse/whole", "promcse/whole_hinge")
def promcse(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    arguments = case.arguments | {"prefix": int(case.arguments["prefix"]), "max_length": 16, "dropout": 0.0}
    made = SupervisedPromCSE if "weight" in arguments else PromCSE
    tokens, count = Tokens(*(given[name].flatten(0, 1) for name in ("ids", "mask"))), len(given["ids"][0])
    texts, ids = [""] * count, torch.arange(count)
    batch = SentenceTriplets(texts, texts, texts, ids) if "weight" in arguments else Sentences(texts, ids)
    # The prompt is the body's own parameter, and comes before those of what it stands in front of.
    weights = {"encoder": torch.cat([x["prompt"], x["encoder"]]), "head": x["head"]}
    return Step(made(encoder="slot-bert", **arguments), tokens).under(weights, batch)
