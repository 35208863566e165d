"""Makes a small student out of a larger encoder: fewer pieces in the vocabulary, fewer dimensions, fewer layers."""

import json
from collections import Counter
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from common.encoders.text import TextEncoder
from common.errors import UserError


def cut_vocabulary(tokenizer: str, texts: Iterable[str], size: int) -> str:
    """Keeps the commonest pieces of a WordPiece vocabulary and numbers them anew in the old order.

    The special tokens and the single ASCII characters stay whatever their number: a word whose piece went is then spelt
    with shorter ones and does not turn into [UNK].

    Args:
        tokenizer: content of a `tokenizer.json`.
        texts: what to count the pieces on.
        size: pieces to keep.

    Returns:
        The content of the new `tokenizer.json`.

    Raises:
        UserError: `size` does not even hold the pieces that always stay, or `texts` has fewer pieces.
    """
    whole = Tokenizer.from_str(tokenizer)
    whole.no_truncation()
    whole.no_padding()
    counts: Counter[int] = Counter()
    for text in texts:
        counts.update(whole.encode(text, add_special_tokens=False).ids)
    content = json.loads(tokenizer)
    old = content["model"]["vocab"]
    always = {old[token["content"]] for token in content["added_tokens"]}
    always |= {at for piece, at in old.items() if piece.isascii() and len(piece.removeprefix("##")) == 1}
    ranked = sorted(counts.keys() - always, key=lambda at: (-counts[at], at))
    if not len(always) <= size <= len(always) + len(ranked):
        raise UserError(f"size is {size}; it must be from {len(always)} to {len(always) + len(ranked)} pieces")
    kept = sorted(always | set(ranked[: size - len(always)]))
    new = {at: index for index, at in enumerate(kept)}
    content["model"]["vocab"] = {piece: new[at] for piece, at in old.items() if at in new}
    content["truncation"] = content["padding"] = None
    for token in content["added_tokens"]:
        token["id"] = new[token["id"]]
    for token in content["post_processor"]["special_tokens"].values():
        token["ids"] = [new[at] for at in token["ids"]]
    return json.dumps(content, ensure_ascii=False)


def lower_layers(name: str, student: TextEncoder) -> TextEncoder:
    """As many of the lowest layers of a named encoder as the student has, frozen, with the student's vocabulary."""
    teacher = TextEncoder.named(name, layers=student.layers, max_length=student.max_length, dropout=0.0)
    old = teacher.tokenizer.get_vocab()
    pieces = sorted(student.tokenizer.get_vocab().items(), key=lambda item: item[1])
    embeddings = teacher.body.embeddings
    rows = embeddings.word_embeddings.weight[[old[piece] for piece, _ in pieces]]
    embeddings.word_embeddings = nn.Embedding.from_pretrained(rows)
    return teacher.requires_grad_(False).eval()


@torch.no_grad()
def narrow(teacher: TextEncoder, student: TextEncoder, lifts: nn.ModuleList, texts: list[str]) -> None:
    """Starts `student` as a cut through `teacher`, and `lifts`, its maps to the teacher's width, as the way back.

    States are projected on the principal axes of the teacher's states on `texts`. Those attention heads and hidden
    units of the feed-forward layers stay whose outputs are largest there. A norm cannot be projected, since its gain
    acts along the old axes: it becomes one constant, of the size of the projected states. Training mends the rest.
    """
    tokens = student.tokenize(texts)
    real = tokens.mask.bool()
    states = [state[real] for state in teacher.hidden_states(tokens)]
    axes = principal_axes(torch.cat(states), student.width)
    old, new = teacher.body, student.body
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        table = getattr(new.embeddings, name).weight
        # The gain of the norm that follows is still exact here, one factor a dimension of the table.
        table.copy_((getattr(old.embeddings, name).weight * old.embeddings.LayerNorm.weight @ axes)[: len(table)])
    _narrow_norm(old.embeddings.LayerNorm, new.embeddings.LayerNorm, axes, states[0])
    for index, (layer, cut) in enumerate(zip(old.encoder.layer, new.encoder.layer, strict=True)):
        _narrow_attention(layer.attention, cut.attention, axes, states[index])
        hidden = F.gelu(layer.intermediate.dense(states[index])).square().mean(dim=0)
        strength = hidden * layer.output.dense.weight.square().sum(dim=0)
        units = strength.topk(cut.intermediate.dense.out_features).indices.sort().values
        first = layer.intermediate.dense
        _copy(cut.intermediate.dense, first.weight[units] @ axes, first.bias[units])
        _copy(cut.output.dense, axes.T @ layer.output.dense.weight[:, units], axes.T @ layer.output.dense.bias)
        for was, now in ((layer.attention.output, cut.attention.output), (layer.output, cut.output)):
            _narrow_norm(was.LayerNorm, now.LayerNorm, axes, states[index + 1])
    for lift in lifts:
        _copy(lift, axes, torch.zeros_like(lift.bias))


def principal_axes(states: Tensor, width: int) -> Tensor:
    """Orthonormal columns, shape (d, width), that span where `states` of shape (n, d) are largest.

    They are turned at random within that space. A norm divides by the spread over one token's coordinates, and
    principal coordinates by themselves are of very unequal size.
    """
    _, vectors = torch.linalg.eigh((states.T @ states).double())
    turn = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0)))[0]
    return vectors.flip(1)[:, :width].to(states.dtype) @ turn


def _narrow_attention(old: nn.Module, new: nn.Module, axes: Tensor, state: Tensor) -> None:
    size = old.self.attention_head_size
    value = old.self.value(state).unflatten(1, (-1, size)).unbind(1)
    output = old.output.dense.weight.unflatten(1, (-1, size)).unbind(1)
    strength = torch.stack([(v @ o.T).square().mean() for v, o in zip(value, output, strict=True)])
    heads = strength.topk(new.self.num_attention_heads).indices.sort().values
    kept = (heads[:, None] * size + torch.arange(size)).flatten()
    for name in ("query", "key", "value"):
        was = getattr(old.self, name)
        _copy(getattr(new.self, name), was.weight[kept] @ axes, was.bias[kept])
    _copy(new.output.dense, axes.T @ old.output.dense.weight[:, kept], axes.T @ old.output.dense.bias)


def _narrow_norm(old: nn.LayerNorm, new: nn.LayerNorm, axes: Tensor, state: Tensor) -> None:
    new.bias.copy_(axes.T @ old.bias)
    new.weight.fill_(float(((state - old.bias) @ axes).std()))


def _copy(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
