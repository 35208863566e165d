"""The shape of what a batch holds, for who meets raw data later."""

from typing import Any

from common.batches.audio import SpeechTranslations, SpeechViews, SpokenCaptions, TranscribedSpeech
from common.batches.image import CrossViews, Images, ImageText
from common.batches.sequence import CaptionedMotions


def inputs_of(batch: Any) -> dict[str, list[int]]:
    """The shape of one picture, (channels, height, width), and of one step of a recording, in a training batch.

    Returns:
        "image" with three numbers, or the channels alone where sizes differ; "speech" with the bands of a frame, or
        nothing for a waveform; "motion" with the channels of a frame. Other data need no making alike.
    """
    match batch:
        case Images() | ImageText():
            return {"image": list(batch.views.shape[2:])}
        case CrossViews():
            shapes = batch.query.shape[1:], batch.reference.shape[1:]
            return {"image": list(shapes[0] if shapes[0] == shapes[1] else shapes[0][:1])}
        case SpokenCaptions():
            return {"image": list(batch.pixels.shape[1:]), "speech": list(batch.speech.shape[2:])}
        case SpeechViews():
            return {"speech": list(batch.views.shape[3:])}
        case SpeechTranslations() | TranscribedSpeech():
            return {"speech": list(batch.speech.shape[2:])}
        case CaptionedMotions():
            return {"motion": list(batch.motion.shape[2:])}
    return {}
