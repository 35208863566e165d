"""Llama as an encoder: both ways, over tokens alone, from a folder in transformers' layout."""

import math
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from common.encoders.decoder import BidirectionalLlama
from common.encoders.pooling import Tokens
from common.errors import UserError

SMALL = dict(hidden_size=16, layers=2, heads=4, key_value_heads=2, intermediate_size=24, vocab_size=11, positions=32)


def tokens(*rows: list[int]) -> Tokens:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return Tokens(ids, torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]))


def encoder(**arguments) -> BidirectionalLlama:
    torch.manual_seed(0)
    return BidirectionalLlama(**SMALL, **arguments).eval()


def test_a_token_sees_those_behind_it_and_no_padding() -> None:
    model = encoder()
    first, other = (model.hidden_states(tokens([1, 2, 3, last]))[-1][0, 0] for last in (4, 5))
    assert float((first - other).detach().abs().max()) > 1e-3
    alone, padded = model.vectors(tokens([1, 2, 3]))[0], model.vectors(tokens([1, 2, 3], [4, 5, 6, 7, 8]))[0]
    torch.testing.assert_close(alone, padded, atol=1e-5, rtol=1e-4)
    states = model.hidden_states(tokens([1, 2, 3]))
    assert len(states) == 3 and model.output_dim == 16
    torch.testing.assert_close(alone, states[-1][0].mean(dim=0))


def test_positions_turn_as_in_llama_3_1() -> None:
    # Of two rotations the slow one has a wavelength of 4,443, between 8,192 / 4 and 8,192.
    slow = 500_000**-0.5
    share = (8192 * slow / (2 * math.pi) - 1) / 3
    assert encoder().body.rotary_emb.inv_freq.tolist() == pytest.approx([1, slow * (share + (1 - share) / 8)])


def test_weights_and_tokenizer_come_from_a_folder(tmp_path: Path) -> None:
    model = encoder()
    model.body.save_pretrained(tmp_path)
    words = {"<pad>": 0, "[UNK]": 1, "tea": 2, "milk": 3}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    torch.manual_seed(1)
    found = BidirectionalLlama(**SMALL, folder=str(tmp_path), max_length=2).eval()
    assert found.tokenize(["tea milk tea"]).ids.tolist() == [[2, 3]]
    torch.testing.assert_close(found(["tea milk"]), model.vectors(tokens([2, 3])))
    torch.testing.assert_close(found.embed(["tea milk tea", "tea"])[1:], model.vectors(tokens([2])).detach())


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it must hold tokenizer\.json"):
        encoder()(["tea"])
    with pytest.raises(UserError, match="there is no folder"):
        encoder(folder=str(tmp_path / "none"))


def test_llama_has_its_published_size() -> None:
    with torch.device("meta"):
        model = BidirectionalLlama(folder="anywhere")
    # Llama 3.1 8B without the output layer, 128,256 x 4,096.
    assert sum(p.numel() for p in model.parameters()) == 8_030_261_248 - 128_256 * 4096
