"""The cross-encoder: two texts in one input, one score. And a language model in both of its forms."""

from copy import deepcopy
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.checks import check_choice
from common.encoders.pretrained import PretrainedFiles
from common.encoders.text import Pooling, TextEncoder
from common.encoders.weights import are_read
from common.errors import UserError
from common.evaluation.embed import evaluating

Form = Literal["bi", "cross"]
Reading = Literal["pair", "sides"]


class PairTokens(NamedTuple):
    """Pairs of texts as numbers, padded to the longest pair."""

    ids: Tensor
    """int64, shape (n, t)."""
    mask: Tensor
    """1 at tokens and 0 at padding, int64, shape (n, t)."""
    types: Tensor
    """0 in the first text and 1 in the second, int64, shape (n, t)."""


class CrossEncoder(nn.Module):
    """A BERT that reads two texts as [CLS] a [SEP] b [SEP] and gives them one logit.

    Args:
        encoder: whose transformer, pooling and dropout it takes.
        max_length: tokens at which a pair is cut, the longer text first.
        reading: how the logit is read off. "pair" is that of transformers' `BertForSequenceClassification` with one
            label, whose weights it loads: a linear layer and tanh on the pooled vector of the whole input, dropout, and
            a linear layer. "sides" is for small transformers, which do not find in little time how to compare: a cos(u,
            v) + b, where u and v are the means of the states of either text, each at the positions that it has alone,
            and a and b are learnt.

    Raises:
        UserError: the encoder has not so many positions, or there is no such reading.
    """

    def __init__(self, encoder: TextEncoder, max_length: int = 64, reading: Reading = "pair") -> None:
        super().__init__()
        check_choice("reading", reading, Reading)
        if not 5 <= max_length <= encoder.positions:
            raise UserError(f"max_length is {max_length}; it must be from 5 to {encoder.positions}, what it can read")
        self.encoder, self.max_length, self.reading = encoder, max_length, reading
        if reading == "sides":
            # Over most of [0, 1] the sigmoid of this is near the cosine itself.
            self.line = nn.Parameter(torch.tensor([4.0, -2.0]))
            return
        self.pooler = nn.Linear(encoder.width, encoder.width)
        self.drop = nn.Dropout(encoder.body.config.hidden_dropout_prob)
        self.classifier = nn.Linear(encoder.width, 1)
        for layer in (self.pooler, self.classifier):
            nn.init.normal_(layer.weight, std=encoder.body.config.initializer_range)
            nn.init.zeros_(layer.bias)

    @classmethod
    def named(
        cls,
        name: str,
        pooling: Pooling = "cls",
        dropout: float | None = None,
        max_length: int = 64,
        weights: str | None = None,
        reading: Reading = "pair",
    ) -> "CrossEncoder":
        """A published BERT, or one of this repository, with its pooler and classifier where its file has them.

        Args:
            name, pooling, dropout, weights: as in `TextEncoder.named`.
            max_length, reading: as in the constructor.

        Raises:
            UserError: as `TextEncoder.named`.
        """
        encoder = TextEncoder.named(name, pooling, dropout, weights=weights)
        cross = cls(encoder, max_length, reading)
        if reading == "pair" and are_read(cross.classifier.weight):
            found = PretrainedFiles(name, weights).weights()
            for layer, prefix in ((cross.pooler, "pooler.dense"), (cross.classifier, "classifier")):
                if f"{prefix}.weight" in found and found[f"{prefix}.weight"].shape == layer.weight.shape:
                    layer.load_state_dict({key: found[f"{prefix}.{key}"] for key in ("weight", "bias")})
        return cross

    def tokenize(self, first: list[str], second: list[str], max_length: int | None = None) -> PairTokens:
        """The ids of pairs, cut at `max_length` (by default the encoder's), on its device."""
        tokenizer = self.encoder.tokenizer
        tokenizer.enable_truncation(max_length or self.max_length)
        tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"), pad_token="[PAD]")
        lines = tokenizer.encode_batch(list(zip(first, second, strict=True)))
        columns = ([line.ids for line in lines], [line.attention_mask for line in lines], [x.type_ids for x in lines])
        return PairTokens(*(torch.tensor(column, device=self.encoder.body.device) for column in columns))

    def logits(self, tokens: PairTokens) -> Tensor:
        """Shape (n,)."""
        sides = (tokens.mask * (1 - tokens.types), tokens.types)
        at = torch.arange(tokens.ids.shape[1], device=tokens.ids.device).expand_as(tokens.ids)
        if self.reading == "sides":
            # The second text lacks a [CLS], whose place is left free.
            at = torch.where(tokens.types == 1, at - sides[0].sum(dim=1, keepdim=True) + 1, at)
        states = self.encoder.body(
            input_ids=tokens.ids,
            attention_mask=tokens.mask,
            token_type_ids=tokens.types,
            position_ids=at,
            output_hidden_states=True,
        ).hidden_states
        if self.reading == "sides":
            u, v = ((states[-1] * side[..., None]).sum(dim=1) / side.sum(dim=1, keepdim=True) for side in sides)
            return self.line[0] * F.cosine_similarity(u, v) + self.line[1]
        return self.classifier(self.drop(self.pooler(self.encoder.pool(states, tokens.mask)).tanh()))[:, 0]

    def forward(self, first: list[str], second: list[str]) -> Tensor:
        """The logit of each pair, shape (n,), with gradient and, in training mode, with dropout."""
        return self.logits(self.tokenize(first, second))

    def scores(self, first: list[str], second: list[str], batch_size: int = 64) -> Tensor:
        """The sigmoid of the logit of any number of pairs, without dropout and gradient, in (0, 1), shape (n,).

        Pairs are read as far as the position table goes: `max_length` is for training alone.
        """
        order = sorted(range(len(first)), key=lambda row: len(first[row]) + len(second[row]))
        rows = []
        with evaluating(self):
            for start in range(0, len(order), batch_size):
                at = order[start : start + batch_size]
                sides = ([side[row] for row in at] for side in (first, second))
                rows.append(self.logits(self.tokenize(*sides, self.encoder.positions)).float().sigmoid())
        # Made outside of `evaluating`, whose tensors could not take part in training.
        found = torch.empty(len(first), device=self.encoder.body.device)
        return found.index_copy_(0, torch.tensor(order, device=found.device), torch.cat(rows)) if rows else found


