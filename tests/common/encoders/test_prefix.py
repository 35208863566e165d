"""Prefix prompts: what attention computes with them, what is trained, and where the text stands."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.encoders.prefix import PrefixedBody
from common.encoders.text import TextEncoder
from common.errors import UserError
from tests.common.encoders.test_text import TEXTS, tiny_encoder

LENGTH, LAYERS, HEADS, WIDTH = 3, 2, 4, 16


def prefixed(**arguments) -> TextEncoder:
    encoder = tiny_encoder(**arguments)
    encoder.body = PrefixedBody(encoder.body, LENGTH)
    torch.nn.init.normal_(encoder.body.table)
    return encoder


def by_hand(encoder: TextEncoder, ids: list[int]) -> Tensor:
    """The last states of one text, (t, d), head by head; BERT as it is written in its paper."""
    weights = {name: p.detach().double() for name, p in encoder.body.body.named_parameters()}
    prefix = encoder.body.table.detach().double().view(LENGTH, LAYERS, 2, HEADS, WIDTH // HEADS)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    words, places = (weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position"))
    x = words[ids] + places[LENGTH : LENGTH + len(ids)] + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        query, key, value = (linear(x, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        found = []
        for head, columns in enumerate(torch.arange(WIDTH).chunk(HEADS)):
            keys = torch.cat([prefix[:, layer, 0, head], key[:, columns]])
            values = torch.cat([prefix[:, layer, 1, head], value[:, columns]])
            scores = query[:, columns] @ keys.T / math.sqrt(WIDTH // HEADS)
            found.append(scores.softmax(dim=1) @ values)
        x = norm(
            x + linear(torch.cat(found, dim=1), f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm"
        )
        inner = linear(F.gelu(linear(x, f"{at}.intermediate.dense")), f"{at}.output.dense")
        x = norm(x + inner, f"{at}.output.LayerNorm")
    return x


def test_every_layer_attends_to_its_prefix_whatever_the_padding() -> None:
    encoder = prefixed().eval()
    tokens = encoder.tokenize(TEXTS)
    states = encoder.hidden_states(tokens)[-1]
    assert states.shape == (3, 8, WIDTH)
    for row, ids, mask in zip(states, tokens.ids, tokens.mask.bool(), strict=True):
        torch.testing.assert_close(row[mask].double(), by_hand(encoder, ids[mask].tolist()), atol=1e-5, rtol=1e-4)


def test_the_prefix_alone_is_trained_and_all_of_it() -> None:
    encoder = prefixed()
    before = {name: p.clone() for name, p in encoder.body.body.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    encoder(TEXTS).square().sum().backward()
    assert (encoder.body.table.grad.abs().view(LENGTH, LAYERS, 2, -1).amax(dim=(0, 3)) > 0).all()
    optimizer.step()
    assert [name for name, p in encoder.named_parameters() if p.requires_grad] == ["body.table"]
    assert all(torch.equal(p, before[name]) for name, p in encoder.body.body.named_parameters())


def test_a_prefix_starts_as_the_tables_of_the_body_do() -> None:
    assert float(PrefixedBody(tiny_encoder().body, 20).table.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_dropout_of_body_and_prefix_are_on_in_training_alone() -> None:
    encoder = prefixed(dropout=0.5)
    first, second = encoder.body.prefix(2)[:, 0], encoder.body.prefix(2)[:, 1]
    assert not torch.equal(first, second) and 0.3 < (first == 0).double().mean() < 0.7
    encoder.body.dropout.p = 0.0
    assert not torch.allclose(encoder(TEXTS), encoder(TEXTS))
    encoder.eval()
    torch.testing.assert_close(encoder(TEXTS), encoder(TEXTS), rtol=0, atol=0)


def test_texts_are_as_long_as_the_prefix_leaves_room() -> None:
    encoder = prefixed()
    assert encoder.positions == 24 - LENGTH
    assert encoder.embed([" ".join(["cat"] * 60)]).isfinite().all()


@pytest.mark.parametrize("length", [0, 22])
def test_a_prefix_that_leaves_no_room_is_refused(length: int) -> None:
    with pytest.raises(UserError, match=rf"model.prefix is {length}; it must be from 1 to 21"):
        PrefixedBody(tiny_encoder().body, length)
