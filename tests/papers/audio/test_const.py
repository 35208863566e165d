"""ConST: its loss term by term, its harder positives, what it offers, and a resumed run."""

import math
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F

from common.batches import SpeechTranslations
from common.encoders.audio import mean_of_real
from common.encoders.sequence import Sequences
from common.errors import UserError
from data.benchmarks.prompts import Prompts
from data.benchmarks.recordings import SOURCES
from papers.audio.const.module import SPAN, ConST
from papers.audio.const.vocabulary import TOKENS, learn, read_vocabulary, tag

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
    """fairseq's label-smoothed loss, word by word."""
    total = 0.0
    for row, token in zip(logits.double().log_softmax(-1), target, strict=True):
        others = float(row.sum() - row[token])
        total -= (1 - epsilon) * float(row[token]) + epsilon / (len(row) - 1) * others
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
        tokens += target.shape[1] - 1
        spoken.append(low.values.mean(1))
        written.append(text.values.mean(1))
    logits = F.cosine_similarity(torch.cat(spoken)[:, None], torch.cat(written)[None], dim=-1) / 0.02
    contrast = float(F.cross_entropy(logits, torch.arange(4), reduction="sum"))
    expected = {"st": st / tokens, "mt": mt / tokens, "asr": asr / tokens, "ctr": contrast / 4}
    assert {name: float(found[name]) for name in expected} == pytest.approx(expected, rel=1e-4)
    assert float(found["loss"]) == pytest.approx((st + mt + asr + 1.5 * contrast) / tokens, rel=1e-4)


def test_without_weight_there_is_no_contrast() -> None:
    assert set(terms(module(weight=0.0), batch())) == {"st", "asr", "mt", "loss"}


@pytest.mark.parametrize("hardening", ["mask", "repeat", "cut_sequence", "cut_features"])
def test_harder_positives_change_the_contrast_alone(hardening: str) -> None:
    plain, hard = terms(module(), batch()), terms(module(hardening=hardening, hardness=0.9), batch())
    for name in ("st", "asr", "mt"):
        assert torch.equal(plain[name], hard[name])
    assert not torch.isclose(plain["ctr"], hard["ctr"])
    spared = terms(module(hardening=hardening, hardness=0.0), batch())
    torch.testing.assert_close(spared["ctr"], plain["ctr"])


def test_what_each_hardening_does() -> None:
    data = batch()
    seen = {}

    def entered(kind: str) -> tuple[ConST, Sequences, Tensor, Sequences, Sequences]:
        const = module(hardening=kind, hardness=0.9 if kind == "mask" else 0.5)
        network, speech = const.network, Sequences.of_lengths(data.speech, data.length)
        source = const.tokenize(data.transcript, data.source)
        before = network.enter_speech(speech), network.enter_text(source)
        heard, read = network.enter_speech, network.enter_text
        network.enter_speech = lambda x: (seen.update(speech=x), heard(x))[1]
        network.enter_text = lambda ids: (seen.update(ids=ids), read(ids))[1]
        after = const.harder(speech, source, *before, data.ids)
        return const, speech, source, before, after

    _, speech, _, before, after = entered("mask")
    silenced = (speech.values != 0).any(2) & ~(seen["speech"].values != 0).any(2)
    assert silenced.any() and torch.equal(after[1].values, before[1].values)
    runs = [len(run) for row in silenced.int().tolist() for run in "".join(map(str, row)).split("0") if run]
    assert max(runs) >= SPAN
    _, _, source, before, after = entered("repeat")
    longer = (seen["ids"] != TOKENS.pad).sum(1) - (source != TOKENS.pad).sum(1)
    assert (longer >= 0).all() and longer.any() and torch.equal(after[0].values, before[0].values)
    for old, new in zip(source.tolist(), seen["ids"].tolist(), strict=True):
        assert list(dict.fromkeys(new)) == list(dict.fromkeys([*old, *new])), "no token is new or moved"
    for kind, dim in (("cut_sequence", 2), ("cut_features", 1)):
        *_, before, after = entered(kind)
        for old, new in zip(before, after, strict=True):
            cut = (new.values == 0).all(dim)
            assert cut.any() and not cut.all()
            kept = ~cut[:, :, None] if dim == 2 else ~cut[:, None]
            assert torch.equal(new.values, old.values * kept)


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
    vocabulary = read_vocabulary(None)
    text = "veuillez composer votre mot de passe suivi du dièse"
    assert vocabulary.decode(vocabulary.encode(text).ids) == text and vocabulary.get_vocab_size() == 800
    ids = module().tokenize(["press one", "goodbye"], ["en", "fr"])
    assert ids[:, 0].tolist() == [vocabulary.token_to_id(tag("en")), vocabulary.token_to_id(tag("fr"))]
    assert (ids == TOKENS.end).sum(1).tolist() == [1, 1] and ids.dtype == torch.int64
    said = module().eval().translate_speech([torch.randn(30, 40)], "fr")
    assert len(said) == 1 and isinstance(said[0], str)
    small = learn(["press one", "press two", "presse une"] * 9, ["en", "fr"], 40)
    assert small.token_to_id("[PAD]") == TOKENS.pad and small.token_to_id("[END]") == TOKENS.end
    with pytest.raises(UserError, match=r"model.vocabulary is nowhere.json; make that file with"):
        module(vocabulary="nowhere.json").tokenize(["a"], ["en"])


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match=r"model.hardness is 1.0; it must be at least 0 and below 1"):
        module(hardness=1.0)
    with pytest.raises(UserError, match=r"model.hardening is 'mask'; with model.level 'high' it must be 'none'"):
        module(level="high", hardening="mask")


class Losses(L.Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, *arguments) -> None:
        self.values.append(float(outputs["loss"]))


def fit(
    module: L.LightningModule, benchmark: L.LightningDataModule, folder: Path, resume: Path | None = None
) -> list[float]:
    """The losses of five steps, or of what is left of them; a checkpoint is kept of each step."""
    losses = Losses()
    keep = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0)
    trainer = L.Trainer(
        max_steps=5, accelerator="cpu", callbacks=[losses, keep], use_distributed_sampler=False, **quiet
    )
    trainer.fit(module, benchmark, ckpt_path=resume)
    return losses.values


def test_a_resumed_run_goes_on_along_the_curve(tmp_path, fetched) -> None:
    fetched(*SOURCES)
    options = dict(hardening="repeat", schedule="constant")
    whole = fit(module(**options), Prompts(batch_size=8), tmp_path / "whole")
    rest = fit(module(**options), Prompts(batch_size=8), tmp_path / "rest", tmp_path / "whole" / "step=2.ckpt")
    assert rest == pytest.approx(whole[2:], rel=1e-5) and not math.isclose(whole[2], whole[3])