class BiCross(nn.Module):
    """A language model in two forms, each of which may learn from the other's scores of unlabelled pairs.

    Args:
        bi: one vector a text, compared by cosine.
        cross: one score for two texts; None where that form is not there.
        own_teacher: keeps a copy of the bi-encoder, so that a bi-encoder may learn from the one before.
    """

    def __init__(self, bi: TextEncoder, cross: CrossEncoder | None, own_teacher: bool = False) -> None:
        super().__init__()
        self.bi, self.cross = bi, cross
        self.teacher = deepcopy(bi).requires_grad_(False).eval() if own_teacher else None
        # Where each form begins anew: buffers, as they are part of a checkpoint and no part of the model.
        self.register_buffer("bi_start", flat(bi))
        self.register_buffer("cross_start", None if cross is None else flat(cross))

    @classmethod
    def named(
        cls,
        name: str,
        *,
        cross: bool,
        own_teacher: bool,
        pooling: Pooling = "cls",
        dropout: float | None = None,
        max_length: int = 32,
        pair_length: int = 64,
        weights: str | None = None,
        cross_weights: str | None = None,
        reading: Reading = "pair",
    ) -> "BiCross":
        """Both forms of a published BERT, or of one of this repository.

        Args:
            cross: whether there is a cross-encoder.
            own_teacher: as in the constructor.
            name, pooling, dropout, max_length, weights: of the bi-encoder, as in `TextEncoder.named`.
            pair_length, cross_weights, reading: of the cross-encoder, as in `CrossEncoder.named`.

        Raises:
            UserError: as these.
        """
        bi = TextEncoder.named(name, pooling, dropout, max_length, weights=weights)
        pair = CrossEncoder.named(name, pooling, dropout, pair_length, cross_weights, reading) if cross else None
        return cls(bi, pair, own_teacher)

    def train(self, mode: bool = True) -> "BiCross":
        """The teacher stays in eval mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def remember(self) -> None:
        """From now on the bi-encoder begins anew as it is."""
        self.bi_start.copy_(flat(self.bi))

    def restart(self, form: Form, onward: bool = False) -> list[nn.Parameter]:
        """Puts a form where it begins, and returns its parameters; the bi-encoder as it was becomes its own teacher.

        Args:
            onward: the transformer of the cross-encoder goes on from that of the bi-encoder.
        """
        if form == "bi" and self.teacher is not None:
            self.teacher.load_state_dict(self.bi.state_dict())
        model, start = (self.bi, self.bi_start) if form == "bi" else (self.cross, self.cross_start)
        parameters = list(model.parameters())
        with torch.no_grad():
            for parameter, value in zip(parameters, start.split([p.numel() for p in parameters]), strict=True):
                parameter.copy_(value.view_as(parameter))
        if form == "cross" and onward:
            self.cross.encoder.load_state_dict(self.bi.state_dict())
        return parameters

    def cosines(self, first: list[str], second: list[str]) -> Tensor:
        """Of the bi-encoder, with gradient and, in training mode, with dropout, shape (n,)."""
        return F.cosine_similarity(*self.bi([*first, *second]).chunk(2))

    def labels(self, teacher: Form, student: Form, first: list[str], second: list[str]) -> Tensor:
        """What a form says of pairs, without dropout and gradient, shape (n,): cosines or, of "cross", in (0, 1)."""
        if teacher == "cross":
            return self.cross.scores(first, second)
        bi = self.teacher if student == "bi" else self.bi
        return F.cosine_similarity(*bi.embed([*first, *second], batch_size=128).chunk(2))


def flat(module: nn.Module) -> Tensor:
    """All parameters in one vector, a copy without gradient."""
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
