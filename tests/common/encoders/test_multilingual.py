"""How texts and pairs are framed and hidden, and that an XLM-R's weights compute what they did."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

import data.checkpoints
from common.encoders import multilingual
from common.encoders.multilingual import EverySecondLayer, MultilingualLM
from common.encoders.pretrained import Architecture, PretrainedFiles
from common.errors import UserError
from common.sampling.masking import IGNORED
from data.slot_language import vocabulary

assert data.checkpoints
WORDS = vocabulary()
TEXTS = [" ".join(WORDS[:9]), " ".join(WORDS[9:12]), WORDS[0]]


def test_texts_and_pairs_are_framed_and_read_by_the_names_own_weights() -> None:
    model = MultilingualLM("slot-bert")
    first, end = model.special_id("[CLS]"), model.special_id("[SEP]")
    texts, pairs = model.tokenize(TEXTS[1:]), model.tokenize([(TEXTS[1], TEXTS[2])])
    lines = [row[mask.bool()].tolist() for row, mask in zip(*texts, strict=True)]
    assert all(line[0] == first and line[-1] == end for line in lines)
    assert pairs.ids[0].tolist() == lines[0] + lines[1][1:]
    assert len({*model.special_ids.tolist()}) == 5 and model.mask_id == model.special_id("[MASK]")
    weights = PretrainedFiles("slot-bert").weights()
    assert model.table.equal(weights["embeddings.word_embeddings.weight"])
    assert model.head.bias.equal(weights["cls.predictions.bias"])


def test_a_text_is_the_mean_state_of_a_layer_however_long_its_neighbours() -> None:
    model = MultilingualLM("slot-bert", max_length=5)
    alone, beside = model.embed_layer(TEXTS[:1], 1), model.embed_layer(TEXTS, 1)
    torch.testing.assert_close(alone[0], beside[0])
    states = model.hidden_states(model.tokenize(TEXTS[:1], 32))
    assert states[1].shape[1] == 11  # it is not cut at max_length
    torch.testing.assert_close(alone[0], states[1][0].mean(dim=0))
    assert not torch.allclose(alone[0], states[2][0].mean(dim=0))


def test_a_loss_is_the_mean_over_the_hidden_tokens() -> None:
    model = MultilingualLM("slot-bert", 0.4)
    visible, targets = model.hide(TEXTS, torch.arange(3), 7)
    logits = model.head(model.hidden_states(visible)[-1], model.table).detach()
    each = [
        float(row.logsumexp(0) - row[target])
        for rows, line in zip(logits, targets.tolist(), strict=True)
        for row, target in zip(rows, line, strict=True)
        if target != IGNORED
    ]
    mean, count = model.masked_lm(TEXTS, torch.arange(3), 7)
    assert len(each) > 3 and float(count) == len(each)
    assert float(mean.detach()) == pytest.approx(sum(each) / len(each), rel=1e-5)


def test_weights_of_an_xlm_r_compute_what_they_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["<s>", "<pad>", "</s>", "<unk>", "day", "gece", "<mask>"]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = XLMRobertaConfig(
        vocab_size=7, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=18, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = XLMRobertaForMaskedLM(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tensors = {name: value.clone() for name, value in theirs.state_dict().items() if not name.startswith("lm_head.dec")}
    save_file(tensors, tmp_path / "model.safetensors")
    monkeypatch.setitem(multilingual.SHAPES, "xlm-roberta-base", Architecture(8, 2, 2, 16, 7, 16))
    encoder = MultilingualLM("xlm-roberta-base", max_length=12, weights=str(tmp_path)).eval()
    tokens = encoder.tokenize([("day", "gece gece"), ("new", "day")])
    assert tokens.ids.tolist() == [[0, 4, 2, 5, 5, 2], [0, 3, 2, 4, 2, 1]]
    assert encoder.special_ids.equal(torch.tensor([1, 3, 0, 2, 6])) and encoder.mask_id == 6
    expected = theirs(input_ids=tokens.ids, attention_mask=tokens.mask).logits
    found = encoder.head(encoder.hidden_states(tokens)[-1], encoder.table)
    torch.testing.assert_close(found[tokens.mask.bool()], expected[tokens.mask.bool()], rtol=1e-4, atol=1e-4)
    encoder.hidden_states(tokens)[0].square().sum().backward()
    learnt = encoder.table.grad.abs().sum(dim=1) > 0
    assert learnt.tolist() == [True, False, True, True, True, True, False]  # <s> is, <pad> is not, and none is hidden


def test_every_second_layer_from_the_second_on_is_kept() -> None:
    whole = MultilingualLM("slot-bert").eval()
    half = EverySecondLayer("slot-bert", len(whole.body.encoder.layer) // 2).eval()
    kept = [layer.state_dict() for layer in half.body.encoder.layer]
    for ours, theirs in zip(kept, list(whole.body.encoder.layer)[1::2], strict=True):
        assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.items())
    assert not hasattr(half, "head") and half(["w1 w2"]).shape == (1, half.output_dim)
    with pytest.raises(UserError, match=r"layers is 9; half of slot-bert are"):
        EverySecondLayer("slot-bert", 9)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.masked is 1.0; it must be between 0 and 1"):
        MultilingualLM("slot-bert", 1.0)
    with pytest.raises(UserError, match=r"encoder is 'bert'; it must be one of mini-bert, .*xlm-roberta-base"):
        MultilingualLM("bert")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        MultilingualLM("slot-bert", weights=str(tmp_path))
