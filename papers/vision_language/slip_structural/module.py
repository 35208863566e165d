"""SLIP (Lu 2025): CLIP on batches out of a graph, and linked products are drawn together by a second contrast."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.checks import check_number
from common.distributed import Exchange, Shards, gather, shards
from common.encoders.graph_attention import GraphAttention
from common.errors import UserError
from common.losses import soft_target_cross_entropy
from common.scores import Scores
from common.training.grad_cache import cached_forward
from papers.vision_language.clip.module import CLIP


class SLIP(CLIP):
    """CLIP's loss, and the same between the nodes of a graph, whose positives are neighbours in the batch.

    A pair is a node. The structural loss is ours, after the paper's overview figure: its equation was not to be seen.
    The graph shapes the towers in training; what is scored are the towers.

    Args:
        structure: weight of the structural loss.
        structure_temperature: of it; fixed.
        reading: what the nodes are. "fused", as in the figure: of picture and caption side by side, compared among each
            other. "modalities", as digests of the text have it: pictures with what their neighbours add, and captions
            likewise, compared with each other.
        attention: nodes attend to their neighbours; without it they are a linear map of their own pair. Only of
            "fused" ones.
        embed_dim, clip: the arguments of `CLIP`.

    Raises:
        UserError: a number or a name is out of range; in training, batches without links.
    """

    def __init__(
        self,
        *,
        structure: float = 1.0,
        structure_temperature: float = 0.1,
        reading: Literal["fused", "modalities"] = "fused",
        attention: bool = True,
        embed_dim: int = 64,
        **clip,
    ) -> None:
        super().__init__(embed_dim=embed_dim, **clip)
        check_number("model.structure", structure, above=0)
        check_number("model.structure_temperature", structure_temperature, above=0)
        if reading not in ("fused", "modalities"):
            raise UserError(f"model.reading is {reading!r}; it must be 'fused' or 'modalities'")
        if reading == "modalities" and not attention:
            raise UserError("model.attention is false; of the modalities nothing would be left but CLIP's own vectors")
        self.structure, self.structure_temperature = structure, structure_temperature
        self.fused = reading == "fused"
        inputs = [2 * embed_dim] if self.fused else [embed_dim, embed_dim]
        layers = [GraphAttention(n, embed_dim) if attention else nn.Linear(n, embed_dim, bias=False) for n in inputs]
        self.layers = nn.ModuleList(layers)

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        image = cached_forward(self.encoder.images, batch.pixels, self.chunk_size)
        text = cached_forward(self.encoder.texts, batch.text, self.chunk_size)
        if batch.neighbours is None:
            raise UserError("SLIP reads links between pictures, see data.structure; these batches have none")
        contrast, drawn = self.contrast(image, text), self.draw(image, text, batch.ids, batch.neighbours)
        return self.log_loss(contrast + self.structure * drawn, contrast=contrast, structure=drawn)

    def draw(self, image: Tensor, text: Tensor, ids: Tensor, neighbours: Tensor) -> Tensor:
        """The structural loss.

        Args:
            image, text: unit vectors (n, e), row by row pairs.
            ids: of the pairs, (n,).
            neighbours: ids of those that each is linked with, -1 for none, (n, k).
        """
        layout = shards(len(ids), ids.device)
        linked = linked_with(neighbours, gather(ids, layout))
        if self.fused:
            node = F.normalize(self.nodes(0, torch.cat([image, text], dim=1), linked, layout), dim=1)
            return self.pull(node, node, linked)
        both = (x + self.nodes(k, x, linked, layout) for k, x in enumerate((image, text)))
        image, text = (F.normalize(x, dim=1) for x in both)
        return (self.pull(image, text, linked) + self.pull(text, image, linked)) / 2

    def nodes(self, layer: int, x: Tensor, linked: Tensor, layout: Shards) -> Tensor:
        """The nodes of this process, which see those of all."""
        if isinstance(self.layers[layer], nn.Linear):
            return self.layers[layer](x)
        return self.layers[layer](gather(x, layout), linked, layout.own)

    def pull(self, query: Tensor, key: Tensor, linked: Tensor) -> Tensor:
        """InfoNCE whose target is even over a node's neighbours; its own key is no candidate, and without any it is 0.

        The diagonal, which the paper's mask holds, would be a pair of a node with itself: it could only push.
        """
        scores = Scores(query, key, scale=1 / self.structure_temperature, exchange=Exchange.GATHER)
        targets = linked.to(scores.dtype) / linked.sum(dim=1, keepdim=True).clamp(min=1)
        return soft_target_cross_entropy(scores.exclude(scores.own()), targets)


def linked_with(neighbours: Tensor, ids: Tensor) -> Tensor:
    """Which of the ids are among the neighbours of each row, bool (m, n)."""
    found = torch.zeros(len(neighbours), len(ids), dtype=torch.bool, device=ids.device)
    for column in neighbours.unbind(1):  # one at a time, as rows may have many
        found |= column[:, None] == ids
    return found
