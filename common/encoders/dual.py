"""The dual encoder: an image tower and a text tower into one space."""

import json
from typing import Literal, get_args

from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.names import OwnEncoder, check_encoder
from common.encoders.norms import with_global_statistics
from common.encoders.own import own_text_encoder
from common.encoders.pooling import Read
from common.encoders.text import TextEncoder
from common.encoders.text_tower import ClipTextTower, TextTower, TokenizerName
from common.encoders.weights import read_file
from common.encoders.word_tower import WordTower
from common.errors import UserError

TextTowerName = (
    Literal["mini", "base", "clip", "bert_base", "bert_large", "bag_of_words", "bag_of_many_words", "word_transformer"]
    | OwnEncoder
    | str
)
"""One of these, or an encoder of one's own: `OwnEncoder`, or its name alone."""
TEXT_TOWERS = {"mini": {"width": 128, "layers": 2, "heads": 4}, "base": {"width": 768, "layers": 12, "heads": 12}}
BERT_TOWERS = {"bert_base": "bert-base-uncased", "bert_large": "bert-large-uncased"}
WORD_TOWERS = {
    "bag_of_words": {"layers": 0},
    "bag_of_many_words": {"layers": 0, "rows": 1 << 14},
    "word_transformer": {"layers": 1},
}


class DualEncoder(nn.Module):
    """Pictures and texts as unit vectors that a loss compares and a benchmark retrieves by.

    Args:
        image: name of the image tower.
        text: name of the text tower: "mini" (2 layers of width 128), "base" (12 of 768), "clip", CLIP's own, or, of
            whole words and width 64, "bag_of_words", "bag_of_many_words" (for several languages: hardly two words share
            a row of the table) and "word_transformer" (one layer), see `WordTower`. Or "bert_base" or "bert_large": the
            first state of that BERT, from random weights, under a linear map. Or an encoder of one's own, see
            `OwnEncoder`, under a linear map into the common space where its width differs.
        embed_dim: width e of the common space. The image tower gets a linear map into it where its own width differs.
        channels, width, image_size: of the image tower, see `image_encoder`.
        text_length, tokenizer: of the text tower, see `TextTower`; towers over words have no use for a tokenizer.
    """

    def __init__(
        self,
        image: ImageEncoderName = "small_resnet",
        text: TextTowerName = "mini",
        embed_dim: int = 64,
        channels: int = 3,
        width: int = 16,
        image_size: int = 32,
        text_length: int = 16,
        tokenizer: TokenizerName = "wordpiece",
    ) -> None:
        super().__init__()
        check_encoder("text_encoder", text, get_args(get_args(TextTowerName)[0]))
        self.image = with_global_statistics(image_encoder(image, channels, width, image_size))
        same = self.image.output_dim == embed_dim
        self.projection = nn.Identity() if same else nn.Linear(self.image.output_dim, embed_dim)
        words = dict(output_dim=embed_dim, length=text_length)
        if isinstance(text, str) and text in WORD_TOWERS:
            self.text = WordTower(**WORD_TOWERS[text], **words)
        elif isinstance(text, str) and text in BERT_TOWERS:
            bert = TextEncoder.named(BERT_TOWERS[text], max_length=text_length, pretrained=False)
            self.text = nn.Sequential(bert, nn.Linear(bert.width, embed_dim))
        elif text == "clip":
            self.text = ClipTextTower(**words, tokenizer=tokenizer)
        elif isinstance(text, str) and text in TEXT_TOWERS:
            self.text = TextTower(**TEXT_TOWERS[text], **words, tokenizer=tokenizer)
        else:
            own = own_text_encoder(text, "mean", None, text_length)
            same = own.output_dim == embed_dim
            self.text = nn.Sequential(own, nn.Identity() if same else nn.Linear(own.output_dim, embed_dim))

    @classmethod
    def named(cls, name: str, weights: str | None = None) -> "DualEncoder":
        """A trained one: "mini-clip" of this repository, or any in the same layout.

        Args:
            name: the checkpoint's name.
            weights: folder with `config.json` and `model.safetensors`; by default see `weights.read_file`.

        Raises:
            UserError: a file is missing.
        """
        encoder = cls(**json.loads(read_file(name, "config.json", weights)))
        # Stored in half precision; loading casts to what the model has.
        encoder.load_state_dict(load(read_file(name, "model.safetensors", weights)))
        return encoder

    def images(self, pixels: Tensor) -> Tensor:
        """Unit vectors (n, e) from float pixels in [0, 1] of shape (n, c, h, w)."""
        return F.normalize(self.projection(self.image(pixels)), dim=-1)

    def texts(self, texts: list[str]) -> Tensor:
        """Unit vectors (n, e)."""
        return F.normalize(self.text(texts), dim=-1)

    def read_images(self, pixels: Tensor) -> Read:
        """Vectors (n, e) before they are normalized, and the tower's states, from pixels as in `images`."""
        found = self.image.with_states(pixels)
        return found._replace(vector=self.projection(found.vector))

    def read_texts(self, texts: list[str]) -> Read:
        """Vectors (n, e) before they are normalized, and the tower's states."""
        return self.text.with_states(texts)

    def state_dims(self) -> tuple[int, int]:
        """Widths of the states that `read_images` and `read_texts` give.

        Raises:
            UserError: a tower has no states.
        """
        have = {
            "image_encoder": "small_convnet has",
            "text_encoder": "those over words have, such as word_transformer,",
        }
        for (name, there), tower in zip(have.items(), (self.image, self.text), strict=True):
            if not hasattr(tower, "with_states"):
                raise UserError(f"model.{name} must be one with states to attend to, which {there} so far")
        return self.image.state_dim, self.text.state_dim

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Unit vectors (n, e) from uint8 pixels of shape (n, c, h, w)."""
        return self.images(to_float(pixels))
