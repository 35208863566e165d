"""Pictures and texts encoded apart, comparable by cosine, and then fused by cross-attention."""

from typing import Literal, NamedTuple, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from common.distributed import Shards, gather
from common.encoders.pooling import Tokens
from common.encoders.pretrained import ARCHITECTURES, PretrainedFiles, load_exactly
from common.encoders.text import MaskedLMHead, TextEncoder
from common.encoders.weights import are_read
from common.errors import UserError

FusionName = Literal["mini", "tiny", "mini-bert", "bert-base-uncased"]
MINI = ARCHITECTURES["mini-bert"]._replace(hidden_size=96, heads=4, intermediate_size=384)
AFRESH = {"mini": MINI, "tiny": MINI._replace(layers=2, hidden_size=64, intermediate_size=128)}
"""Start from nothing; read the word pieces of mini-bert."""


class Encoded(NamedTuple):
    """`n` pictures or texts under their own encoder."""

    states: Tensor
    """Of each patch or token, that of the whole first, shape (n, t, d)."""
    mask: Tensor
    """1 at what is there and 0 at padding, int64 of shape (n, t)."""
    vector: Tensor
    """What is compared by cosine, of unit length, shape (n, e)."""

    def rows(self, index: Tensor) -> "Encoded":
        """Those at the positions `index`, in that order."""
        return Encoded(self.states[index], self.mask[index], self.vector[index])

    def gathered(self, layout: Shards) -> "Encoded":
        """Those of all processes in rank order, with gradient, padded to the longest."""
        if len(layout.sizes) == 1:
            return self
        longest = torch.tensor(self.states.shape[1], device=self.states.device)
        dist.all_reduce(longest, op=dist.ReduceOp.MAX)
        more = int(longest) - self.states.shape[1]
        states, mask = F.pad(self.states, (0, 0, 0, more)), F.pad(self.mask, (0, more))
        return Encoded(gather(states, layout), gather(mask, layout), gather(self.vector, layout))


Pair = tuple[Encoded, Encoded]
"""The pictures and the texts of a batch."""


