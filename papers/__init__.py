"""The papers, a folder each under its family."""

from typing import TYPE_CHECKING

import data as data  # offers its weights to the encoders by name

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from common.embedding.embedder import Embedder


def load(slug: str, checkpoint: "str | Path", *, device: "str | torch.device | None" = None) -> "Embedder":
    """A trained method, ready to embed texts, pictures or sounds of your own.

    Args:
        slug: the paper, as in `papers list`.
        checkpoint: a file of `papers fit`, or a folder of `papers export`.
        device: where it is to compute; by default on the processor.

    Returns:
        A module in eval mode with `encode(inputs, batch_size=, normalize=, device=)`, which gives an array (n, d).

    Raises:
        common.errors.UserError: no such paper; or the checkpoint is absent, damaged or another paper's.
    """
    from papers import loading  # loads torch

    return loading.load(slug, checkpoint, device=device)
