"""Every spoken recording of the sources as log-mel frames: pictures' captions, telephone prompts, letters, names."""

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from common.audio import FRAMES, decode, log_mel
from data.cache import cached_tensors
from data.sources import asterisk_sounds, klettres, ktuberling, tuxpaint_stamps

SOURCES = (*tuxpaint_stamps.SOURCES, *asterisk_sounds.SOURCES, *klettres.SOURCES, *ktuberling.SOURCES)
CAPTION_LANGUAGES = ("be", "bg", "ca", "da", "el", "en", "es", "fr", "nl", "ro", "ru")
"""Languages in which Tux Paint's captions are spoken as they are written."""
NOISY = ("animals", "hobbies", "household", "military", "naturalforces", "sports", "vehicles")
"""Categories of stamps whose sounds are noises; some of the others speak."""
LONGEST = 12 * FRAMES
SHORTEST = FRAMES // 5
VERSION = 1
"""Of what makes frames of the sounds, and chooses them."""


class Recording(NamedTuple):
    """What is known of a recording."""

    source: str
    """ "stamp", "prompt", "letter", "syllable", "name" or "noise"."""
    voice: str
    """Package and language, such as "klettres/pt_BR": one speaker is assumed for each."""
    language: str
    """Its code without the country, such as "pt"."""
    key: str
    """What it stands for in its source: the stamp, the prompt, the letter, the syllable, the thing."""
    text: str
    """What is said, in the recording's own language; empty where no transcript is given."""


class Recordings(NamedTuple):
    """Recordings one after the other."""

    frames: Tensor
    """Log-mel frames of all, float16 of shape (frames, bands)."""
    starts: Tensor
    """First frame of each, and the end of the last, int64 of shape (n + 1,)."""
    known: list[Recording]

    def clip(self, index: int) -> Tensor:
        """One recording, float32 of shape (t, bands)."""
        return self.frames[self.starts[index] : self.starts[index + 1]].float()

    def lengths(self, index: Tensor) -> Tensor:
        """Frames of the recordings at `index`, int64 of shape (n,)."""
        return self.starts[index + 1] - self.starts[index]

    def padded(self, index: Tensor, offset: Tensor | None = None, longest: int = LONGEST) -> tuple[Tensor, Tensor]:
        """Several recordings as one tensor, zero behind the end of each.

        Args:
            index: which, int64 of shape (n,).
            offset: frames to leave out at the beginning of each, int64 of shape (n,); none by default.
            longest: frames after which a recording is cut.

        Returns:
            float32 of shape (n, t, bands) and the lengths, int64 of shape (n,), t the longest of them.
        """
        offset = torch.zeros_like(index) if offset is None else offset
        lengths = (self.lengths(index) - offset).clamp(max=longest)
        place = torch.arange(int(lengths.max()))
        real = place < lengths[:, None]
        at = torch.where(real, (self.starts[index] + offset)[:, None] + place, 0)
        return self.frames[at].float() * real[:, :, None], lengths


def read_recordings(data_root: str | None = None) -> Recordings:
    """All recordings of 0.2 to 12 s, each sound once, in a fixed order. Decoding takes minutes, once."""

    def build() -> dict[str, Tensor]:
        frames, known, seen = [], [], set()
        for recording, audio in _sound_files(data_root):
            file = hashlib.sha256(audio).digest()
            if file in seen:  # not decoded again
                continue
            clip = log_mel(decode(audio)).half()
            sound = hashlib.sha256(clip.numpy().data).digest()
            if SHORTEST <= len(clip) <= LONGEST and sound not in seen:
                frames.append(clip)
                known.append(recording)
            seen |= {file, sound}
        lengths = torch.tensor([0, *(len(clip) for clip in frames)])
        index = torch.frombuffer(bytearray(json.dumps(known).encode()), dtype=torch.uint8)
        return {"frames": torch.cat(frames), "starts": lengths.cumsum(0), "json": index}

    stored = cached_tensors("recordings", build, SOURCES, VERSION, data_root)
    known = [Recording(*row) for row in json.loads(stored["json"].numpy().tobytes())]
    return Recordings(stored["frames"], stored["starts"], known)


def _sound_files(data_root: str | None) -> Iterator[tuple[Recording, bytes]]:
    captions = {stamp.key: stamp.captions for stamp in tuxpaint_stamps.read_stamps(data_root)}
    for language, spoken in tuxpaint_stamps.read_stamp_speech(CAPTION_LANGUAGES, data_root).items():
        for key, audio in spoken.items():
            said = captions.get(key, {}).get(language, "")
            yield Recording("stamp", f"tuxpaint/{language}", language, key, said), audio
    for language in asterisk_sounds.LANGUAGES:
        transcripts = asterisk_sounds.read_transcripts(language, data_root)
        for key, audio in sorted(asterisk_sounds.read_clips(language, data_root).items()):
            if key in transcripts and not any(sign in transcripts[key] for sign in "[(<"):  # a description of a sound
                yield Recording("prompt", f"asterisk/{language}", language, key, transcripts[key]), audio
    for sound in klettres.read_letters_and_syllables(data_root):
        language, text = sound.language.partition("_")[0], sound.text.lower()
        yield Recording(sound.kind, f"klettres/{sound.language}", language, text, text), sound.audio
    for code, spoken in ktuberling.read_spoken_names(data_root).items():
        for key, audio in spoken.items():
            yield Recording("name", f"ktuberling/{code}", code.partition("@")[0], key, ""), audio
    for key, audio in tuxpaint_stamps.read_stamp_sounds(data_root).items():
        if key.partition("/")[0] in NOISY:
            yield Recording("noise", "", "", key, ""), audio
