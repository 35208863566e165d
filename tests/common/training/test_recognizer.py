"""Fine-tuning by CTC: the loss by all paths, what is trained when, and greedy transcripts."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from common.batches import TranscribedSpeech
from common.encoders.sequence import Sequences
from common.errors import UserError
from common.training.recognizer import CHARACTERS, Recognizer

SHAPE = dict(feature_width=16, width=16, layers=3, heads=2, feedforward=16, dropout=0.0, position_kernel=3)


def recognizer(**arguments) -> Recognizer:
    torch.manual_seed(0)
    ours = Recognizer(**{**SHAPE, "channel_span": 4, **arguments})
    ours.log = lambda *arguments, **keywords: None
    return ours


def batch(texts: list[str], lengths: list[int]) -> TranscribedSpeech:
    speech = torch.randn(len(texts), max(lengths), 40, generator=torch.Generator().manual_seed(1))
    length = torch.tensor(lengths)
    speech = speech * (torch.arange(max(lengths)) < length[:, None])[:, :, None]
    return TranscribedSpeech(speech, length, texts, torch.arange(len(texts)))


def collapsed(path: tuple[int, ...]) -> str:
    return "".join(CHARACTERS[c - 1] for c, _ in itertools.groupby(path) if c)


def test_the_loss_sums_over_all_paths_that_spell_the_text() -> None:
    ours, data = recognizer(mask_share=0.0, mask_span=1, channel_share=0.0), batch(["A"], [4])
    entered = ours.encoder.enter(Sequences.of_lengths(data.speech, data.length))
    chances = ours.letters(ours.encoder.states(entered).values)[0].softmax(1)
    a = CHARACTERS.index("A") + 1
    spelling = [p for p in itertools.product((0, a), repeat=4) if collapsed(p) == "A"]
    total = sum(math.prod(float(chances[t, c]) for t, c in enumerate(path)) for path in spelling)
    assert float(ours.training_step(data, 0)) == pytest.approx(-math.log(total), rel=1e-4)


def test_padding_and_company_change_no_loss() -> None:
    ours = recognizer(mask_share=0.0, channel_share=0.0)
    both = batch(["AB", "C"], [30, 20])
    alone = [
        TranscribedSpeech(
            both.speech[i : i + 1, :n], both.length[i : i + 1], both.transcript[i : i + 1], both.ids[i : i + 1]
        )
        for i, n in ((0, 30), (1, 20))
    ]
    mean = sum(float(ours.training_step(one, 0)) for one in alone) / 2
    assert float(ours.training_step(both, 0)) == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize(("frozen", "moved"), [
    (0, {"norm", "project", "masked", "positions", "transformer", "letters"}),
    (1, {"letters"}),
])  # fmt: skip
def test_the_convolutions_stay_and_at_first_all_but_the_letters(frozen: int, moved: set[str]) -> None:
    ours = recognizer(frozen_steps=frozen)
    ours.training_step(batch(["AB", "C"], [30, 20]), 0).backward()
    trained = {name for name, p in ours.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name.removeprefix("encoder.").split(".")[0] for name in trained} == moved
    assert not any(p.requires_grad for p in ours.encoder.features.parameters())


def test_masks_cover_frames_and_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, seen = recognizer(), []
    monkeypatch.setattr(ours.encoder.positions, "forward", lambda x, real: seen.append(x) or x)
    ours.training_step(batch(["AB", "C"], [30, 30]), 0)
    (x,) = seen
    zero = (x == 0).all(1)
    assert (zero.sum(1) == round(16 * (1 - (1 - 4 / 16) ** 2))).all()
    alike = ((x == ours.encoder.masked) | zero[:, None]).all(2).sum(1)
    assert (alike == round(30 * (1 - (1 - 10 / 30) ** (0.65 * 3)))).all()


def test_transcripts_leave_out_runs_and_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = recognizer().eval()
    path = [CHARACTERS.index(c) + 1 if c != "_" else 0 for c in " HHE_LL_LO  "]
    logits = torch.nn.functional.one_hot(torch.tensor([path]), 29).float()
    monkeypatch.setattr(ours.letters, "forward", lambda states: logits.expand(len(states), -1, -1))
    assert ours.transcribe_speech([torch.randn(12, 40), torch.randn(7, 40)]) == ["HELLO", "HEL"]


def test_it_learns_to_spell() -> None:
    ours, data = recognizer(mask_share=0.0, channel_share=0.0, layerdrop=0.0), batch(["AB", "C"], [12, 9])
    optimizer = torch.optim.Adam(ours.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        ours.training_step(data, 0).backward()
        optimizer.step()
    ours.eval()
    assert ours.transcribe_speech([data.speech[0], data.speech[1, :9]]) == ["AB", "C"]


def test_it_starts_from_a_pretrained_encoder(tmp_path: Path) -> None:
    pretrained = recognizer().encoder
    torch.manual_seed(7)
    for weight in pretrained.parameters():
        torch.nn.init.normal_(weight)
    known = {f"encoder.{name}": weight for name, weight in pretrained.state_dict().items()}
    torch.save({"state_dict": known | {"predict.weight": torch.zeros(2)}}, tmp_path / "pretrained.ckpt")
    ours = recognizer(weights=str(tmp_path / "pretrained.ckpt"))
    for name, weight in pretrained.state_dict().items():
        assert torch.equal(ours.encoder.state_dict()[name], weight)
    torch.save({"state_dict": {}}, tmp_path / "empty.ckpt")
    with pytest.raises(UserError, match=r"model.weights, .*empty.ckpt, has no encoder.features.*; it must be of a mod"):
        recognizer(weights=str(tmp_path / "empty.ckpt"))
