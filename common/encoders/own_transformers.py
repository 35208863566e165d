"""Models of transformers as encoders: read from a folder or by a hub name, pooled and fed as their files say."""

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import cached_file, logging

from common.encoders.adapting import adapted, one_line
from common.encoders.names import OwnEncoder
from common.encoders.pooling import TokenPooling, Tokens
from common.encoders.weights import are_read
from common.errors import UserError

_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
_SENTENCE_TRANSFORMERS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}


class _Vision(nn.Module):
    """A vision model as a map from normalized pixels to vectors."""

    def __init__(self, model: nn.Module, pooling: str, interpolate: bool) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.options = {"interpolate_pos_encoding": True} if interpolate else {}

    def forward(self, pixels: Tensor) -> Tensor:
        output = self.model(pixel_values=pixels, **self.options)
        if self.pooling == "pooler":
            if getattr(output, "pooler_output", None) is None:
                raise UserError("it has no pooler, so encoder.pooling must be 'cls' or 'mean'")
            return output.pooler_output.flatten(1)
        states = output.last_hidden_state
        if states.ndim == 4:  # a map of features, (n, d, h, w)
            states = states.flatten(2).transpose(1, 2)
        return states[:, 0] if self.pooling == "cls" else states.mean(dim=1)


def vision_model(own: OwnEncoder, name: str, channels: int) -> tuple[nn.Module, dict[str, Any]]:
    """A vision model, or the vision tower of a dual one, with its preprocessing for `OwnImageEncoder`.

    Its vectors are those of its own pooler; but where that is the linear layer and tanh of BERT, which pretraining
    seldom reaches, the first token's last state, on which classifiers stand too.

    Raises:
        UserError: there is no such model, its files lack weights, or pictures have another number of channels.
    """
    model, fresh = _model(own, name, "vision_model", {})
    dense = any(isinstance(part, nn.Linear) for part in _pooler(model).modules())
    pooling = own.get("pooling", "cls" if dense else "pooler")
    if pooling not in ("pooler", "cls", "mean"):
        raise UserError(f"encoder.pooling is {pooling!r}; for pictures it must be 'pooler', 'cls' or 'mean'")
    _drop_pooler(own, model, pooling, fresh)
    wanted = getattr(model.config, "num_channels", 3)
    if channels != wanted and (channels, wanted) != (1, 3):
        raise UserError(f"encoder {own['name']} takes pictures of {wanted} channels; these have {channels}")
    known = _read(name, "preprocessor_config.json") or _read(name, "processor_config.json").get("image_processor", {})
    own_size = getattr(model.config, "image_size", None)
    size = own.get("image_size") or _side(known.get("crop_size")) or _side(known.get("size")) or _side(own_size)
    interpolates = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    plain = (0.5,) * wanted
    return _Vision(model, pooling, interpolates and size != _side(own_size)), {
        "size": None if size is None else (size, size),
        "mean": tuple(known.get("image_mean") or plain),
        "deviation": tuple(known.get("image_std") or plain),
        "bicubic": known.get("resample", 2) == 3,  # PIL's numbers
        "repeat": channels != wanted,
    }


def _side(size: Any) -> int | None:
    """One number for the many ways in which a configuration says how large a picture is."""
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return max(size) if isinstance(size, list | tuple) else size


