"""Prefix prompts: keys and values before those of the text, in every layer of a transformer that stays as it is."""

import copy

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from common.errors import UserError


class PrefixedBody(nn.Module):
    """A frozen body of transformers that attends to trained keys and values as well (Liu et al. 2022, P-tuning v2).

    Takes the place of the body of a `TokenPooling` and gives back the states of the text alone. Frozen is not still:
    in training mode the body's dropout acts, and at the same rate a dropout of the prefix, drawn for each text.
    The text's positions begin behind the prefix, as transformers counts them, in training and scoring.

    Args:
        body: an encoder that takes `past_key_values`, such as BERT; its weights get no gradient from now on.
        length: p, keys and values of the prefix in each layer.

    Raises:
        UserError: the length is not from 1 to what leaves the text 3 positions.
    """

    def __init__(self, body: PreTrainedModel, length: int) -> None:
        super().__init__()
        most = body.config.max_position_embeddings - 3
        if not 1 <= length <= most:
            raise UserError(f"model.prefix is {length}; it must be from 1 to {most}, since texts stand behind it")
        # What is left of the position table is what a text may have.
        self.config = copy.copy(body.config)
        self.config.max_position_embeddings -= length
        self.body = body.requires_grad_(False)
        self.length = length
        # The layout of the released checkpoints: layer by layer the keys of all heads, then the values.
        self.table = nn.Parameter(torch.empty(length, 2 * self.config.num_hidden_layers * self.config.hidden_size))
        nn.init.normal_(self.table, std=self.config.initializer_range)
        self.dropout = nn.Dropout(self.config.hidden_dropout_prob)

    @property
    def device(self) -> torch.device:
        return self.body.device

    @property
    def embeddings(self) -> nn.Module:
        """The body's own embedding layer."""
        return self.body.embeddings

    def prefix(self, texts: int) -> Tensor:
        """Keys and values in turn, layer by layer, (2 layers, texts, heads, p, width of a head)."""
        heads = self.config.num_attention_heads
        rows = self.dropout(self.table.expand(texts, -1, -1))
        split = rows.view(texts, self.length, 2 * self.config.num_hidden_layers, heads, -1)
        return split.permute(2, 0, 3, 1, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options):
        """As the body's, with ids and mask of shape (n, t)."""
        rows, columns = input_ids.shape
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self.prefix(rows).split(2)):
            cache.update(keys, values, layer)
        seen = torch.cat([attention_mask.new_ones(rows, self.length), attention_mask], dim=1).bool()
        # Whole, one row of it a query: transformers would take the length of the text for that of the keys.
        whole = seen[:, None, None].expand(-1, -1, columns, -1)
        return self.body(input_ids=input_ids, attention_mask=whole, past_key_values=cache, **options)
