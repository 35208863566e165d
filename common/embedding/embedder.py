"""A trained method with one way in: texts, pictures or sounds, and out come vectors as numpy has them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from common.embedding.raw import clips_of, pixels_of
from common.encoders.text import FrozenTokenStates
from common.errors import UserError
from common.evaluation.embed import embed_dataset

if TYPE_CHECKING:
    from mteb.models import ModelMeta

KINDS = {
    "text": "texts",
    "query": "queries",
    "image": "pictures",
    "video": "clips",
    "speech": "speech",
    "motion": "motions",
    "music": "tunes",
    "protein": "proteins",
    "vectors": "vectors",
    "signal": "signals",
}
"""What can be embedded, each by the method `embed_<kind>` (see `common.protocols`), and a word for it."""
SOUNDS = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
_OF_BATCHES = {"text": "text", "image": "image", "audio": "speech"}
"""The columns of mteb's batches."""


class Embedder(nn.Module):
    """A trained method in eval mode; `encode` is what `mteb` and scikit-learn ask for.

    Args:
        method: what has `embed_text`, `embed_image`, ...; also found as `.method`.
        name: the paper's slug.
        inputs: what it was trained on, see `common.batches.inputs`.
    """

    def __init__(self, method: nn.Module, name: str, inputs: Mapping[str, Sequence[int]] | None = None) -> None:
        super().__init__()
        self.method = method
        self.name = name
        self.inputs = dict(inputs or {})
        self.eval()

    @property
    def kinds(self) -> list[str]:
        """What it embeds, of `KINDS`."""
        return [kind for kind in KINDS if callable(getattr(self.method, f"embed_{kind}", None))]

    @property
    def device(self) -> torch.device:
        return next((tensor.device for tensor in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    def encode(
        self,
        inputs: Any,
        *,
        batch_size: int = 64,
        normalize: bool = False,
        device: str | torch.device | None = None,
        kind: str | None = None,
        prompt_type: Any = None,
        task_metadata: Any = None,
        hf_split: str | None = None,
        hf_subset: str | None = None,
        show_progress_bar: bool | None = None,
    ) -> np.ndarray:
        """The vector of each input, in their order.

        Args:
            inputs: a list of texts; of pictures (of PIL, paths, or uint8 arrays, see `pixels_of`); of recordings
                (waveforms at 16 kHz, paths, or log-mel frames, see `clips_of`); or what another `embed_*` of the method
                takes. A `DataLoader` of mteb's batches too.
            batch_size: how many are embedded at a time.
            normalize: to length 1, so that dot products are cosines.
            device: where the module is moved first, and stays.
            kind: what the inputs are, of `KINDS`; by default it is told by the first of them.
            prompt_type: "query" takes a tower for queries where there is one, anything else that for documents.
            task_metadata, hf_split, hf_subset, show_progress_bar: what mteb passes on; they change nothing.

        Returns:
            float32 of shape (n, d).

        Raises:
            UserError: there are none, or the method does not embed such inputs.
        """
        if device is not None:
            self.to(device)
        if isinstance(inputs, str | bytes | Mapping):
            raise UserError(f"encode takes a list of inputs; it was given one {type(inputs).__name__}")
        if not hasattr(inputs, "__getitem__"):
            kind, inputs = self._joined(inputs, kind)
        if len(inputs) == 0:
            raise UserError("encode was given an empty list; there is nothing to embed")
        kind = self.check_kind(kind or self._told_by(inputs[0]))
        if kind == "text" and str(getattr(prompt_type, "value", prompt_type)) == "query" and "query" in self.kinds:
            kind = "query"
        with torch.random.fork_rng(devices=[]):
            rows = embed_dataset(self.batches(kind), inputs, batch_size, self.method)
        return (F.normalize(rows, dim=1) if normalize else rows).cpu().numpy()

    def check_kind(self, kind: str) -> str:
        """Whether the method embeds that.

        Raises:
            UserError: says what it embeds.
        """
        if kind not in self.kinds:
            told = ", ".join(f"{KINDS[one]} (embed_{one})" for one in self.kinds) or "nothing"
            raise UserError(
                f"{self.name}: {type(self.method).__name__} embeds {told}; not {KINDS.get(kind, repr(kind))}"
            )
        return kind

    def batches(self, kind: str) -> Callable[[Any], Tensor]:
        """What embeds one batch of raw inputs of that kind."""
        function = getattr(self.method, f"embed_{kind}")
        shape = self.inputs.get(kind)
        if kind == "image":
            return lambda images: function(pixels_of(images, shape).to(self.device))
        if kind == "speech":
            return lambda sounds: function([clip.to(self.device) for clip in clips_of(sounds, shape)])
        if kind == "motion":
            return lambda motions: function([torch.as_tensor(one).float().to(self.device) for one in motions])
        if kind == "video":
            return lambda rows: function(_stacked(rows).to(self.device))
        if kind in ("vectors", "signal"):
            return lambda rows: function(_stacked(rows).float().to(self.device))
        return lambda texts: self._forgotten(function([str(text) for text in texts]))

    def _forgotten(self, rows: Tensor) -> Tensor:
        """The rows; what a frozen encoder remembers of their texts would fill the memory."""
        for part in self.method.modules():
            if isinstance(part, FrozenTokenStates):
                part.forget()
        return rows

    def _told_by(self, first: Any) -> str:
        if isinstance(first, str):
            return next((kind for kind in ("text", "music", "protein") if kind in self.kinds), "text")
        if isinstance(first, Path):
            return "speech" if first.suffix.lower() in SOUNDS else "image"
        if isinstance(first, Image.Image):
            return "image"
        if isinstance(first, Mapping):
            return "speech"
        array = torch.as_tensor(first)
        if array.dtype == torch.uint8:
            return "image" if array.ndim < 4 else "video"
        likely = {1: ("vectors", "speech"), 2: ("speech", "motion", "signal")}.get(array.ndim, ())
        return next((kind for kind in likely if kind in self.kinds), "speech")

    def _joined(self, batches: Iterable[Any], kind: str | None) -> tuple[str | None, list[Any]]:
        """What stands in batches, in the first column that the method embeds."""
        found: list[Any] = []
        for batch in batches:
            if not isinstance(batch, Mapping):
                found.append(batch)
                continue
            column = next((c for c, of in _OF_BATCHES.items() if c in batch and of in self.kinds), None)
            if column is None:
                self.check_kind(next((of for c, of in _OF_BATCHES.items() if c in batch), "text"))
                raise UserError(f"a batch has {', '.join(map(str, batch))}; it must have {' or '.join(_OF_BATCHES)}")
            kind = kind or _OF_BATCHES[column]
            found += list(batch[column])
        return kind, found

    # What mteb asks of an encoder besides.

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines of all rows with all rows, (n, m)."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines row by row, (n,)."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(dim=1)

    @property
    def mteb_model_meta(self) -> "ModelMeta":
        """Under which name `mteb` keeps results."""
        from mteb.models import ModelMeta

        parameters = sum(tensor.numel() for tensor in self.parameters())
        about = {"name": f"contrastive-papers/{self.name}", "revision": "1", "n_parameters": parameters}
        return ModelMeta.create_empty(about | {"similarity_fn_name": "cosine", "framework": ["PyTorch"]})


def _stacked(rows: Any) -> Tensor:
    return torch.stack([torch.as_tensor(row) for row in rows])


def _unit(rows: Any) -> Tensor:
    tensor = torch.as_tensor(rows).float()
    return F.normalize(tensor if tensor.ndim == 2 else tensor[None], dim=1)
