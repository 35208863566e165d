from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertConfig, BertForMaskedLM, DistilBertConfig, DistilBertForMaskedLM

from common.encoders import pretrained
from common.encoders.pretrained import Architecture, PretrainedFiles
from common.encoders.text import FrozenTokenStates, MaskedLMHead, TextEncoder
from common.errors import UserError
from common.training.rng import capture, replay
from tests.common.encoders.tiny import tiny_tokenizer

TEXTS = ["the cat sat", "a dog", "the dog sat on the mat and the cat sat on the dog"]
TINY = Architecture(hidden_size=16, layers=2, heads=4, intermediate_size=32, vocab_size=13, positions=24)


def tiny_encoder(**arguments) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(**TINY._asdict() | {"max_length": 8} | arguments, tokenizer=tiny_tokenizer)


def only_attention_dropout(encoder: TextEncoder, p: float) -> None:
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = p if name.endswith("attention.self.dropout") else 0.0


@pytest.mark.parametrize("pooling", ["cls", "mean", "first_last"])
def test_neighbours_in_the_batch_and_padding_change_nothing(pooling: str) -> None:
    encoder = tiny_encoder(pooling=pooling).eval()
    together = encoder(TEXTS)
    assert together.shape == (3, 16)
    for row, text in zip(together, TEXTS, strict=True):
        torch.testing.assert_close(row, encoder([text])[0])
    assert not torch.allclose(together[0], together[1])


def test_pooling_is_what_it_says() -> None:
    encoder = tiny_encoder().eval()
    tokens = encoder.tokenize(TEXTS[:2])
    states = encoder.hidden_states(tokens)
    assert len(states) == 3 and tokens.ids.tolist()[1] == [2, 6, 8, 3, 0]
    torch.testing.assert_close(encoder.pool(states, tokens.mask)[1], states[-1][1, 0])
    encoder.pooling = "mean"
    torch.testing.assert_close(encoder.pool(states, tokens.mask)[1], states[-1][1, :4].mean(0))
    encoder.pooling = "first_last"
    torch.testing.assert_close(encoder.pool(states, tokens.mask)[1], (states[1][1, :4] + states[2][1, :4]).mean(0) / 2)


def test_dropout_is_on_in_training_alone() -> None:
    encoder = tiny_encoder()
    assert not torch.allclose(encoder(TEXTS), encoder(TEXTS))
    # One pass over a sentence and itself gives each copy a mask of its own.
    first, second = encoder([TEXTS[0], TEXTS[0]])
    assert not torch.allclose(first, second)
    encoder.eval()
    torch.testing.assert_close(encoder(TEXTS), encoder(TEXTS), rtol=0, atol=0)


def test_dropout_of_the_attention_alone_makes_two_passes_differ() -> None:
    encoder = tiny_encoder(dropout=0.1)
    only_attention_dropout(encoder, 0.1)
    assert not torch.allclose(encoder(TEXTS), encoder(TEXTS))
    only_attention_dropout(encoder, 0.0)
    torch.testing.assert_close(encoder(TEXTS), encoder(TEXTS), rtol=0, atol=0)


def test_the_argument_sets_the_dropout_of_states_and_attention() -> None:
    rates = {m.p for m in tiny_encoder(dropout=0.25).modules() if isinstance(m, nn.Dropout)}
    assert rates == {0.25}
    encoder = tiny_encoder(dropout=0.0)
    torch.testing.assert_close(encoder(TEXTS), encoder(TEXTS), rtol=0, atol=0)


def test_replayed_random_state_gives_both_copies_one_mask() -> None:
    encoder = tiny_encoder()
    state = capture(torch.device("cpu"))
    first = encoder(TEXTS)
    with replay(state):
        second = encoder(TEXTS)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.allclose(first, encoder(TEXTS))


def test_embed_reads_on_where_training_cuts() -> None:
    encoder = tiny_encoder().eval()
    assert encoder.tokenize(TEXTS).ids.shape == (3, 8)
    cut, whole = encoder([TEXTS[2]]), encoder.embed([TEXTS[2]])
    assert not torch.allclose(cut, whole)
    encoder.max_length = 24
    torch.testing.assert_close(encoder([TEXTS[2]]), whole)


def test_embed_keeps_order_and_mode_and_draws_nothing() -> None:
    encoder = tiny_encoder()
    encoder.body.encoder.eval()
    rows = encoder.embed(TEXTS, batch_size=2)
    assert encoder.training and not encoder.body.encoder.training
    assert not rows.requires_grad
    for row, text in zip(rows, TEXTS, strict=True):
        torch.testing.assert_close(row, encoder.embed([text])[0])
    assert encoder.embed([]).shape == (0, 16)
    # The rows can be trained on: no inference tensors leave.
    nn.Linear(16, 2)(rows).sum().backward()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"heads": 3}, "heads is 3; it must divide hidden_size, which is 16"),
        ({"max_length": 25}, "max_length is 25; it must be from 3 to 24"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"pooling": "max"}, "pooling is 'max'"),
    ],
)
def test_bad_arguments(arguments: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        tiny_encoder(**arguments)


def test_bert_base_has_the_published_size() -> None:
    with torch.device("meta"):
        encoder = TextEncoder.named("bert-base-uncased")
    # The published 109,482,240 count the pooler, a square linear layer, which this encoder leaves to the methods.
    assert sum(p.numel() for p in encoder.parameters()) == 109_482_240 - 768 * 769


def test_unknown_names_and_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="encoder is 'bert'; it must be one of mini-bert, minilm"):
        TextEncoder.named("bert")
    with pytest.raises(UserError, match="layers is 13; bert-base-uncased has 12"):
        TextEncoder.named("bert-base-uncased", layers=13)
    monkeypatch.setitem(pretrained.ARCHITECTURES, "bert-base-uncased", TINY)
    with pytest.raises(UserError, match=rf"{tmp_path}/model.safetensors does not exist"):
        TextEncoder.named("bert-base-uncased", max_length=8, weights=str(tmp_path))
    encoder = TextEncoder.named("bert-base-uncased", max_length=8, weights=str(tmp_path), pretrained=False)
    with pytest.raises(UserError, match=rf"{tmp_path}/tokenizer.json does not exist"):
        encoder(TEXTS)


