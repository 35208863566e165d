import io

import pytest
import soundfile
import torch
from torch import Tensor

from common.audio import BANDS, FRAMES, RATE, SpeechAugmentation, decode, from_power, log_mel, mix, to_power
from common.encoders.sequence import Sequences
from common.errors import UserError


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE) -> Tensor:
    return torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * rate)) / rate)


def sound_file(waveform: Tensor, rate: int, form: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.numpy(), rate, format=form)
    return buffer.getvalue()


@pytest.mark.parametrize(("rate", "form"), [(8_000, "WAV"), (16_000, "FLAC"), (44_100, "OGG")])
def test_any_rate_and_format_becomes_16_khz(rate: int, form: str) -> None:
    stereo = torch.stack([tone(440, rate=rate), tone(440, rate=rate)], dim=1)
    waveform = decode(sound_file(0.5 * stereo, rate, form))
    assert waveform.ndim == 1 and len(waveform) == pytest.approx(RATE, abs=20)
    inner = slice(2000, 14_000)
    assert (waveform[inner] - 0.5 * tone(440)[: len(waveform)][inner]).abs().max() < 0.02


def test_a_tone_stands_in_its_band_whatever_its_loudness() -> None:
    low, high = log_mel(tone(200)), log_mel(tone(3000))
    assert low.shape[1] == BANDS and low.mean(0).argmax() < high.mean(0).argmax()
    torch.testing.assert_close(log_mel(0.01 * tone(200)), low, rtol=1e-3, atol=1e-3)
    assert to_power(low).mean() == pytest.approx(1, rel=1e-3)


def test_silence_at_the_ends_is_cut() -> None:
    silence = torch.zeros(RATE)
    clip = log_mel(torch.cat([silence, tone(500, 0.5), silence]))
    assert len(clip) == pytest.approx(0.5 * FRAMES, abs=6)
    assert len(log_mel(silence)) == 0


def test_powers_and_features_are_inverse() -> None:
    power = torch.rand(3, 5, BANDS) * 10
    torch.testing.assert_close(to_power(from_power(power)), power, rtol=1e-4, atol=1e-4)


def test_mixing_reaches_the_ratio_over_real_frames_alone() -> None:
    power, noise = torch.rand(2, 20, BANDS), torch.rand(2, 20, BANDS)
    real = torch.arange(20) < torch.tensor([[20], [8]])
    power = power * real[:, :, None]
    mixed = mix(power, noise, torch.tensor([5.0, float("inf")]), real)
    added = (mixed - power)[0].mean()
    assert 10 * torch.log10(power[0].mean() / added) == pytest.approx(5, abs=1e-3)
    assert torch.equal(mixed[1], power[1])


def test_augmentation_belongs_to_the_sample() -> None:
    augment = SpeechAugmentation()
    frames = torch.stack([log_mel(tone(300 + 100 * i, 0.6)) for i in range(6)])
    behind = log_mel(tone(2000, 0.6)).expand_as(frames)
    lengths = torch.tensor([len(frames[0]), 12, 20, 12, 9, 15])
    padded = Sequences.of_lengths(frames, lengths)
    frames, ids = frames * padded.real[:, :, None], torch.arange(6) + 40
    whole = augment(frames, padded.real, behind, ids, 0, 1)
    some = torch.tensor([4, 1])
    torch.testing.assert_close(augment(frames[some], padded.real[some], behind[some], ids[some], 0, 1), whole[some])
    assert not torch.equal(augment(frames, padded.real, behind, ids, 0, 2), whole)
    assert not whole[~padded.real].any()
    means = (to_power(whole).mean(2) * padded.real).sum(1) / lengths
    torch.testing.assert_close(means, torch.ones(6), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["noise", "reverb", "background"])
def test_each_augmentation_alone(kind: str) -> None:
    off = dict(noise=0.0, reverb=0.0, background=0.0)
    frames = log_mel(tone(300, 0.6))[None].repeat(4, 1, 1)
    frames[:, 10:] = from_power(torch.zeros(()))
    behind = log_mel(tone(2000, 0.6))[None].repeat(4, 1, 1)
    real, ids = torch.ones(frames.shape[:2], dtype=torch.bool), torch.arange(4)
    same = SpeechAugmentation(**off)(frames, real, behind, ids, 0)
    torch.testing.assert_close(to_power(same), to_power(frames) / to_power(frames).mean((1, 2), keepdim=True))
    other = SpeechAugmentation(**{**off, kind: 1.0})(frames, real, behind, ids, 0)
    quiet = to_power(other)[:, 14:]
    assert (quiet.mean((1, 2)) > 1e-4).sum() >= 2, "something sounds where there was silence"
    if kind == "reverb":
        fading = to_power(other)[:, 10:].mean(2)
        assert (fading.diff(dim=1) <= 1e-5).all()
    if kind == "background":
        assert quiet.mean((0, 1)).argmax() == to_power(behind)[0].mean(0).argmax()


def test_the_tail_has_a_quarter_of_the_power() -> None:
    click = torch.zeros(5, 40, BANDS)
    click[:, 0] = 40.0  # of mean power 1
    frames = from_power(click)
    real, ids = torch.ones(5, 40, dtype=torch.bool), torch.arange(5)
    heard = SpeechAugmentation(noise=0.0, reverb=1.0, background=0.0)(frames, real, frames, ids, 0)
    power = to_power(heard).mean(2)
    torch.testing.assert_close(power[:, 1:].sum(1) / power[:, 0], torch.full((5,), 0.25), rtol=1e-3, atol=0.0)
    assert (power[:, 5] / power[:, 0]).std() > 0.001, "tails are of different lengths"


def test_bad_shares() -> None:
    with pytest.raises(UserError, match=r"data.reverb is 1.5; it must be in \[0, 1\]"):
        SpeechAugmentation(reverb=1.5)
