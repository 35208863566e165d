"""Speech as log-mel frames: decoded, measured and augmented in tensors.

Everything downstream works on powers: those of independent sounds add up, so noise can be mixed into frames that were
computed once, with no waveform kept.
"""

import io
import math
from functools import cache

import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import fftconvolve, melscale_fbanks
from torchaudio.transforms import Resample

from common.errors import UserError
from common.random import uniform

RATE = 16_000
"""Samples a second of every waveform."""
FRAMES = 50
"""Frames a second."""
BANDS = 40
"""Mel bands of a frame, from 60 to 3,900 Hz: what a telephone passes, so that recordings differ in no wider band."""
_WINDOW = 512
_FLOOR = 1e-4  # added to every power; a recording's mean power is 1
_MEAN, _SPREAD = -4.0, 3.0  # of log powers of speech, roughly


def decode(content: bytes) -> Tensor:
    """A sound file (WAV, FLAC, Ogg Vorbis, Opus) as one channel at 16 kHz, float32 of shape (samples,)."""
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    waveform = torch.from_numpy(samples).mean(dim=1)
    return waveform if rate == RATE else _resampler(rate)(waveform)


@cache
def _resampler(rate: int) -> Resample:
    return Resample(rate, RATE)


def log_mel(waveform: Tensor) -> Tensor:
    """The frames of a waveform at 16 kHz, without the silence at its ends and whatever its loudness.

    A frame is the power in 40 mel bands over 32 ms, every 20 ms. Frames 40 dB below the loudest count as silence; two
    of them are kept on either side. The mean power over frames and bands is set to 1 before the logarithm.

    Args:
        waveform: shape (samples,).

    Returns:
        float32 of shape (frames, 40), roughly of mean 0 and variance 1; no frame where all is silent.
    """
    window = torch.hann_window(_WINDOW)
    padded = F.pad(waveform, (0, max(0, _WINDOW - len(waveform))))
    spectrum = torch.stft(padded, _WINDOW, RATE // FRAMES, window=window, center=False, return_complex=True)
    power = spectrum.abs().square().T @ _filters()
    energy = power.sum(dim=1)
    loud = (energy > 1e-4 * energy.max()).nonzero().flatten()
    if len(loud) == 0:
        return power[:0]
    power = power[max(0, int(loud[0]) - 2) : int(loud[-1]) + 3]
    return from_power(power / power.mean())


@cache
def _filters() -> Tensor:
    return melscale_fbanks(_WINDOW // 2 + 1, 60.0, 3900.0, BANDS, RATE)


def from_power(power: Tensor) -> Tensor:
    """Powers to features: a logarithm with a floor, shifted and scaled."""
    return ((power + _FLOOR).log() - _MEAN) / _SPREAD


def to_power(features: Tensor) -> Tensor:
    """The inverse of `from_power`."""
    return ((features * _SPREAD + _MEAN).exp() - _FLOOR).clamp(min=0)


def mix(power: Tensor, noise: Tensor, decibels: Tensor, real: Tensor) -> Tensor:
    """Adds noise at a given ratio of signal to noise.

    Args:
        power: of speech, shape (n, t, c).
        noise: its power, same shape.
        decibels: mean power of the speech over that of the noise, shape (n,); infinity adds nothing.
        real: False at padding, shape (n, t).
    """
    ratio = 10 ** (-decibels / 10)
    scale = ratio * _mean(power, real) / _mean(noise, real).clamp(min=1e-8)
    return power + noise * scale[:, None, None]


def _mean(power: Tensor, real: Tensor) -> Tensor:
    """Mean power of each row over its real frames, shape (n,)."""
    return (power.mean(dim=2) * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


class SpeechAugmentation:
    """White noise, reverberation and another sound in the background, each drawn for each recording on its own.

    The three of data2vec-aqc's data loader, carried over to mel powers: there they act on the waveform.

    Args:
        noise: probability of white noise, with an amplitude of 0.001 to 0.7 times the speech's.
        reverb: probability of an exponentially fading tail, half the sound's amplitude, that loses 60 dB in 0.1 to
            0.8 s.
        background: probability of a background, 0 to 15 dB below the speech.
    """

    TAPS = 24
    """Frames that the longest tail is followed for."""

    def __init__(self, noise: float = 0.6, reverb: float = 0.7, background: float = 0.8) -> None:
        for name, share in dict(noise=noise, reverb=reverb, background=background).items():
            if not 0 <= share <= 1:
                raise UserError(f"data.{name} is {share}; it must be in [0, 1]")
        self.noise, self.reverb, self.background = noise, reverb, background

    def __call__(self, features: Tensor, real: Tensor, background: Tensor, ids: Tensor, *key: int) -> Tensor:
        """Augments a batch; lengths stay, and nothing is shifted in time.

        Args:
            features: of `from_power`, shape (n, t, c).
            real: False at padding, shape (n, t).
            background: features of what may sound behind each row, same shape.
            ids: global sample ids, shape (n,).
            key: what else the random numbers depend on: seed, epoch, view.

        Returns:
            Same shape, of mean power 1 again, zero at padding.
        """
        u = uniform(ids, 6, *key, 0)
        power = to_power(features) * real[:, :, None]
        power = torch.where(u[:, 0, None, None] < self.reverb, self._reverberated(power, u[:, 1]), power)
        amplitude = torch.where(u[:, 2] < self.noise, 0.001 + 0.699 * u[:, 3], 0.0)
        power = mix(power, self._white(power, ids, *key), -20 * amplitude.log10(), real)
        behind = torch.where(u[:, 4] < self.background, 15 * u[:, 5], math.inf)
        power = mix(power, to_power(background), behind, real)
        return from_power(power / _mean(power, real)[:, None, None]) * real[:, :, None]

    def _reverberated(self, power: Tensor, drawn: Tensor) -> Tensor:
        seconds = 0.1 * 8**drawn
        fading = 10 ** (-6 / (FRAMES * seconds))[:, None, None]
        heard, tail = torch.zeros_like(power), power
        for _ in range(self.TAPS):
            tail = fading * F.pad(tail, (0, 0, 1, 0))[:, :-1]
            heard = heard + tail
        # Half the amplitude is a quarter of the power, spread over the tail.
        weight = sum(fading**k for k in range(1, self.TAPS + 1))
        return power + 0.25 * heard / weight

    @staticmethod
    def _white(power: Tensor, ids: Tensor, *key: int) -> Tensor:
        """Flat over hertz, so stronger in the wider bands; each band of each frame varies exponentially."""
        n, t, c = power.shape
        drawn = uniform(ids, t * c, *key, 1).view(n, t, c)
        return -torch.log1p(-drawn) * _filters().sum(dim=0).to(power)


class WaveformAugmentation(SpeechAugmentation):
    """The same three on waveforms at 16 kHz, with the same draws for the same ids and key."""

    def __call__(self, waveforms: Tensor, background: Tensor, ids: Tensor, *key: int) -> Tensor:
        """Augments a batch; nothing is shifted in time.

        Args:
            waveforms: shape (n, samples).
            background: waveforms of what may sound behind each row, same shape.
            ids: global sample ids, shape (n,).
            key: what else the random numbers depend on: seed, epoch, view.
        """
        u = uniform(ids, 6, *key, 0)
        x = torch.where(u[:, :1] < self.reverb, self._echoing(waveforms, u[:, 1], ids, *key), waveforms)
        amplitude = torch.where(u[:, 2] < self.noise, 0.001 + 0.699 * u[:, 3], 0.0)[:, None]
        # A sum of uniform numbers is as good as normal here, and costs no second stream of them.
        hiss = (uniform(ids, 4 * x.shape[1], *key, 1).view(len(x), 4, -1).sum(1) - 2) * math.sqrt(3)
        x = x + amplitude * x.std(dim=1, keepdim=True) * hiss
        ratio = torch.where(u[:, 4] < self.background, 10 ** (-15 * u[:, 5] / 20), 0.0)[:, None]
        scale = x.std(dim=1, keepdim=True) / background.std(dim=1, keepdim=True).clamp(min=1e-8)
        return x + ratio * scale * background

    @staticmethod
    def _echoing(waveforms: Tensor, drawn: Tensor, ids: Tensor, *key: int) -> Tensor:
        """Convolved with noise that fades exponentially, half as loud as the sound itself."""
        seconds = (0.1 * 8**drawn)[:, None]
        place = torch.arange(int(0.8 * RATE), device=waveforms.device) / RATE
        tail = (uniform(ids, len(place), *key, 3) - 0.5) * 10 ** (-3 * place / seconds)
        tail = 0.5 * tail / tail.norm(dim=1, keepdim=True)
        return waveforms + fftconvolve(waveforms, tail)[:, : waveforms.shape[1]]
