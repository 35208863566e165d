"""The typed batches that benchmarks yield and methods consume.

They are named tuples, so that Lightning moves them between devices by itself. `ids` are global sample ids: positives,
false-negative filters and per-sample random numbers are all keyed by them, never by a position in the batch.
"""

from typing import NamedTuple

from torch import Tensor


class Images(NamedTuple):
    """Augmented views of `n` images."""

    views: Tensor
    """Float pixels in [0, 1], shape (views, n, channels, height, width)."""
    labels: Tensor
    """Class of each image, shape (n,)."""
    ids: Tensor
    """Global sample id of each image, shape (n,)."""


class CrossViews(NamedTuple):
    """`n` places, each seen in two ways: from the street and from above, or on two maps."""

    query: Tensor
    """Float pixels in [0, 1] of what is to be located, shape (n, channels, h, w)."""
    reference: Tensor
    """Float pixels in [0, 1] of the map's own view, shape (n, channels, height, width)."""
    coordinates: Tensor
    """Latitude and longitude in degrees, shape (n, 2)."""
    places: Tensor
    """Global number of the place, each once in a batch, int64, shape (n,)."""
    ids: Tensor
    """Global sample id of each pair, shape (n,)."""


class ImageText(NamedTuple):
    """`n` pictures with their captions."""

    views: Tensor
    """Float pixels in [0, 1] of each augmented view, shape (views, n, channels, height, width)."""
    texts: list[list[str]]
    """A list of n captions for each language that takes part; most methods have one."""
    ids: Tensor
    """Global sample id of each picture, shape (n,)."""
    text_ids: Tensor
    """Global id of what the captions say: rows with equal ids are positives of each other, shape (n,)."""

    @property
    def pixels(self) -> Tensor:
        """The first view, shape (n, channels, height, width)."""
        return self.views[0]

    @property
    def text(self) -> list[str]:
        """The captions in the first language."""
        return self.texts[0]


class VideoText(NamedTuple):
    """`n` clips with their captions."""

    frames: Tensor
    """Float pixels in [0, 1], shape (n, frames, channels, height, width)."""
    texts: list[list[str]]
    """A list of n captions for each language that takes part; most methods have one."""
    verb_swapped: list[list[str]]
    """Lists of n captions in the first language that each tell of another verb: hard negatives, where asked for."""
    verbs: list[str]
    """What somebody does in each clip, in the words of the first language: "moves left"."""
    ids: Tensor
    """Global sample id of each clip, shape (n,)."""
    text_ids: Tensor
    """Global id of what the captions say: rows with equal ids are positives of each other, shape (n,)."""

    @property
    def text(self) -> list[str]:
        """The captions in the first language."""
        return self.texts[0]


class Sentences(NamedTuple):
    """`n` sentences without labels."""

    text: list[str]
    ids: Tensor
    """Global sample id of each sentence, shape (n,)."""

    def twice(self) -> list[str]:
        """The sentences followed by themselves, 2n rows: one forward pass gives each row its own dropout mask."""
        return [*self.text, *self.text]


class SentenceTriplets(NamedTuple):
    """`n` anchors, each with a positive and, where mined, a hard negative."""

    anchor: list[str]
    positive: list[str]
    negative: list[str]
    """One hard negative per anchor."""
    ids: Tensor
    """Global id of what the anchor says: rows with equal ids are positives of each other, shape (n,)."""


class LabelledTexts(NamedTuple):
    """`n` texts with their classes, as a batch or as a whole split."""

    text: list[str]
    labels: Tensor
    """Class of each text, -1 where the method is not to know it, int64 of shape (n,)."""
    domains: Tensor
    """Domain of each text, 0 in a benchmark that has but one, int64 of shape (n,)."""
    ids: Tensor
    """Global sample id of each text, shape (n,)."""

    def rows(self, index: Tensor) -> "LabelledTexts":
        """The texts at the positions `index`, in that order."""
        text = [self.text[i] for i in index.tolist()]
        return LabelledTexts(text, self.labels[index], self.domains[index], self.ids[index])