def published(folder: Path, old_names: bool = False) -> BertForMaskedLM:
    """A tiny random masked language model, saved by transformers."""
    torch.manual_seed(1)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=13,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=32,
            max_position_embeddings=24,
        )
    ).eval()
    with torch.no_grad():
        model.cls.predictions.bias.normal_()
    model.save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    if old_names:
        file = folder / "model.safetensors"
        names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        renamed = {}
        for key, tensor in load_file(file).items():
            for new, old in names.items():
                key = key.replace(new, old)
            renamed[key] = tensor
        save_file(renamed, file)
    return model


@pytest.mark.parametrize("old_names", [False, True])
def test_agrees_with_transformers_on_a_published_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old_names: bool
) -> None:
    model = published(tmp_path, old_names)
    monkeypatch.setitem(pretrained.ARCHITECTURES, "bert-base-uncased", TINY)
    encoder = TextEncoder.named("bert-base-uncased", max_length=8, weights=str(tmp_path)).eval()
    head = MaskedLMHead(16, 13)
    head.load(PretrainedFiles("bert-base-uncased", str(tmp_path)).weights(), "tiny")
    tokens = encoder.tokenize(TEXTS)
    states = encoder.hidden_states(tokens)[-1]
    wanted = model(input_ids=tokens.ids, attention_mask=tokens.mask).logits
    torch.testing.assert_close(head(states, encoder.body.embeddings.word_embeddings.weight), wanted)


def test_a_file_of_another_shape_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path)
    monkeypatch.setitem(pretrained.ARCHITECTURES, "bert-base-uncased", TINY._replace(intermediate_size=64))
    with pytest.raises(UserError, match=r"intermediate.dense.weight has shape \(32, 16\)"):
        TextEncoder.named("bert-base-uncased", max_length=8, weights=str(tmp_path))
    monkeypatch.setitem(pretrained.ARCHITECTURES, "bert-base-uncased", TINY._replace(layers=3))
    with pytest.raises(UserError, match=r"lacks encoder\.layer\.2"):
        TextEncoder.named("bert-base-uncased", max_length=8, weights=str(tmp_path))


def test_keeping_the_lowest_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path)
    monkeypatch.setitem(pretrained.ARCHITECTURES, "bert-base-uncased", TINY)
    arguments = {"name": "bert-base-uncased", "max_length": 8, "weights": str(tmp_path)}
    whole, cut = TextEncoder.named(**arguments).eval(), TextEncoder.named(**arguments, layers=1).eval()
    tokens = whole.tokenize(TEXTS)
    states = cut.hidden_states(tokens)
    assert len(states) == 2
    torch.testing.assert_close(states[1], whole.hidden_states(tokens)[1])


def test_frozen_states_are_computed_once_and_never_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny_encoder(dropout=0.5)
    expected = {text: encoder.eval().hidden_states(encoder.tokenize([text], 24))[-1][0] for text in TEXTS}
    frozen = FrozenTokenStates(encoder).train()
    assert not any(module.training for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    calls: list[int] = []
    hidden_states = encoder.hidden_states
    monkeypatch.setattr(encoder, "hidden_states", lambda tokens: calls.append(len(tokens.ids)) or hidden_states(tokens))
    with torch.inference_mode():
        frozen(TEXTS[:2])
    found = frozen([*TEXTS, TEXTS[0]])
    assert calls == [2, 1]
    for text, states in zip([*TEXTS, TEXTS[0]], found, strict=True):
        torch.testing.assert_close(states, expected[text])
    # Remembered during evaluation, used in training.
    weight = torch.ones(16, requires_grad=True)
    (found[0] * weight).sum().backward()
    torch.testing.assert_close(weight.grad, expected[TEXTS[0]].sum(0))


def test_distilbert_is_a_bert_under_other_names(tmp_path: Path) -> None:
    shape = dict(vocab_size=13, max_position_embeddings=24, dim=16, n_layers=2, n_heads=4, hidden_dim=32)
    torch.manual_seed(0)
    theirs = DistilBertForMaskedLM(DistilBertConfig(**shape)).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    weights = {key: tensor.contiguous() for key, tensor in theirs.state_dict().items()}
    save_file({k: v for k, v in weights.items() if k != "vocab_projector.weight"}, tmp_path / "model.safetensors")
    ours = tiny_encoder().eval()
    pretrained.load_exactly(ours.body, PretrainedFiles("distilbert-base-uncased", str(tmp_path)).weights(), "tiny")
    tokens = ours.tokenize(TEXTS)
    expected = theirs.distilbert(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
    real = tokens.mask.bool()
    torch.testing.assert_close(ours.hidden_states(tokens)[-1][real], expected[real], atol=1e-5, rtol=1e-4)
    head = MaskedLMHead(16, 13)
    head.load(PretrainedFiles("distilbert-base-uncased", str(tmp_path)).weights(), "tiny")
    logits = head(expected, ours.body.embeddings.word_embeddings.weight)
    torch.testing.assert_close(logits, theirs(input_ids=tokens.ids, attention_mask=tokens.mask).logits)
