"""A vocabulary learnt from texts of several languages, and how texts and pairs are framed."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from common.encoders.multilingual import SCALE, MultilingualEncoder, MultilingualLM
from common.errors import UserError
from common.sampling.masking import IGNORED

TEXTS = ["night and day", "malam dan siang", "gece ve gündüz"]
SHAPE = dict(hidden_size=8, layers=1, heads=2, intermediate_size=16, positions=16, max_length=12)


def test_texts_and_pairs_are_framed() -> None:
    encoder = MultilingualEncoder(vocab_size=60, **SHAPE)
    with pytest.raises(UserError, match="no vocabulary yet; it is learnt when a fit begins"):
        encoder.tokenize(TEXTS)
    encoder.learn(TEXTS)
    first, end = encoder.special_id("[CLS]"), encoder.special_id("[SEP]")
    texts, pairs = encoder.tokenize(["day", "gece"]), encoder.tokenize([("day", "gece")])
    lines = [row[mask.bool()].tolist() for row, mask in zip(*texts, strict=True)]
    assert all(line[0] == first and line[-1] == end for line in lines)
    assert pairs.ids[0].tolist() == lines[0] + lines[1][1:]
    assert len({*encoder.special_ids.tolist()}) == 5 and encoder.mask_id == encoder.special_id("[MASK]")
    again = MultilingualEncoder(vocab_size=60, **SHAPE)
    again.state = encoder.state
    assert again.tokenize(TEXTS).ids.equal(encoder.tokenize(TEXTS).ids)


def test_a_counted_table_has_like_rows_for_pieces_of_like_company() -> None:
    encoder = MultilingualEncoder(vocab_size=60, **SHAPE)
    texts = ["a x m", "b x m", "c y n", "d y n", "a x n", "b x n", "c y m", "d y m"]
    encoder.learn(texts)
    table = encoder.body.embeddings.word_embeddings.weight
    before, ids = table.detach().clone(), [encoder.tokenizer.encode(word).ids[1] for word in "abcd"]
    encoder.count(texts)
    a, b, c, d = table.detach()[ids]
    for row in (a, b, c, d):
        assert float(row.square().mean().sqrt()) == pytest.approx(SCALE, rel=1e-5)
    near, far = torch.cosine_similarity(a, b, dim=0), torch.cosine_similarity(a, d, dim=0)
    assert float(near) > 0.99 > 0.5 > float(far) and float(torch.cosine_similarity(c, d, dim=0)) > 0.99
    special = encoder.special_ids
    assert table[special].equal(before[special])  # which no text holds


def test_translations_are_learnt_and_each_so_manyth_is_counted() -> None:
    translations = [("day a", "gun b"), ("night c", "gece d"), ("sea e", "deniz f")]
    counted, by_hand, plain = (MultilingualEncoder(vocab_size=60, **SHAPE) for _ in range(3))
    counted.learn_translations(translations, 2)
    plain.learn_translations(translations, 0)
    by_hand.load_state_dict(plain.state_dict())
    by_hand.learn([text for texts in translations for text in texts])
    assert counted.state == plain.state == by_hand.state
    by_hand.count(["day a gun b", "sea e deniz f"])
    tables = [encoder.body.embeddings.word_embeddings.weight.detach() for encoder in (counted, by_hand)]
    seen = tables[1].square().mean(dim=1).sqrt().isclose(torch.tensor(SCALE), rtol=1e-4)
    assert 0 < int(seen.sum()) < 60 and tables[0][seen].equal(tables[1][seen])
    rows = plain.body.embeddings.word_embeddings.weight.detach()
    assert not rows.square().mean(dim=1).sqrt().isclose(torch.tensor(SCALE), rtol=1e-4).any()


def test_a_loss_is_the_mean_over_the_hidden_tokens() -> None:
    torch.manual_seed(0)
    model = MultilingualLM(0.8, vocab_size=60, **SHAPE).eval()
    model.learn(TEXTS)
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


def test_weights_of_an_xlm_r_compute_what_they_did(tmp_path: Path) -> None:
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
    encoder = MultilingualLM(weights=str(tmp_path), vocab_size=7, **SHAPE | {"layers": 2}).eval()
    tokens = encoder.tokenize([("day", "gece gece"), ("new", "day")])
    assert tokens.ids.tolist() == [[0, 4, 2, 5, 5, 2], [0, 3, 2, 4, 2, 1]]
    assert encoder.special_ids.equal(torch.tensor([1, 3, 0, 2, 6])) and encoder.mask_id == 6
    expected = theirs(input_ids=tokens.ids, attention_mask=tokens.mask).logits
    found = encoder.head(encoder.hidden_states(tokens)[-1], encoder.table)
    torch.testing.assert_close(found[tokens.mask.bool()], expected[tokens.mask.bool()], rtol=1e-4, atol=1e-4)
    encoder.hidden_states(tokens)[0].square().sum().backward()
    learnt = encoder.table.grad.abs().sum(dim=1) > 0
    assert learnt.tolist() == [True, False, True, True, True, True, False]  # <s> is, <pad> is not, and none is hidden


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.masked is 1.0; it must be between 0 and 1"):
        MultilingualLM(1.0, vocab_size=60, **SHAPE)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        MultilingualEncoder(str(tmp_path), vocab_size=7, **SHAPE).tokenize(TEXTS)
    encoder = MultilingualEncoder(vocab_size=60, **SHAPE)
    encoder.learn(TEXTS)
    with pytest.raises(UserError, match=r"model.vocab_size is 9; the vocabulary has \d+ tokens"):
        MultilingualEncoder(vocab_size=9, **SHAPE).state = encoder.state
