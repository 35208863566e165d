"""Encoders of one's own: any module by its class path, and the models of timm and transformers, as thin adapters.

What a model is fed, and how its output becomes one vector, is taken from its own configuration. Nothing but plain
values and safetensors is read, and no code that comes with a model is run.
"""

import importlib
import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.encoders.adapting import adapted, one_line, optional
from common.encoders.names import OwnEncoder, as_own, check_encoder
from common.encoders.weights import are_read, named_by_file
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.experiments.schema import closest


class OwnImageEncoder(nn.Module):
    """A network behind the preprocessing that it was made for: pixels in, one vector a picture out.

    Args:
        body: maps normalized pixels of shape (n, channels, h, w) to vectors of shape (n, d).
        output_dim: d.
        size: height and width to which pictures are stretched where theirs differ; None takes them as they are.
        mean, deviation: by which each channel is normalized; none leaves pixels in [0, 1].
        bicubic: interpolates that way instead of linearly, as the configuration says.
        repeat: gives a picture of one channel three equal ones.
        frozen: neither trained nor ever in training mode.
    """

    def __init__(
        self,
        body: nn.Module,
        output_dim: int,
        *,
        size: tuple[int, int] | None = None,
        mean: tuple[float, ...] = (),
        deviation: tuple[float, ...] = (),
        bicubic: bool = False,
        repeat: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.body = body
        self.output_dim = output_dim
        self.size, self.bicubic, self.repeat, self.frozen = size, bicubic, repeat, frozen
        self.normalized = bool(mean)
        # The configuration's, not the weights': no checkpoint holds them.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)
        self.train()

    def train(self, mode: bool = True) -> "OwnImageEncoder":
        """A frozen encoder stays in eval mode."""
        return super().train(mode and not self.frozen)

    def prepared(self, pixels: Tensor) -> Tensor:
        """What the network sees of float pixels in [0, 1] of shape (n, channels, h, w)."""
        if self.size is not None and pixels.shape[-2:] != self.size:
            kind = "bicubic" if self.bicubic else "bilinear"
            pixels = F.interpolate(pixels, self.size, mode=kind, align_corners=False, antialias=True)
            pixels = pixels.clamp(0, 1) if self.bicubic else pixels
        if self.repeat:
            pixels = pixels.expand(-1, 3, -1, -1)
        return (pixels - self.mean) / self.deviation if self.normalized else pixels

    def forward(self, pixels: Tensor) -> Tensor:
        """Vectors (n, output_dim) from float pixels in [0, 1] of shape (n, channels, h, w)."""
        return self.body(self.prepared(pixels))


class OwnTextEncoder(nn.Module):
    """A module that maps a list of texts to vectors, with what methods ask of a text encoder.

    Args:
        body: maps n texts to vectors of shape (n, d).
        output_dim: d.
        frozen: neither trained nor ever in training mode.
    """

    def __init__(self, body: nn.Module, output_dim: int, *, frozen: bool = False) -> None:
        super().__init__()
        self.body = body
        self.width = self.output_dim = output_dim
        self.frozen = frozen
        self.train()

    def train(self, mode: bool = True) -> "OwnTextEncoder":
        """A frozen encoder stays in eval mode."""
        return super().train(mode and not self.frozen)

    def forward(self, texts: list[str]) -> Tensor:
        """The vector of each text, shape (n, d)."""
        return self.body(texts)

    @torch.no_grad()
    def embed(self, texts: list[str], batch_size: int = 64) -> Tensor:
        """The vectors of any number of texts in eval mode, shape (n, d)."""
        with evaluating(self):
            parts = [self.body(texts[i : i + batch_size]).float() for i in range(0, len(texts), batch_size)]
        return torch.cat(parts) if parts else torch.empty(0, self.width)


def own_image_encoder(encoder: OwnEncoder | str, channels: int, image_size: int = 32) -> OwnImageEncoder:
    """Builds the encoder that `encoder` describes.

    Args:
        channels: colour channels of the pictures. A class whose constructor has such an argument is given it.
        image_size: side of the picture by which the width of a class without an `output_dim` is found.

    Raises:
        UserError: there is no such model, class or folder; an extra is not installed; what it makes of a picture is
            no vector.
    """
    check_encoder("encoder", encoder, ())
    own = as_own(encoder)
    source, colon, name = own["name"].partition(":")
    preprocessing: dict[str, Any] = {}
    if source == "timm" and colon:
        _refuse(own, "pooling", "output_dim")
        body, preprocessing = _timm(own, name, channels)
    elif source == "transformers" and colon:
        from common.encoders.own_transformers import vision_model  # loads transformers

        _refuse(own, "output_dim")
        body, preprocessing = vision_model(own, name, channels)
    else:
        _refuse(own, "pooling", "pretrained")
        body = _of_class(own, channels=channels)
        if size := own.get("image_size"):
            preprocessing["size"] = (size, size)
    height, width = preprocessing.get("size") or (image_size, image_size)
    example = torch.zeros(1, 3 if preprocessing.get("repeat") else channels, height, width)
    output_dim = _width(own, body, example)
    return OwnImageEncoder(adapted(own, body), output_dim, **preprocessing, frozen=own.get("frozen", False))


def own_text_encoder(encoder: OwnEncoder | str, pooling: str, dropout: float | None, max_length: int) -> nn.Module:
    """Builds the encoder that `encoder` describes, with `width`, `forward` and `embed` as a `TextEncoder` has them.

    Args:
        pooling: of a transformers model, where neither `encoder` nor its folder says.
        dropout: of a transformers model, instead of its configuration's.
        max_length: tokens at which a transformers model cuts a text in training.

    Raises:
        UserError: as `own_image_encoder`; timm has no text encoders.
    """
    check_encoder("encoder", encoder, ())
    own = as_own(encoder)
    _refuse(own, "image_size")
    source, colon, name = own["name"].partition(":")
    if source == "timm" and colon:
        raise UserError(f"encoder is {own['name']!r}; timm has no text encoders")
    if source == "transformers" and colon:
        from common.encoders.own_transformers import text_model  # loads transformers

        _refuse(own, "output_dim")
        return text_model(own, name, pooling, dropout, max_length)
    _refuse(own, "pooling", "pretrained")
    body = _of_class(own)
    output_dim = _width(own, body, ["a text"])
    return OwnTextEncoder(adapted(own, body), output_dim, frozen=own.get("frozen", False))


def _refuse(own: OwnEncoder, *keys: str) -> None:
    for key in keys:
        if key in own:
            raise UserError(f"encoder.{key} is {own[key]!r}; {own['name']} does not take it")


def _of_class(own: OwnEncoder, **offered: Any) -> nn.Module:
    """The module of a class path, built with its `init_args` and what is offered, if its constructor names it."""
    module, _, name = own["name"].rpartition(".")
    if named_by_file() and module not in sys.modules:
        raise UserError(
            f"encoder is {own['name']!r}, which the file names and nothing has imported; import {module} first (on the "
            f"command line --import {module}), if you trust it"
        )
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"encoder is {own['name']!r}, which cannot be imported: {error}") from None
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise UserError(f"encoder is {own['name']!r}, which is no torch.nn.Module")
    taken = inspect.signature(cls).parameters
    arguments = {key: value for key, value in offered.items() if key in taken} | own.get("init_args", {})
    with one_line(own):
        return cls(**arguments)