class FusionEncoder(nn.Module):
    """A BERT cut in two: lower layers that read a text, upper layers that look at a picture as well.

    An upper layer attends to the text, then to the states of the picture (cross-attention), then feeds forward; it
    starts from the layer of the BERT it stands for, its cross-attention from nothing. As in ALBEF (Li et al. 2021).

    Args:
        name: whose layers; "mini" (3 of width 96) and "tiny" (2 of 64) are not pretrained.
        text_layers: lower layers; the rest fuse.
        image_width: of the picture's states.
        dropout: probability for hidden states and attention weights alike.
        max_length: tokens at which a text is cut.
        layers: of the whole; by default all that the name has.
        weights: folder with the name's files, as in `TextEncoder.named`.
        pretrained: starts from the name's weights. On the meta device they are never read.

    Raises:
        UserError: an unknown name, or no layer is left to read or to fuse.
    """

    def __init__(
        self,
        name: FusionName = "mini",
        text_layers: int = 1,
        image_width: int = 96,
        dropout: float = 0.1,
        max_length: int = 32,
        layers: int | None = None,
        weights: str | None = None,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        if name not in get_args(FusionName):
            raise UserError(f"text_encoder is {name!r}; it must be one of {', '.join(get_args(FusionName))}")
        shape = AFRESH.get(name) or ARCHITECTURES[name]
        layers = layers or shape.layers
        if not 1 <= text_layers < layers <= shape.layers:
            raise UserError(f"text_layers is {text_layers}; it must be from 1 to {layers - 1}, below {name}'s layers")
        self.width = shape.hidden_size
        self.vocab_size = shape.vocab_size
        self.files = PretrainedFiles(name, weights) if pretrained and name not in AFRESH else None
        if name in AFRESH:
            files = PretrainedFiles("mini-bert", weights)
            own = shape._replace(layers=text_layers)._asdict()
            self.text = TextEncoder(**own, dropout=dropout, max_length=max_length, tokenizer=files.tokenizer)
        else:
            self.text = TextEncoder.named(
                name, dropout=dropout, max_length=max_length, layers=text_layers, weights=weights, pretrained=pretrained
            )
        config = BertConfig.from_dict(self.text.body.config.to_dict())
        # Transformers has cross-attention in decoders alone, which would also hide what follows a token: see `fuse`.
        config.update(dict(num_hidden_layers=layers - text_layers, vocab_size=1, is_decoder=True))
        config.add_cross_attention, config._attn_implementation = True, "sdpa"
        self.layers = BertModel(config, add_pooling_layer=False).encoder.layer
        for layer in self.layers:
            layer.attention.self.is_causal = False
            if image_width != self.width:
                for part in ("key", "value"):
                    linear = nn.Linear(image_width, self.width)
                    nn.init.normal_(linear.weight, std=config.initializer_range)
                    nn.init.zeros_(linear.bias)
                    setattr(layer.crossattention.self, part, linear)
        if name in AFRESH:
            # BERT's deviation of 0.02 is meant for a width of 768. Here it would let next to nothing through, and the
            # first token would say the same of every text.
            for linear in filter(lambda part: isinstance(part, nn.Linear), self.modules()):
                nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        if self.files is not None and are_read(self.table):
            found = self.files.weights()
            for number, layer in enumerate(self.layers, start=text_layers):
                start = f"encoder.layer.{number}."
                own = {key.removeprefix(start): tensor for key, tensor in found.items() if key.startswith(start)}
                new = {key: tensor for key, tensor in layer.state_dict().items() if key.startswith("crossattention.")}
                load_exactly(layer, own | new, name)

    def tokenize(self, texts: list[str], whole: bool = False) -> Tokens:
        """The tokens of `texts`, cut at `max_length`, or whole: as far as there are positions."""
        return self.text.tokenize(texts, self.text.positions if whole else None)

    @property
    def table(self) -> Tensor:
        """The token table, shape (v, d)."""
        return self.text.body.embeddings.word_embeddings.weight

    def fusing(self) -> list[nn.Module]:
        """What `fuse` alone goes through."""
        return [self.layers]

    def states(self, tokens: Tokens) -> Tensor:
        """What the lower layers make of a text alone, (n, t, d)."""
        return self.text.hidden_states(tokens)[-1]

    def fuse(self, text: Tensor, mask: Tensor, image: Tensor) -> Tensor:
        """Texts that have seen their pictures.

        Args:
            text: `states` of n texts, (n, t, d).
            mask: 1 at tokens and 0 at padding, (n, t).
            image: states of n pictures, all there, (n, p, image_width).

        Returns:
            States of the tokens, (n, t, d).
        """
        visible = mask[:, None, None, :].bool()
        for layer in self.layers:
            text = layer(text, visible, image)
        return text


class VisionLanguageEncoder(nn.Module):
    """An image encoder, a `FusionEncoder`, and linear maps of both into one space, in which they are aligned first.

    Args:
        image: pixels to states (n, p, `image.width`), that of the whole first.
        fusion: the text's and the fused layers.
        embed_dim: width e of the common space.
        masked_lm: with a head that predicts hidden tokens; it starts from that of the BERT that the fusion starts from.
    """

    def __init__(self, image: nn.Module, fusion: FusionEncoder, embed_dim: int, masked_lm: bool = True) -> None:
        super().__init__()
        self.image = image
        self.fusion = fusion
        self.image_projection = nn.Linear(image.width, embed_dim)
        self.text_projection = nn.Linear(fusion.width, embed_dim)
        self.head = MaskedLMHead(fusion.width, fusion.vocab_size) if masked_lm else None
        if self.head is not None and fusion.files is not None and are_read(fusion.table):
            self.head.load(fusion.files.weights(), fusion.files.name)

    def images(self, pixels: Tensor) -> Encoded:
        """Encodes float pixels in [0, 1] of shape (n, c, h, w)."""
        states = self.image(pixels)
        mask = torch.ones(states.shape[:2], dtype=torch.int64, device=states.device)
        return Encoded(states, mask, F.normalize(self.image_projection(states[:, 0]), dim=-1))

    def texts(self, tokens: Tokens) -> Encoded:
        """Encodes what `FusionEncoder.text` has cut into tokens."""
        states = self.fusion.states(tokens)
        return Encoded(states, tokens.mask, F.normalize(self.text_projection(states[:, 0]), dim=-1))

    def read(self, texts: list[str]) -> Encoded:
        """Encodes texts that are not cut."""
        return self.texts(self.fusion.tokenize(texts, whole=True))

    def forward(self, pixels: Tensor, tokens: Tokens) -> tuple[Encoded, Encoded]:
        """Pictures and texts, each by themselves."""
        return self.images(pixels), self.texts(tokens)

    def fused(self, image: Encoded, text: Encoded) -> Tensor:
        """The state of the whole of each pair, (n, d)."""
        return self.fusion.fuse(text.states, text.mask, image.states)[:, 0]

    def fused_with_negatives(
        self, image: Encoded, text: Encoded, images: Tensor, texts: Tensor, layout: Shards
    ) -> tuple[Tensor, Tensor]:
        """Each of our n pairs, each text with another picture, and each picture with another text.

        Args:
            image, text: our pairs.
            images, texts: for each pair the row of the other picture and of the other text, among the pairs of all
                processes, int64 (n,).
            layout: of these.

        Returns:
            The state of the whole of each, (3n, d), and which of them are pairs, bool (3n,).
        """
        own = torch.arange(layout.total, device=images.device)[layout.own]
        left, right = torch.cat([own, images, own]), torch.cat([own, own, texts])
        states = self.fused(image.gathered(layout).rows(left), text.gathered(layout).rows(right))
        return states, left == right

    def fused_pairs(self, image: Encoded, text: Encoded, pairs: Tensor, at_once: int = 256) -> Tensor:
        """`fused` for any pairs (row of the pictures, row of the texts), int64 (p, 2); shape (p, d)."""
        # Part by part: a pair carries a copy of its picture's states.
        parts = pairs.split(at_once)
        return torch.cat([self.fused(image.rows(part[:, 0]), text.rows(part[:, 1])) for part in parts])

    def token_logits(self, tokens: Tokens, image: Encoded, asked: Tensor) -> Tensor:
        """Scores of all words at the m tokens that are `asked` for, boolean (n, t), given the pictures, (m, v)."""
        states = self.fusion.fuse(self.fusion.states(tokens), tokens.mask, image.states)
        return self.head(states[asked], self.fusion.table)
