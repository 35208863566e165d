"""The typed batches that benchmarks yield and methods consume, by modality.

They are named tuples, so that Lightning moves them between devices by itself. `ids` are global sample ids: positives,
false-negative filters and per-sample random numbers are all keyed by them, never by a position in the batch.
"""

from common.batches.audio import SpeechTranslations, SpeechViews, SpokenCaptions, TranscribedSpeech
from common.batches.graph import Graph, HeteroGraph, Interactions, Triples
from common.batches.image import CrossViews, Images, ImageText
from common.batches.sequence import CaptionedMotions, ProteinTexts, SignalTexts
from common.batches.text import (
    GradedPairs,
    LabelledTexts,
    MinedTexts,
    MultiLabelTexts,
    ParallelTexts,
    ParallelWords,
    SentenceParts,
    Sentences,
    SentenceTriplets,
    TaskTexts,
    TextPairs,
    Translations,
    WordPairs,
)
from common.batches.vector import Items, LabelledVectors, NumberQuestions
from common.batches.video import Demonstrations, VideoText

__all__ = [
    "CaptionedMotions",
    "CrossViews",
    "Demonstrations",
    "GradedPairs",
    "Graph",
    "HeteroGraph",
    "ImageText",
    "Images",
    "Interactions",
    "Items",
    "LabelledTexts",
    "LabelledVectors",
    "MinedTexts",
    "MultiLabelTexts",
    "NumberQuestions",
    "ParallelTexts",
    "ParallelWords",
    "ProteinTexts",
    "SentenceParts",
    "SentenceTriplets",
    "Sentences",
    "SignalTexts",
    "SpeechTranslations",
    "SpeechViews",
    "SpokenCaptions",
    "TaskTexts",
    "TextPairs",
    "TranscribedSpeech",
    "Translations",
    "Triples",
    "VideoText",
    "WordPairs",
]
