"""ConST (Ye et al. 2022): speech and its transcript are drawn together where they enter the shared translator."""

from typing import Literal

from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from common.audio import BANDS
from common.batches import SpeechTranslations
from common.distributed import global_ratio
from common.encoders.audio import Wav2Vec2, mean_of_real
from common.encoders.sequence import Sequences
from common.encoders.speech_text import SpeechTextTransformer
from common.encoders.vocabulary import encoded
from common.errors import UserError
from common.losses import info_nce
from common.random import uniform
from common.training.method import Method
from papers.audio.const.vocabulary import TOKENS, read_vocabulary, tag

SPAN = 11
"""Frames of a masked span: 3,600 samples, the default of the released code."""
Hardening = Literal["none", "mask", "repeat", "cut_sequence", "cut_features"]


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
            or positions ("cut_sequence") or features ("cut_features") of both are set to 0 before the mean.
        hardness: share of what is masked, repeated or cut.
        label_smoothing: of the three cross-entropies.
        beam, max_tokens: of translating.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range.
    """

    contrastive = True

    def __init__(
        self,
        acoustic: Literal["log_mel", "wav2vec2"] = "log_mel",
        weights: str | None = None,
        vocabulary: str | None = None,
        vocab_size: int = 800,
        source: str = "en",
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 256,
        dropout: float = 0.1,
        channels: int = 256,
        weight: float = 1.0,
        temperature: float = 0.02,
        level: Literal["low", "high"] = "low",
        hardening: Hardening = "none",
        hardness: float = 0.2,
        label_smoothing: float = 0.1,
        beam: int = 1,
        max_tokens: int = 50,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if not 0 <= hardness < 1:
            raise UserError(f"model.hardness is {hardness}; it must be at least 0 and below 1")
        if level == "high" and hardening != "none":
            raise UserError(f"model.hardening is {hardening!r}; with model.level 'high' it must be 'none'")
        front = nn.Identity() if acoustic == "log_mel" else Wav2Vec2(weights)
        frame_width = BANDS if acoustic == "log_mel" else Wav2Vec2.output_dim
        self.network = SpeechTextTransformer(
            front, frame_width, vocab_size, TOKENS, width, layers, heads, feedforward, dropout, channels
        )
        self._vocabulary: Tokenizer | None = None

    def training_step(self, batch: SpeechTranslations, batch_idx: int) -> Tensor:
        network = self.network
        speech = Sequences.of_lengths(batch.speech, batch.length)
        source, target = self.tokenize(batch.transcript, batch.source), self.tokenize(batch.translation, batch.target)
        entered = network.enter_speech(speech), network.enter_text(source)
        spoken, written = (network.encode(one) for one in entered)
        # One denominator for all, as in the released code: the tokens of the translations.
        tokens = int((target[:, 1:] != TOKENS.pad).sum())
        losses = {
            "st": global_ratio(self.cross_entropy(spoken, target), tokens),
            "asr": global_ratio(self.cross_entropy(spoken, source), tokens),
            "mt": global_ratio(self.cross_entropy(written, target), tokens),
        }
        total = sum(losses.values())
        if weight := self.hparams["weight"]:
            pair = (
                (spoken, written)
                if self.hparams["level"] == "high"
                else self.harder(speech, source, *entered, batch.ids)
            )
            query, key = (F.normalize(mean_of_real(one), dim=1) for one in pair)
            losses["ctr"] = info_nce(query, key, temperature=self.hparams["temperature"])
            utterances_per_token = global_ratio(losses["ctr"].new_tensor(float(len(target))), tokens)
            total = total + weight * utterances_per_token * losses["ctr"]
        return self.log_loss(total, **losses)

    def cross_entropy(self, memory: Sequences, ids: Tensor) -> Tensor:
        """Of each token after the language, given those before it; the sum over tokens."""
        logits = self.network.decode(memory, ids[:, :-1]).flatten(0, 1)
        # fairseq spreads the smoothing over the other tokens, torch over all of them.
        smoothing = self.hparams["label_smoothing"] * logits.shape[1] / (logits.shape[1] - 1)
        return F.cross_entropy(
            logits, ids[:, 1:].flatten(), ignore_index=TOKENS.pad, label_smoothing=smoothing, reduction="sum"
        )

    def harder(
        self, speech: Sequences, source: Tensor, spoken: Sequences, written: Sequences, ids: Tensor
    ) -> tuple[Sequences, Sequences]:
        """What enters the shared encoder, or the same of a damaged utterance or transcript."""
        kind, share = self.hparams["hardening"], self.hparams["hardness"]

        def chosen(size: int, rate: float, key: int) -> Tensor:
            return uniform(ids, size, self.global_step, key) < rate

        if kind == "mask":
            starts = chosen(speech.values.shape[1], share / SPAN, 0).float()
            covered = F.max_pool1d(F.pad(starts, (SPAN - 1, 0)), SPAN, stride=1) > 0
            spoken = self.network.enter_speech(Sequences(speech.values * ~covered[:, :, None], speech.real))
        elif kind == "repeat":
            twice = chosen(source.shape[1], share, 1) & (source > TOKENS.end)
            rows = [row.repeat_interleave(1 + more) for row, more in zip(source, twice.long(), strict=True)]
            written = self.network.enter_text(pad_sequence(rows, batch_first=True, padding_value=TOKENS.pad))
        elif kind != "none":
            cut = []
            for number, (values, real) in enumerate((spoken, written), start=2):
                size = values.shape[1 if kind == "cut_sequence" else 2]
                kept = ~chosen(size, share, number)
                cut.append(Sequences(values * (kept[:, :, None] if kind == "cut_sequence" else kept[:, None]), real))
            spoken, written = cut
        return spoken, written

    def tokenize(self, texts: list[str], languages: list[str]) -> Tensor:
        """Ids with the language before and the end behind each text, padded, shape (n, t)."""
        if self._vocabulary is None:
            self._vocabulary = read_vocabulary(self.hparams["vocabulary"])
        first = [self._vocabulary.token_to_id(tag(language)) for language in languages]
        return encoded(self._vocabulary, texts, first).to(self.device)

    def _pooled(self, entered: Sequences) -> Tensor:
        return mean_of_real(self.network.encode(entered) if self.hparams["level"] == "high" else entered)

    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        return self._pooled(self.network.enter_speech(Sequences.padded(clips).to(self.device)))

    def embed_text(self, texts: list[str]) -> Tensor:
        ids = self.tokenize(texts, [self.hparams["source"]] * len(texts))
        return self._pooled(self.network.enter_text(ids))

    def translate_speech(self, clips: list[Tensor], language: str) -> list[str]:
        first, said = int(self.tokenize([""], [language])[0, 0]), []
        for start in range(0, len(clips), 64):
            speech = Sequences.padded(clips[start : start + 64]).to(self.device)
            memory = self.network.encode(self.network.enter_speech(speech))
            said += self.network.generate(memory, first, self.hparams["max_tokens"], self.hparams["beam"])
        return self._vocabulary.decode_batch(said)
