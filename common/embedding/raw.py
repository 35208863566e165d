"""Raw pictures and sounds made like those that a method was trained on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchaudio.functional import resample

from common.audio import RATE, decode, log_mel
from common.errors import UserError


def pixels_of(images: Sequence[Any] | Tensor | np.ndarray, shape: Sequence[int] | None) -> Tensor:
    """Pictures as `embed_image` takes them.

    Args:
        images: uint8 of shape (n, c, h, w); or a list of pictures of PIL, of paths, or of uint8 arrays of shape
            (c, h, w), (h, w, c) or (h, w). Pictures of PIL and files get the colours and, shrunk or enlarged until they
            cover it and cut in the middle, the size of those that were trained on; arrays must have them.
        shape: of those that were trained on, see `common.batches.inputs`; None where it is not known.

    Returns:
        uint8, shape (n, c, h, w).

    Raises:
        UserError: they are no uint8, of another size or of several, or a file is no picture.
    """
    one = [_pixels(image, shape) for image in images]
    for pixels in one:
        wanted = list(shape or one[0].shape)
        if list(pixels.shape)[: len(wanted)] != wanted or pixels.shape != one[0].shape:
            needed = "what was trained on is" if shape else "the first is"
            raise UserError(
                f"a picture is {_words(pixels.shape)}; {needed} {_words(wanted if shape else one[0].shape)} (channels, "
                "height, width). Pictures of PIL and paths are fitted"
            )
    return torch.stack(one)


def _words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _pixels(image: Any, shape: Sequence[int] | None) -> Tensor:
    if isinstance(image, str | Path):
        try:
            with Image.open(image) as opened:
                image = opened.convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise UserError(
                f"{image} cannot be read as a picture: {getattr(error, 'strerror', None) or error}"
            ) from None
    if isinstance(image, Image.Image):
        return _fitted(image, shape)
    array = torch.as_tensor(image)
    if array.dtype != torch.uint8 or array.ndim not in (2, 3):
        raise UserError(
            f"a picture is {array.dtype} of shape {tuple(array.shape)}; it must be uint8, (channels, height, width)"
        )
    if array.ndim == 2:
        return array[None]
    return array.movedim(2, 0) if array.shape[2] in (1, 3) and array.shape[0] not in (1, 3) else array


def _fitted(image: Image.Image, shape: Sequence[int] | None) -> Tensor:
    channels = shape[0] if shape else 3
    image = image.convert("L" if channels == 1 else "RGB")
    if shape is not None and len(shape) == 3 and (image.height, image.width) != tuple(shape[1:]):
        height, width = shape[1:]
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
        box = (left, top, left + scale * width, top + scale * height)
        image = image.resize((width, height), Image.Resampling.BICUBIC, box)
    array = torch.from_numpy(np.array(image))
    return array[None] if array.ndim == 2 else array.movedim(2, 0)


def clips_of(sounds: Sequence[Any], shape: Sequence[int] | None) -> list[Tensor]:
    """Recordings as `embed_speech` takes them.

    Args:
        sounds: waveforms at 16 kHz, floats of shape (samples,); paths of sound files; mappings with "array" and
            "sampling_rate"; or log-mel frames, floats of shape (t, bands).
        shape: () for waveforms and (bands,) for log-mel frames, see `common.batches.inputs`.

    Returns:
        Frames or waveforms. The latter are as loud as they are given: where training standardized them (LibriSpeech),
        so must they be.

    Raises:
        UserError: frames of another width or for a method that hears waveforms, or a file is no sound.
    """
    return [_clip(sound, shape) for sound in sounds]


def _clip(sound: Any, shape: Sequence[int] | None) -> Tensor:
    rate = RATE
    if isinstance(sound, str | Path):
        try:
            sound = decode(Path(sound).read_bytes())
        except (OSError, RuntimeError) as error:  # soundfile's own is a RuntimeError
            raise UserError(f"{sound} cannot be read as a sound: {getattr(error, 'strerror', None) or error}") from None
    if isinstance(sound, Mapping):
        sound, rate = sound["array"], int(sound["sampling_rate"])
    clip = torch.as_tensor(sound).float()
    if clip.ndim == 1 and rate != RATE:
        clip = resample(clip, rate, RATE)
    if clip.ndim not in (1, 2):
        raise UserError(f"a recording is of shape {tuple(clip.shape)}; it must be (samples,) or (frames, bands)")
    if shape is None:
        if clip.ndim == 1:
            raise UserError(
                "the checkpoint does not say whether it hears waveforms or log-mel frames; give frames of "
                "common.audio.log_mel, or train it once more"
            )
        return clip
    if clip.ndim == 1:
        return log_mel(clip) if shape else clip
    if list(clip.shape[1:]) != list(shape):
        wanted = f"frames of {shape[0]} bands" if shape else "a waveform"
        raise UserError(f"a recording has frames of {clip.shape[1]} bands; it must be {wanted}")
    return clip