class TransformersText(TokenPooling):
    """A text model of transformers, or the text tower of a dual one, with its own tokenizer.

    Args:
        model: takes ids and a mask.
        tokenizer: name of the tokenizer's files, read at the first use.
        pooling: as in `TextEncoder`, or "last", the state of a text's last token, or the model's own "pooler".
        max_length: as in `TextEncoder`.
        frozen: neither trained nor ever in training mode.
    """

    def __init__(self, model: nn.Module, tokenizer: str, pooling: str, max_length: int, frozen: bool) -> None:
        super().__init__(model, model.config.hidden_size, pooling, max_length)
        self.frozen = frozen
        self._name = tokenizer
        self._tokenizer: Tokenizer | None = None
        self.train()

    def train(self, mode: bool = True) -> "TransformersText":
        """A frozen encoder stays in eval mode."""
        return super().train(mode and not self.frozen)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, read at the first use: an encoder on the meta device needs none."""
        if self._tokenizer is None:
            with _quietly({"name": f"transformers:{self._name}"}):
                known = AutoTokenizer.from_pretrained(**_from(self._name))
                tokenizer = known.backend_tokenizer
                # Models that write texts end them, and pad with nothing.
                pad = known.pad_token or known.eos_token
                tokenizer.enable_padding(pad_id=tokenizer.token_to_id(pad), pad_token=pad)
            self._tokenizer = tokenizer
        return self._tokenizer

    @property
    def positions(self) -> int:
        table = getattr(self.body.config, "max_position_embeddings", None)
        if table is None:  # positions that know no end
            return max(self.max_length, 512)
        positions = getattr(getattr(self.body, "embeddings", None), "position_embeddings", None)
        # RoBERTa and its like begin to count behind the padding's own place.
        unused = getattr(positions, "padding_idx", None)
        return table if unused is None else table - unused - 1

    def tokenize(self, texts: list[str], max_length: int | None = None) -> Tokens:
        self.tokenizer.enable_truncation(min(max_length or self.max_length, self.positions))
        encoded = self.tokenizer.encode_batch(list(texts))
        device = next(self.body.parameters()).device
        ids = torch.tensor([line.ids for line in encoded], device=device)
        return Tokens(ids, torch.tensor([line.attention_mask for line in encoded], device=device))

    def vectors(self, tokens: Tokens) -> Tensor:
        if self.pooling == "pooler":
            return self.body(input_ids=tokens.ids, attention_mask=tokens.mask).pooler_output
        return super().vectors(tokens)

    def pool(self, states: tuple[Tensor, ...], mask: Tensor) -> Tensor:
        if self.pooling == "last":
            return states[-1][torch.arange(len(mask), device=mask.device), mask.sum(dim=1) - 1]
        return super().pool(states, mask)


def text_model(own: OwnEncoder, name: str, pooling: str, dropout: float | None, max_length: int) -> TransformersText:
    """The text model that `own` describes, see `own_text_encoder`.

    Raises:
        UserError: there is no such model, its files lack weights, or it has no such pooling.
    """
    own_dropout = {} if dropout is None else dict.fromkeys(_DROPOUTS, dropout)
    model, fresh = _model(own, name, "text_model", own_dropout)
    said = _read(name, "1_Pooling/config.json")
    theirs = next((ours for key, ours in _SENTENCE_TRANSFORMERS.items() if said.get(key)), pooling)
    pooling = own.get("pooling", theirs)
    _drop_pooler(own, model, pooling, fresh)
    return TransformersText(adapted(own, model), name, pooling, max_length, own.get("frozen", False))


def _model(own: OwnEncoder, name: str, tower: str, changed: dict[str, Any]) -> tuple[Any, bool]:
    """The model, or this tower of a dual one, and whether its pooler has no weights in its files.

    Args:
        changed: values for those of its configuration that it has; those of `init_args` it must have.
    """
    place = _from(name)
    with _quietly(own):
        config = AutoConfig.from_pretrained(**place)
        part = getattr(config, tower.replace("_model", "_config"), config)
        for key, value in own.get("init_args", {}).items():
            if not hasattr(part, key):
                raise UserError(f"encoder.init_args.{key} is {value!r}; {own['name']} has no such configuration")
            setattr(part, key, value)
        for key, value in changed.items():
            if hasattr(part, key):
                setattr(part, key, value)
        if not (own.get("pretrained", True) and are_read(torch.empty(0))):
            model, missing = AutoModel.from_config(config), []
        else:
            model, found = AutoModel.from_pretrained(
                **place, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            missing = sorted(found["missing_keys"])
    if getattr(config, "is_encoder_decoder", False):
        model = model.get_encoder()
    # A tower that is dropped may lack what it likes.
    inside = f"{tower}." if hasattr(model, tower) else ""
    others = [key for key in missing if key.startswith(inside) and "pooler." not in key]
    if others:
        raise UserError(f"encoder {own['name']}: its files lack {others[0]} and {len(others) - 1} other weights")
    model = getattr(model, tower, model)
    pooler_is_fresh = any("pooler." in key for key in missing)
    return model, pooler_is_fresh


def folder_weights(folder: Path) -> dict[str, Tensor]:
    """The weights in a folder of transformers, under the names that its modules have today, not those of the file.

    Raises:
        UserError: it holds no model that transformers knows, or none in safetensors.
    """
    with _quietly({"name": f"transformers:{folder}"}):
        model, found = AutoModel.from_pretrained(
            **_from(str(folder)), dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    return {key: tensor for key, tensor in model.state_dict().items() if key not in found["missing_keys"]}


@contextmanager
def _quietly(own: OwnEncoder) -> Iterator[None]:
    """Without the library's remarks and progress bars; what goes wrong is one line."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with one_line(own):
        yield


def _pooler(model: Any) -> nn.Module:
    pooler = getattr(model, "pooler", None)
    return nn.Identity() if pooler is None else pooler


def _drop_pooler(own: OwnEncoder, model: Any, pooling: str, fresh: bool) -> None:
    """Takes away a pooler that has weights and no use, since nothing trains them; refuses one without weights."""
    if pooling == "pooler" and fresh:
        raise UserError(f"encoder.pooling is 'pooler'; {own['name']} has no weights for one")
    if pooling != "pooler" and next(_pooler(model).parameters(), None) is not None:
        model.pooler = None


def _from(name: str) -> dict[str, Any]:
    """The arguments of `from_pretrained`; for a folder, nothing is asked of the network.

    Raises:
        UserError: it looks like a path, and there is no such folder.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return {"pretrained_model_name_or_path": str(folder), "local_files_only": True}
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"encoder is 'transformers:{name}'; there is no such folder")
    return {"pretrained_model_name_or_path": name}


def _read(name: str, file: str) -> dict[str, Any]:
    """A JSON file beside the model's, or nothing where it has none."""
    place = _from(name)
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    path = cached_file(place.pop("pretrained_model_name_or_path"), file, **place, **quiet)
    content = {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
