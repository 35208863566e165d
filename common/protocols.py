"""What a benchmark may ask of a method.

A method embeds; a benchmark scores. Any method with `embed_text` can stand on any text benchmark, and the same function
serves while training and after loading a checkpoint. Rows are returned as the method would compare them by cosine;
benchmarks normalize, so methods need not.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from common.batches import Graph, HeteroGraph


def methods(protocol: type) -> list[str]:
    """The names of the methods that one of these protocols asks for."""
    return [name for name in vars(protocol) if not name.startswith("_")]


@runtime_checkable
class EmbedsText(Protocol):
    def embed_text(self, texts: list[str]) -> Tensor:
        """Returns one row per text, shape (n, d)."""
        ...


@runtime_checkable
class EmbedsQuery(Protocol):
    """Of a dual encoder whose queries have a tower or a prefix of their own; `embed_text` embeds the documents."""

    def embed_query(self, texts: list[str]) -> Tensor:
        """Returns one row per query, shape (n, d)."""
        ...


@runtime_checkable
class ScoresTextPairs(Protocol):
    """Of a model that reads two texts together, or that is scored by its own likeness of them."""

    def score_text_pairs(self, first: list[str], second: list[str]) -> Tensor:
        """Returns how alike the two texts of each pair are, the higher the more, shape (n,)."""
        ...


@runtime_checkable
class ClassifiesText(Protocol):
    def classify_text(self, texts: list[str]) -> Tensor:
        """Returns class scores, shape (n, classes)."""
        ...


@runtime_checkable
class ListsTopics(Protocol):
    def topic_words(self, count: int) -> list[list[str]]:
        """Returns the `count` weightiest words of each topic, in lower case, weightiest first."""
        ...


@runtime_checkable
class AlignsWords(Protocol):
    def align_words(self, source: list[list[str]], target: list[list[str]]) -> list[set[tuple[int, int]]]:
        """Returns for each pair of sentences the links (source word, target word), both counted from 0."""
        ...


@runtime_checkable
class EmbedsImage(Protocol):
    def embed_image(self, pixels: Tensor) -> Tensor:
        """Takes uint8 pixels of shape (n, c, h, w) and returns one row per image, shape (n, d)."""
        ...


@runtime_checkable
class ProjectsImage(Protocol):
    """Of a method whose loss compares other vectors than those that are embedded, such as those above a head."""

    def project_image(self, pixels: Tensor) -> Tensor:
        """Takes uint8 pixels of shape (n, c, h, w) and returns the vectors that the loss compares, shape (n, d)."""
        ...


@runtime_checkable
class ShowsFeatures(Protocol):
    """Of a method with a layer between its encoder and what it embeds: a linear map is fitted below that layer."""

    def image_features(self, pixels: Tensor) -> Tensor:
        """Takes uint8 pixels of shape (n, c, h, w) and returns the encoder's own vectors, shape (n, d)."""
        ...


@runtime_checkable
class EmbedsVideo(Protocol):
    def embed_video(self, frames: Tensor) -> Tensor:
        """Takes uint8 frames of shape (n, f, c, h, w) and returns one row per clip, shape (n, d)."""
        ...


@runtime_checkable
class RanksPairs(Protocol):
    """Of a model that looks at picture and text together and says how well they fit; used to re-rank a shortlist."""

    def match_scores(self, pixels: Tensor, texts: list[str], pairs: Tensor) -> Tensor:
        """Scores pairs of a picture and a text.

        Args:
            pixels: uint8, shape (n, c, h, w), or frames of shape (n, f, c, h, w); each is to be encoded once.
            texts: m texts.
            pairs: (row of pixels, row of texts), int64 of shape (p, 2).

        Returns:
            One score per pair, the higher the better, shape (p,).
        """
        ...


@runtime_checkable
class EmbedsRegions(Protocol):
    """Of a model that tells a part of a picture from the rest of it."""

    def embed_regions(self, pixels: Tensor, boxes: Tensor, rows: Tensor) -> Tensor:
        """Embeds what is inside of boxes.

        Args:
            pixels: uint8, shape (n, c, h, w), which may be larger than those that were trained on.
            boxes: left, top, right, bottom in pixels, the last two exclusive, int64 of shape (b, 4).
            rows: the picture of each box, int64 of shape (b,).

        Returns:
            One row per box, shape (b, d).
        """
        ...


@runtime_checkable
class EmbedsRelated(Protocol):
    """Of a model to which two pictures may be alike in one respect and not in another."""

    def embed_related(self, pixels: Tensor, texts: list[str], relations: list[str]) -> tuple[Tensor, Tensor]:
        """Takes uint8 pixels of shape (n, c, h, w), their captions, and r respects in which they are to be compared.

        Returns one row per picture and one per caption in each of these respects, shape (r, n, d) each.
        """
        ...


@runtime_checkable
class Captions(Protocol):
    def captions(self, pixels: Tensor) -> list[str]:
        """Takes uint8 pixels of shape (n, c, h, w), or frames, and returns one caption each, without sampling."""
        ...


@runtime_checkable
class ScoresCaptions(Protocol):
    def caption_log_likelihood(self, pixels: Tensor, texts: list[str]) -> Tensor:
        """Takes uint8 pixels of shape (n, c, h, w) and a caption of each; returns the mean log-likelihood of a word.

        One number per caption, in nats, shape (n,); where a text ends counts as a word.
        """
        ...