class TextPairs(NamedTuple):
    """`n` queries, each with the document that answers it, as a batch or as a whole split."""

    query: list[str]
    document: list[str]
    ids: Tensor
    """Global id of each pair, shape (n,)."""

    def rows(self, index: Tensor) -> "TextPairs":
        """The pairs at the positions `index`, in that order."""
        at = index.tolist()
        return TextPairs([self.query[i] for i in at], [self.document[i] for i in at], self.ids[index])


class ParallelWords(NamedTuple):
    """`n` sentences and their translations, cut into words."""

    source: list[list[str]]
    target: list[list[str]]
    ids: Tensor
    """Global id of each sentence, shape (n,)."""


class Translations(NamedTuple):
    """`n` sentences, each in two languages."""

    source: list[str]
    target: list[str]
    source_language: Tensor
    """Position of each source sentence's language in the benchmark's list, int64 of shape (n,)."""
    target_language: Tensor
    ids: Tensor
    """Global id of what each sentence says: rows with equal ids are translations of each other, shape (n,)."""


class MultiLabelTexts(NamedTuple):
    """`n` texts, each with the labels out of a fixed list that apply to it, as a batch or as a whole split."""

    text: list[str]
    positive: Tensor
    """Positions of the labels of each text, padded with -1, int64 of shape (n, p)."""
    ids: Tensor
    """Global sample id of each text, shape (n,)."""

    def rows(self, index: Tensor) -> "MultiLabelTexts":
        """The texts at the positions `index`, in that order."""
        return MultiLabelTexts([self.text[i] for i in index.tolist()], self.positive[index], self.ids[index])


class CaptionedMotions(NamedTuple):
    """`n` motions, each with a text that describes it."""

    motion: Tensor
    """Frames of c channels, padded with zeros to the longest motion, float of shape (n, t, c)."""
    length: Tensor
    """Frames of each motion, int64 of shape (n,)."""
    text: list[str]
    meaning: Tensor
    """Unit vectors whose cosines say how alike two texts are, shape (n, e)."""
    ids: Tensor
    """Global sample id of each motion, shape (n,)."""


class SpeechViews(NamedTuple):
    """Views of excerpts of `n` recordings, all of one length; frame by frame they show the same, clean or augmented."""

    views: Tensor
    """Log-mel frames or samples of a waveform, shape (views, n, t, bands) or (views, n, t)."""
    ids: Tensor
    """Global sample id of each recording, shape (n,)."""


class SpokenCaptions(NamedTuple):
    """`n` spoken captions of pictures."""

    speech: Tensor
    """Log-mel frames, zero at padding, shape (n, t, bands)."""
    length: Tensor
    """Frames of each recording, int64 of shape (n,)."""
    transcript: list[str]
    """What is said, in the language that it is said in."""
    caption: list[str]
    """The same in English."""
    pixels: Tensor
    """Float pixels in [0, 1], shape (n, 3, height, width)."""
    ids: Tensor
    """Global id of what is shown and said, shape (n,): rows with equal ids are positives of each other."""


class TranscribedSpeech(NamedTuple):
    """`n` utterances with their transcripts."""

    speech: Tensor
    """Samples of a waveform, zero at padding, shape (n, t)."""
    length: Tensor
    """Samples of each utterance, int64 of shape (n,)."""
    transcript: list[str]
    """In capitals, without punctuation but the apostrophe."""
    ids: Tensor
    """Global sample id of each utterance, shape (n,)."""


class SpeechTranslations(NamedTuple):
    """`n` utterances with their transcripts and translations."""

    speech: Tensor
    """Log-mel frames, or samples of a waveform, zero at padding, shape (n, t, bands) or (n, t)."""
    length: Tensor
    """Frames or samples of each utterance, int64 of shape (n,)."""
    transcript: list[str]
    translation: list[str]
    source: list[str]
    """Language of each utterance, such as "en"."""
    target: list[str]
    """Language of each translation."""
    ids: Tensor
    """Global sample id of each utterance, shape (n,)."""


