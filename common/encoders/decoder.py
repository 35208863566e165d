"""A decoder of the Llama family as a text encoder: every token sees every token, and the mean of the states counts."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from common.encoders.pooling import TokenPooling, Tokens
from common.encoders.weights import are_read
from common.errors import UserError
from common.paths import as_path

REACH = 131_072
"""Positions that Llama 3.1 was trained to read."""
ROTATIONS = {
    **{"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 8192,
}
"""Those of Llama 3.1: slow ones are slowed down further, in texts of any length."""


class BidirectionalLlama(TokenPooling):
    """Llama without its causal mask, pooled by the mean over a text's tokens.

    Sizes are those of Llama 3.1 8B by default.

    Args:
        hidden_size, layers, heads, key_value_heads, intermediate_size, vocab_size: of the decoder.
        positions: the longest text that is read.
        max_length: tokens at which a text is cut in training.
        folder: with `tokenizer.json` and the weights in transformers' layout; None builds it untrained, without a
            tokenizer. On the meta device nothing is read.

    Raises:
        UserError: the folder is not there; a text is to be read without a tokenizer.
    """

    def __init__(
        self,
        *,
        hidden_size: int = 4096,
        layers: int = 32,
        heads: int = 32,
        key_value_heads: int = 8,
        intermediate_size: int = 14_336,
        vocab_size: int = 128_256,
        positions: int = 8192,
        max_length: int = 512,
        folder: str | None = None,
    ) -> None:
        config = LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=key_value_heads,
            max_position_embeddings=REACH,
            rms_norm_eps=1e-5,
            rope_parameters=dict(ROTATIONS),
            use_cache=False,
            attn_implementation="sdpa",
        )
        body = LlamaModel(config)
        super().__init__(body, hidden_size, "mean", max_length)
        self._positions, self._tokenizer = positions, None
        self._folder: Path | None = None
        if folder is not None and are_read(body.embed_tokens.weight):
            self._folder = as_path(folder, "model.encoder.folder")
            if not self._folder.is_dir():
                raise UserError(f"model.encoder.folder: there is no folder {self._folder}")
            self.body = LlamaModel.from_pretrained(self._folder, config=config, dtype=torch.float32)

    @property
    def positions(self) -> int:
        return self._positions

    def tokenize(self, texts: list[str], max_length: int | None = None) -> Tokens:
        if self._tokenizer is None:
            file = None if self._folder is None else self._folder / "tokenizer.json"
            if file is None or not file.is_file():
                raise UserError(f"model.encoder.folder is {self._folder}; it must hold tokenizer.json")
            self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.enable_truncation(max_length or self.max_length)
        self._tokenizer.enable_padding(pad_id=0, pad_token="<pad>")
        encoded = self._tokenizer.encode_batch(texts)
        ids, mask = ([getattr(line, name) for line in encoded] for name in ("ids", "attention_mask"))
        return Tokens(torch.tensor(ids, device=self.body.device), torch.tensor(mask, device=self.body.device))

    def hidden_states(self, tokens: Tokens) -> tuple[Tensor, ...]:
        # A mask of four dimensions is taken as it is: transformers adds its causal one to those of two alone.
        seen = tokens.mask.bool()[:, None, None, :].expand(-1, 1, tokens.mask.shape[1], -1)
        output = self.body(
            inputs_embeds=self.body.embed_tokens(tokens.ids), attention_mask=seen, output_hidden_states=True
        )
        return (*output.hidden_states[:-1], output.last_hidden_state)