def _timm(own: OwnEncoder, name: str, channels: int) -> tuple[nn.Module, dict[str, Any]]:
    """A model of timm without its classifier, pooled as it is made to be, and its preprocessing."""
    timm = optional("timm", "timm")
    if "/" in name and ":" not in name:
        name = f"local-dir:{name}"
    tagged = ":" in name or "." in name
    pretrained = own.get("pretrained", tagged) and are_read(torch.empty(0))
    if ":" not in name and not timm.is_model(name):
        raise UserError(f"encoder is 'timm:{name}'; timm has no such model{closest(name, timm.list_models())}")
    arguments = {"pretrained": pretrained, "num_classes": 0, "in_chans": channels} | own.get("init_args", {})
    size = own.get("image_size")
    with one_line(own):
        try:
            # Only where positions have a table does a model need to know.
            body = timm.create_model(name, **arguments, **({"img_size": size} if size else {}))
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            body = timm.create_model(name, **arguments)
        config = timm.data.resolve_model_data_config(body)
    mean, deviation = config["mean"], config["std"]
    if channels != len(mean):
        mean, deviation = ((sum(values) / len(values),) * channels for values in (mean, deviation))
    height_width = (size, size) if size else config["input_size"][-2:]
    bicubic = config["interpolation"] == "bicubic"
    return body, {"size": tuple(height_width), "mean": tuple(mean), "deviation": tuple(deviation), "bicubic": bicubic}


def _width(own: OwnEncoder, body: nn.Module, example: Any) -> int:
    """The width of the body's vectors: what it says, or what it makes of an example."""
    known = own.get("output_dim", getattr(body, "output_dim", None))
    if isinstance(known, int):
        return known
    try:
        # What the body keeps of this call may take part in training later.
        with evaluating(body), torch.inference_mode(False), torch.no_grad():
            vector = body(example)
    except Exception as error:
        shown = tuple(example.shape) if isinstance(example, Tensor) else repr(example)
        raise UserError(
            f"encoder {own['name']} fails on {shown}: {' '.join(str(error).split())[:200]}; if that is no input of "
            "its, encoder.output_dim must say how wide its vectors are"
        ) from None
    if not isinstance(vector, Tensor) or vector.ndim != 2 or len(vector) != 1:
        made = f"a tensor of shape {tuple(vector.shape)}" if isinstance(vector, Tensor) else type(vector).__name__
        raise UserError(f"encoder {own['name']} makes {made} of one input; it must be a vector, of shape (1, d)")
    return vector.shape[1]
