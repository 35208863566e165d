"""ConST (Ye et al. 2022): speech and its transcript are drawn together where they enter the shared translator."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from common.audio import BANDS
from common.batches import SpeechTranslations
from common.checks import check_number
from common.distributed import global_ratio
from common.encoders.audio import Wav2Vec2, mean_of_real
from common.encoders.sequence import Sequences
from common.encoders.speech_text import SpeechTextTransformer
from common.encoders.vocabulary import TOKENS
from common.errors import UserError
from common.losses import info_nce
from common.sampling.masking import silence_spans
from common.training.method import Method
from papers.audio.const.hardening import cut, repeat_tokens
from papers.audio.const.vocabulary import read_vocabulary, tag

SPAN = {"log_mel": 11, "wav2vec2": 3600}
"""Frames or samples of a masked span: 3,600 samples, the default of the released code."""


class ConST(Method):
    """Translates speech and text and recognizes speech by one transformer; a contrast ties speech to transcripts.

    L = L_ST + L_ASR + L_MT + weight * L_CTR; all are sums, divided by the number of target tokens. L_CTR makes each
    utterance find its transcript among those of the batch, by the cosine of their means over time.

    Args:
        acoustic: "log_mel" takes frames as they are; "wav2vec2" is the published encoder of waveforms.
        weights: folder with pretrained weights of "wav2vec2".
        vocabulary: file with the joint tokenizer; by default that of the telephone prompts.
        vocab_size: of that vocabulary.
        source: language of the speech, for embedding transcripts.
        width, layers, heads, feedforward, dropout, channels: as in `SpeechTextTransformer`.
        weight: of the contrast; 0 is plain multi-task learning.
        temperature: divides the cosines.
        level: "low", before the shared encoder, or "high", behind it, the paper's ablation.
        hardening: makes the positives harder: spans of the speech are "mask"ed, tokens of the transcript "repeat"ed,
            or positions ("sequence") or dimensions ("features") of both are cut before the mean.
        hardness: share of what is masked, repeated or cut.
        label_smoothing: of the three cross-entropies.
        beam, max_tokens: of translating.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range; when training starts, that the vocabulary is missing or of another size.
    """

    contrastive = True

    def __init__(
        self,
        *,
        acoustic: Literal["log_mel", "wav2vec2"] = "log_mel",
        weights: str | None = None,
        vocabulary: str | None = None,
        vocab_size: int = 800,
        source: str = "en",
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 192,
        dropout: float = 0.1,
        channels: int = 96,
        weight: float = 1.0,
        temperature: float = 0.02,
        level: Literal["low", "high"] = "low",
        hardening: Literal["none", "mask", "repeat", "sequence", "features"] = "none",
        hardness: float = 0.2,
        label_smoothing: float = 0.1,
        beam: int = 1,
        max_tokens: int = 50,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if not 0 <= hardness < 1:
            raise UserError(f"model.hardness is {hardness}; it must be at least 0 and below 1")
        check_number("model.label_smoothing", label_smoothing, least=0, most=1)
        if level == "high" and hardening != "none":
            raise UserError(f"model.hardening is {hardening!r}; with model.level 'high' it must be 'none'")
        front = nn.Identity() if acoustic == "log_mel" else Wav2Vec2(weights)
        frame_width = BANDS if acoustic == "log_mel" else Wav2Vec2.output_dim
        self.acoustic, self.source = acoustic, source
        self.weight, self.temperature, self.level = weight, temperature, level
        self.hardening, self.hardness = hardening, hardness
        self.label_smoothing = label_smoothing
        self.beam, self.max_tokens = beam, max_tokens
        self.vocabulary = read_vocabulary(vocabulary, vocab_size)
        self.network = SpeechTextTransformer(
            front, frame_width, vocab_size, TOKENS, width, layers, heads, feedforward, dropout, channels
        )

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.vocabulary.check()

    def training_step(self, batch: SpeechTranslations, batch_idx: int) -> Tensor:
        speech = Sequences.of_lengths(batch.speech, batch.length)
        source, target = self.tokenize(batch.transcript, batch.source), self.tokenize(batch.translation, batch.target)
        entered = self.network.enter_speech(speech), self.network.enter_text(source)
        encoded = spoken, written = tuple(self.network.encode(one) for one in entered)
        # As in the released code, recognition hears the utterance anew, and the contrast reads the transcript anew:
        # each under other dropout masks.
        again = self.network.encode(self.network.enter_speech(speech))
        # One denominator for all: the tokens of the translations, their language's included.
        tokens = (target != TOKENS.pad).sum()
        losses = {
            name: global_ratio(self.network.cross_entropy(memory, ids, self.label_smoothing), tokens)
            for name, memory, ids in (("st", spoken, target), ("asr", again, source), ("mt", written, target))
        }
        total = sum(losses.values())
        if self.weight:
            text = self.network.enter_text(source)
            pair = encoded if self.level == "high" else self.harder(speech, source, entered[0], text, batch.ids)
            query, key = (F.normalize(mean_of_real(one).float(), dim=1) for one in pair)
            losses["ctr"] = info_nce(query, key, temperature=self.temperature)
            utterances_per_token = global_ratio(losses["ctr"].new_tensor(float(len(target))), tokens)
            total = total + self.weight * utterances_per_token * losses["ctr"]
        return self.log_loss(total, **losses)

    def harder(
        self, speech: Sequences, source: Tensor, spoken: Sequences, written: Sequences, ids: Tensor
    ) -> tuple[Sequences, Sequences]:
        """What enters the shared encoder, or the same of a damaged utterance or transcript."""
        kind, share, key = self.hardening, self.hardness, self.key("hardening")
        if kind == "mask":
            masked = silence_spans(speech, ids, share, SPAN[self.acoustic], *key)
            spoken = self.network.enter_speech(masked)
        elif kind == "repeat":
            written = self.network.enter_text(repeat_tokens(source, ids, share, *TOKENS, *key))
        elif kind != "none":
            spoken, written = (cut(one, ids, share, kind, *key, side) for side, one in enumerate((spoken, written)))
        return spoken, written

    def tokenize(self, texts: list[str], languages: list[str]) -> Tensor:
        """Ids with the language before and the end behind each text, padded, shape (n, t)."""
        return self.vocabulary.ids(texts, [tag(language) for language in languages]).to(self.device)

    def _pooled(self, entered: Sequences) -> Tensor:
        return mean_of_real(self.network.encode(entered) if self.level == "high" else entered)

    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        return self._pooled(self.network.enter_speech(Sequences.padded(clips).to(self.device)))

    def embed_text(self, texts: list[str]) -> Tensor:
        return self._pooled(self.network.enter_text(self.tokenize(texts, [self.source] * len(texts))))

    def translate_speech(self, clips: list[Tensor], language: str) -> list[str]:
        first, said = self.vocabulary.id_of(tag(language)), []
        for start in range(0, len(clips), 64):
            speech = Sequences.padded(clips[start : start + 64]).to(self.device)
            memory = self.network.encode(self.network.enter_speech(speech))
            said += self.network.generate(memory, first, self.max_tokens, self.beam)
        return self.vocabulary.texts(said)
