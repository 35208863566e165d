"""ConST: its loss term by term, its harder positives, what it offers."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Wav2Vec2Config

from common.batches import SpeechTranslations
from common.encoders import audio
from common.encoders.audio import mean_of_real
from common.encoders.sequence import Sequences
from common.encoders.vocabulary import TOKENS
from common.errors import UserError
from harness.recipes import catalog, recipe
from papers.audio.const.hardening import cut, repeat_tokens
from papers.audio.const.module import ConST
from papers.audio.const.vocabulary import learn, read_vocabulary, tag
from papers.audio.const.vocabulary import main as learn_vocabulary
from tests.data.benchmarks.test_published import must_c

__all__ = ["must_c"]

SMALL = dict(width=16, layers=1, heads=2, feedforward=16, channels=16, dropout=0.0)


def batch(n: int = 4) -> SpeechTranslations:
    generator = torch.Generator().manual_seed(1)
    length = torch.tensor([30, 12, 21, 9])[:n]
    speech = Sequences.of_lengths(torch.randn(n, 30, 40, generator=generator), length)
    speech = speech.values * speech.real[:, :, None]
    english = ["please hold", "press one", "goodbye", "you have no messages"][:n]
    french = ["veuillez patienter", "appuyez sur un", "au revoir", "vous n'avez pas de message"][:n]
    return SpeechTranslations(speech, length, english, french, ["en"] * n, ["fr"] * n, torch.arange(n) + 7)


def module(**arguments) -> ConST:
    torch.manual_seed(0)
    return ConST(**{**SMALL, **arguments})


def terms(const: ConST, data: SpeechTranslations) -> dict[str, Tensor]:
    found = {}
    const.log_loss = lambda loss, **logged: (found.update(logged, loss=loss), loss)[1]
    const.training_step(data, 0)
    return found


def smoothed(logits: Tensor, target: list[int], epsilon: float) -> float:
    """The label-smoothed loss of the released code, token by token."""
    total = 0.0
    for row, token in zip(logits.detach().double().log_softmax(-1), target, strict=True):
        total -= (1 - epsilon) * float(row[token]) + epsilon / len(row) * float(row.sum())
    return total


def test_the_loss_is_what_the_released_code_adds_up() -> None:
    const, data = module(weight=1.5), batch()
    found = terms(const, data)
    network, tokens, st, mt, asr, spoken, written = const.network, 0, 0.0, 0.0, 0.0, [], []
    for i, (frames, length) in enumerate(zip(data.speech, data.length.tolist(), strict=True)):
        source = const.tokenize([data.transcript[i]], ["en"])
        target = const.tokenize([data.translation[i]], ["fr"])
        low, text = network.enter_speech(Sequences.padded([frames[:length]])), network.enter_text(source)
        memory, text_memory = network.encode(low), network.encode(text)
        for ids, states, name in ((target, memory, "st"), (target, text_memory, "mt"), (source, memory, "asr")):
            value = smoothed(network.decode(states, ids[:, :-1])[0], ids[0, 1:].tolist(), 0.1)
            st, mt, asr = st + value * (name == "st"), mt + value * (name == "mt"), asr + value * (name == "asr")
        tokens += target.shape[1]
        spoken.append(low.values.mean(1))
        written.append(text.values.mean(1))
    logits = F.cosine_similarity(torch.cat(spoken)[:, None], torch.cat(written)[None], dim=-1) / 0.02
    contrast = float(F.cross_entropy(logits, torch.arange(4), reduction="sum").detach())
    expected = {"st": st / tokens, "mt": mt / tokens, "asr": asr / tokens, "ctr": contrast / 4}
    assert {name: float(found[name]) for name in expected} == pytest.approx(expected, rel=1e-4)
    assert float(found["loss"]) == pytest.approx((st + mt + asr + 1.5 * contrast) / tokens, rel=1e-4)


def test_each_objective_has_dropout_masks_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    const, heard, read = module(dropout=0.5).train(), [], []
    for name, seen in (("enter_speech", heard), ("enter_text", read)):
        plain = getattr(const.network, name)
        monkeypatch.setattr(const.network, name, lambda x, plain=plain, seen=seen: seen.append(plain(x)) or seen[-1])
    terms(const, batch())
    assert len(heard) == 2 and not torch.equal(heard[0].values, heard[1].values)
    transcripts = [one.values for one in read if one.values.shape == read[0].values.shape]
    assert len(transcripts) >= 2 and not torch.equal(transcripts[0], transcripts[-1])


def test_without_weight_there_is_no_contrast() -> None:
    found = terms(module(weight=0.0), batch())
    assert set(found) == {"st", "asr", "mt", "loss"}
    torch.testing.assert_close(found["loss"], found["st"] + found["asr"] + found["mt"])


def moved_by_the_contrast(**arguments) -> set[str]:
    """Names of the parameters that the contrast alone has a gradient for."""
    const = module(**arguments)
    terms(const, batch())["ctr"].backward()
    return {name for name, p in const.named_parameters() if p.grad is not None and bool(p.grad.any())}


def test_the_contrast_reaches_what_stands_below_its_level() -> None:
    subsampler = {f"network.subsampler.{name}" for name, _ in module().network.subsampler.named_parameters()}
    low, high = moved_by_the_contrast(), moved_by_the_contrast(level="high")
    assert low == subsampler | {"network.table.weight"}
    assert high - low == {name for name, _ in module().named_parameters() if name.startswith("network.encoder.")}


def test_speech_looks_for_transcripts_and_not_the_other_way() -> None:
    const, data = module(), batch()
    speech, text = (
        F.normalize(side, dim=1)
        for side in (
            const.embed_speech([row[:n] for row, n in zip(data.speech, data.length.tolist(), strict=True)]),
            const.embed_text(data.transcript),
        )
    )
    scores = speech @ text.T / 0.02
    found = float(terms(const, data)["ctr"])
    assert found == pytest.approx(float(F.cross_entropy(scores, torch.arange(4))), rel=1e-4)
    assert found != pytest.approx(float(F.cross_entropy(scores.T, torch.arange(4))), rel=1e-2)


@pytest.mark.parametrize("hardening", ["mask", "repeat", "sequence", "features"])
def test_harder_positives_change_the_contrast_alone(hardening: str) -> None:
    plain, hard = terms(module(), batch()), terms(module(hardening=hardening, hardness=0.9), batch())
    for name in ("st", "asr", "mt"):
        assert torch.equal(plain[name], hard[name])
    assert not torch.isclose(plain["ctr"], hard["ctr"])
    spared = terms(module(hardening=hardening, hardness=0.0), batch())
    torch.testing.assert_close(spared["ctr"], plain["ctr"])


def test_repeated_tokens_stay_where_they_are() -> None:
    tokens = torch.tensor([[3, 20, 21, 22, 1], [3, 30, 1, 0, 0]]).repeat(200, 1)
    twice = repeat_tokens(tokens, torch.arange(400), 0.25, *TOKENS, 9)
    added = 0
    for old, new in zip(tokens.tolist(), twice.tolist(), strict=True):
        old, new = ([token for token in row if token != TOKENS.pad] for row in (old, new))
        assert list(dict.fromkeys(new)) == old, "none is new or moved"
        assert new.count(3) == new.count(1) == 1 and max(map(new.count, new)) <= 2
        added += len(new) - len(old)
    assert added / 800 == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(("what", "dim"), [("sequence", 2), ("features", 1)])
def test_whole_positions_or_whole_dimensions_are_cut(what: str, dim: int) -> None:
    entered = Sequences(torch.randn(50, 20, 30), torch.ones(50, 20, dtype=torch.bool))
    found = cut(entered, torch.arange(50), 0.2, what, 4)
    gone = (found.values == 0).all(dim, keepdim=True)
    assert torch.equal(found.values, entered.values.masked_fill(gone, 0.0))
    assert float(gone.float().mean()) == pytest.approx(0.2, abs=0.04)


def test_both_levels_embed_alike_in_any_batch() -> None:
    clips = [torch.randn(size, 40) for size in (25, 9, 40)]
    for level in ("low", "high"):
        const = module(level=level).eval()
        rows = const.embed_speech(clips)
        torch.testing.assert_close(rows[1], const.embed_speech([clips[1]])[0], rtol=1e-3, atol=1e-5)
        texts = const.embed_text(["press one", "please hold the line"])
        torch.testing.assert_close(texts[0], const.embed_text(["press one"])[0], rtol=1e-3, atol=1e-5)
    low = mean_of_real(const.network.enter_speech(Sequences.padded(clips)))
    assert not torch.allclose(low, rows)


def test_text_goes_through_the_vocabulary_and_back() -> None:
    vocabulary = read_vocabulary(None, 800)
    vocabulary.check()
    text = "veuillez composer votre mot de passe suivi du dièse"
    ids = vocabulary.ids([text, "au revoir"], [tag("fr"), tag("fr")])
    assert ids.dtype == torch.int64 and (ids == TOKENS.end).sum(1).tolist() == [1, 1]
    assert (ids[:, 0] == vocabulary.id_of(tag("fr"))).all() and vocabulary.id_of(tag("fr")) != vocabulary.id_of(
        tag("en")
    )
    assert vocabulary.texts([ids[0, 1:-1].tolist()]) == [text] and ids[1, -1] == TOKENS.pad
    small = learn(["press one", "press two", "presse une"] * 9, ["en", "fr"], 40)
    assert small.token_to_id("[PAD]") == TOKENS.pad and small.token_to_id("[END]") == TOKENS.end
    assert small.token_to_id(tag("fr")) == small.token_to_id(tag("en")) + 1


def test_translations_do_not_depend_on_the_batch() -> None:
    const, clips = module().eval(), [torch.randn(size, 40) for size in (30, 12)]
    said = const.translate_speech(clips, "fr")
    assert len(said) == 2 and all(isinstance(text, str) for text in said)
    assert const.translate_speech(clips[1:], "fr") == said[1:]
    # The greedy choice, token by token, until the end or 50 tokens.
    network, ids = const.network, [const.vocabulary.id_of(tag("fr"))]
    memory = network.encode(network.enter_speech(Sequences.padded(clips[:1])))
    while len(ids) <= 50:
        chances = network.decode(memory, torch.tensor([ids]))[0, -1]
        chances[TOKENS.pad] = -torch.inf
        if (token := int(chances.argmax())) == TOKENS.end:
            break
        ids.append(token)
    assert said[0] == const.vocabulary.texts([ids[1:]])[0]


@pytest.fixture
def small_wav2vec(monkeypatch: pytest.MonkeyPatch) -> None:
    small = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=[16] * 7)
    small |= dict(num_conv_pos_embedding_groups=4, layerdrop=0.0)
    monkeypatch.setattr(audio, "Wav2Vec2Config", lambda **options: Wav2Vec2Config(**small, **options))
    monkeypatch.setattr(audio.Wav2Vec2, "output_dim", 32)


def test_waveforms_go_through_wav2vec(small_wav2vec: None) -> None:
    const, data = module(acoustic="wav2vec2", hardening="mask", hardness=0.5), batch(2)
    length = torch.tensor([16_000, 9_000])
    waves = torch.randn(2, 16_000) * (torch.arange(16_000) < length[:, None])
    found = terms(const, data._replace(speech=waves, length=length))
    assert set(found) == {"st", "asr", "mt", "ctr", "loss"} and all(value.isfinite() for value in found.values())
    found["loss"].backward()
    assert all(parameter.grad is not None for parameter in const.parameters())
    assert const.eval().embed_speech([waves[0], waves[1, :9_000]]).shape == (2, 16)


def test_the_full_recipe_trains_on_what_is_laid_out_as_published(
    small_wav2vec: None, must_c: Path, tmp_path: Path
) -> None:
    learn_vocabulary([str(must_c), str(tmp_path / "pieces.json")])
    config = dict(recipe.load_recipe(catalog.find("const"), "full.yaml").data)
    size = read_vocabulary(str(tmp_path / "pieces.json"), 0).tokenizer.get_vocab_size()
    names = {"weights": None, "vocabulary": str(tmp_path / "pieces.json"), "vocab_size": size, "beam": 2}
    changes = {
        "model": {"init_args": {**SMALL, **names, "max_tokens": 5}},
        "data": {"init_args": {"data_root": str(must_c), "batch_size": 2, "workers": 0}},
        "trainer": {"max_steps": 2, "accelerator": "cpu", "precision": "32-true", "callbacks": []},
    }
    trainer, const, benchmark = recipe.build(recipe.with_seed(recipe.merge(config, changes), 0))
    trainer.fit(const, benchmark)
    assert trainer.global_step == 2 and math.isfinite(trainer.logged_metrics["train/loss"])
    assert set(benchmark.evaluate(const, "val")) == {"bleu/dev"}


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match=r"model.hardness is 1.0; it must be at least 0 and below 1"):
        module(hardness=1.0)
    with pytest.raises(UserError, match=r"model.hardening is 'mask'; with model.level 'high' it must be 'none'"):
        module(level="high", hardening="mask")
    with pytest.raises(UserError, match=r"model.vocabulary is nowhere.json; make that file with"):
        module(vocabulary="nowhere.json").vocabulary.check()
    with pytest.raises(UserError, match=r"model.vocab_size is 700; model.vocabulary has 800 tokens"):
        read_vocabulary(None, 700).check()
    with pytest.raises(UserError, match=r"model.vocabulary has no token <lang:ru>"):
        read_vocabulary(None, 800).id_of(tag("ru"))