@runtime_checkable
class ClassifiesImage(Protocol):
    def classify_image(self, pixels: Tensor) -> Tensor:
        """Takes uint8 pixels of shape (n, c, h, w) and returns class scores, shape (n, classes)."""
        ...


@runtime_checkable
class TellsQuantity(Protocol):
    def tell_image(self, pixels: Tensor) -> Tensor:
        """Takes uint8 pixels of shape (n, c, h, w), returns the quantity of each in the data's own unit, shape (n,)."""
        ...


@runtime_checkable
class TempersSamples(Protocol):
    def sample_temperature(self, ids: Tensor) -> Tensor:
        """Takes sample ids of the training set, (n,), and returns the temperature that each has learnt, (n,)."""
        ...


@runtime_checkable
class FillsBlanks(Protocol):
    def masked_accuracy(self, texts: Sequence[str]) -> float:
        """Returns the share of masked tokens of `texts` that are predicted right; the masks are the same each call."""
        ...


@runtime_checkable
class EmbedsMotion(Protocol):
    def embed_motion(self, motions: list[Tensor]) -> Tensor:
        """Takes motions of any length, floats of shape (t_i, c) on any device; returns one row per motion, (n, d)."""
        ...


@runtime_checkable
class EmbedsSpeech(Protocol):
    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        """Takes recordings of any length on any device and returns one row per recording, shape (n, d).

        A recording is what `common.audio.log_mel` makes, floats of shape (t_i, 40), or a waveform at 16 kHz, floats of
        shape (samples_i,), as the benchmark has it.
        """
        ...


@runtime_checkable
class TranscribesSpeech(Protocol):
    def transcribe_speech(self, clips: list[Tensor]) -> list[str]:
        """Takes recordings as `EmbedsSpeech` does and returns the words of each, in capitals."""
        ...


@runtime_checkable
class TranslatesSpeech(Protocol):
    def translate_speech(self, clips: list[Tensor], language: str) -> list[str]:
        """Takes recordings as `EmbedsSpeech` does and returns what they say in `language`, a code such as "fr"."""
        ...


@runtime_checkable
class ScoresTriples(Protocol):
    def score_tails(self, head: Tensor, relation: Tensor) -> Tensor:
        """Returns how true each entity makes the triple as its tail, shape (n, entities)."""
        ...

    def score_heads(self, tail: Tensor, relation: Tensor) -> Tensor:
        """Returns how true each entity makes the triple as its head, shape (n, entities)."""
        ...


@runtime_checkable
class ScoresItems(Protocol):
    def score_items(self, users: Tensor) -> Tensor:
        """Returns a score of every item for each user, shape (n, items)."""
        ...


@runtime_checkable
class EmbedsNodes(Protocol):
    def embed_nodes(self, graph: HeteroGraph) -> Tensor:
        """Returns one row per node of interest, shape (n, d)."""
        ...


@runtime_checkable
class EmbedsMusic(Protocol):
    def embed_music(self, music: list[str]) -> Tensor:
        """Takes tunes in ABC notation and returns one row per tune, shape (n, d)."""
        ...


@runtime_checkable
class EmbedsProtein(Protocol):
    def embed_protein(self, sequences: list[str]) -> Tensor:
        """Takes amino acids, one letter each, and returns one row per protein, shape (n, d)."""
        ...


@runtime_checkable
class DescribesProteins(Protocol):
    def describe_proteins(self, sequences: list[str]) -> list[str]:
        """Returns a text for each protein."""
        ...


@runtime_checkable
class AnswersNumbers(Protocol):
    def number_logits(self, given: Tensor) -> Tensor:
        """Takes the numbers of each question, int64 (n, g), and returns a score of every answer, shape (n, answers)."""
        ...


@runtime_checkable
class EmbedsSymbols(Protocol):
    def embed_symbols(self) -> Tensor:
        """Returns the learnt vector of each symbol, shape (symbols, d)."""
        ...


@runtime_checkable
class EmbedsItems(Protocol):
    def embed_items(self, ids: Tensor, side: int) -> Tensor:
        """Returns the learnt vector of each item on side 0 or 1, as of a picture and its text: (n, d)."""
        ...


@runtime_checkable
class EmbedsVectors(Protocol):
    def embed_vectors(self, x: Tensor) -> Tensor:
        """Takes vectors of shape (n, d) and returns one row for each, shape (n, e)."""
        ...


@runtime_checkable
class ClassifiesVectors(Protocol):
    def classify_vectors(self, x: Tensor) -> Tensor:
        """Takes vectors of shape (n, d) and returns class scores, shape (n, classes)."""
        ...


@runtime_checkable
class EmbedsGraph(Protocol):
    def embed_graph(self, graph: Graph) -> Tensor:
        """Returns one row per node, shape (n, d)."""
        ...


@runtime_checkable
class PredictsNodes(Protocol):
    def predict_nodes(self, graph: Graph) -> Tensor:
        """Returns one number per node, shape (n,); the graph's targets are hidden."""
        ...


@runtime_checkable
class EmbedsSignal(Protocol):
    def embed_signal(self, signal: Tensor) -> Tensor:
        """Takes recordings of shape (n, channels, time) and returns one row per recording, shape (n, d)."""
        ...


@runtime_checkable
class ActsOnPrompt(Protocol):
    def act(self, prompt: Tensor, frames: Tensor) -> Tensor:
        """Returns a score of each action, shape (n, actions).

        Takes the video of what is to be done, uint8 (n, frames, channels, height, width), and the last picture and the
        present one, uint8 (n, 2, channels, height, width).
        """
        ...