class Triples(NamedTuple):
    """`n` facts of a knowledge graph."""

    head: Tensor
    """Number of the entity, int64 of shape (n,)."""
    relation: Tensor
    tail: Tensor
    ids: Tensor
    """Global id of each triple, shape (n,)."""


class Interactions(NamedTuple):
    """`n` pairs of a user and an item that the user likes."""

    user: Tensor
    """Number of the user, int64 of shape (n,)."""
    item: Tensor
    ids: Tensor
    """Global id of each pair, shape (n,)."""


class HeteroGraph(NamedTuple):
    """A graph of `n` nodes of interest, joined by way of nodes of other kinds. It is whole in every batch."""

    features: Tensor
    """Of every node of interest, shape (n, f)."""
    edges: tuple[Tensor, ...]
    """For each other kind, (node of interest, node of that kind), int64 of shape (2, e)."""
    ids: Tensor
    """The nodes of interest that this step is about, shape (b,)."""


class ProteinTexts(NamedTuple):
    """`n` proteins and what they are called, as a batch or as a whole split."""

    sequence: list[str]
    """Amino acids, one letter each."""
    text: list[str]
    text_ids: Tensor
    """Number of each text: rows with equal ones have the same text and are positives of each other, shape (n,)."""
    ids: Tensor
    """Global id of each protein, shape (n,)."""

    def rows(self, index: Tensor) -> "ProteinTexts":
        """The proteins at the positions `index`, in that order."""
        at = index.tolist()
        sequence, text = ([column[i] for i in at] for column in (self.sequence, self.text))
        return ProteinTexts(sequence, text, self.text_ids[index], self.ids[index])


class NumberQuestions(NamedTuple):
    """`n` questions that are numbers and whose answer is one."""

    given: Tensor
    """The numbers of the question, int64 of shape (n, g)."""
    answer: Tensor
    """int64 of shape (n,)."""
    ids: Tensor
    """Global id of each question, shape (n,)."""


class LabelledVectors(NamedTuple):
    """Views of `n` vectors with what is known of them."""

    views: Tensor
    """Shape (views, n, d)."""
    labels: Tensor
    """The classes that a method may use, int64 of shape (n,); -1 where there are none."""
    ids: Tensor
    """Global sample id of each vector, shape (n,)."""


class Graph(NamedTuple):
    """A graph of `n` nodes. It is whole in every batch."""

    features: Tensor
    """Of every node, shape (n, f)."""
    edges: Tensor
    """Pairs of nodes, each edge in both directions, int64 of shape (2, e)."""
    target: Tensor
    """What is asked of each node, shape (n,); NaN where a method is not to know it."""
    ids: Tensor
    """The nodes that this step is about, shape (b,)."""


class SignalTexts(NamedTuple):
    """`n` recordings of several channels, each with a report."""

    signal: Tensor
    """Shape (n, channels, time)."""
    text: list[str]
    text_ids: Tensor
    """Number of each report: rows with equal ones have the same text, shape (n,)."""
    ids: Tensor
    """Global id of each recording, shape (n,)."""


class Demonstrations(NamedTuple):
    """`n` episodes of an expert, each with a video that shows the same mission done elsewhere."""

    prompt: Tensor
    """Pixels of the video, uint8, shape (n, frames, channels, height, width)."""
    frames: Tensor
    """What the expert saw before each action, uint8, shape (n, steps, channels, height, width)."""
    actions: Tensor
    """What it did, int64 of shape (n, steps)."""
    text: list[str]
    """The mission in words."""
    missions: Tensor
    """Number of the mission: rows with equal ones are positives of each other, int64 of shape (n,)."""
    ids: Tensor
    """Global id of each episode, shape (n,)."""
