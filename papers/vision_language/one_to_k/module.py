"""CCRK (Nie et al. 2024): a picture is contrasted with its captions in all K languages at once, 1-to-K."""

from typing import Literal

import torch
from torch import Tensor

from common.batches import ImageText
from common.checks import check_choice
from common.distributed import Exchange, global_mean
from common.losses import symmetric_info_nce
from common.scores import Scores
from common.training.grad_cache import cached_forward
from papers.vision_language.clip.module import CLIP

Form = Literal["released", "balanced", "separate", "chain"]


class OneToK(CLIP):
    """CLIP whose pictures meet all captions of the batch in all languages under one softmax.

    With one language it is CLIP.

    Args:
        form: "released", 1-to-K as in the authors' code, whose way from captions to pictures weighs 1 / K of the other;
            "balanced", both ways alike. Or what 1-to-K is compared with: "separate", the mean of CLIP's losses with
            each language; "chain", pictures with the first language and the first language with each other one.
        clip: the other arguments of `CLIP`, but for label smoothing.
    """

    def __init__(self, *, form: Form = "released", **clip) -> None:
        super().__init__(**clip)
        check_choice("model.form", form, Form)
        self.form = form

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        image = cached_forward(self.encoder.images, batch.pixels, self.chunk_size)
        # Picture by picture, so that a chunk holds all languages alike.
        said = [text for captions in zip(*batch.texts, strict=True) for text in captions]
        text = cached_forward(self.encoder.texts, said, self.chunk_size)
        return self.log_loss(self.contrast(image, text.view(len(image), len(batch.texts), -1)))

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        """The loss of unit vectors of pictures, (n, e), and of their captions in K languages, (n, K, e)."""
        temperature = self.temperature()
        if self.form in ("released", "balanced"):
            return one_to_k(image, text, temperature=temperature, balanced=self.form == "balanced")
        languages = text.unbind(1)
        pairs = [(image, one) for one in languages]
        if self.form == "chain":
            pairs = [(image, languages[0]), *((languages[0], one) for one in languages[1:])]
        return torch.stack([symmetric_info_nce(*pair, temperature=temperature) for pair in pairs]).mean()


def one_to_k(image: Tensor, text: Tensor, *, temperature: float | Tensor, balanced: bool = False) -> Tensor:
    """Half the sum of both ways between n pictures and their n K captions.

    To captions: mean_i 1/K sum_k -log[ exp(v_i.t_ik / tau) / sum_jl exp(v_i.t_jl / tau) ]; the other positives stay in
    the denominator, so it is at least log K.
    To pictures: mean_ik -log[ exp(t_ik.v_i / tau) / sum_j exp(t_ik.v_j / tau) ], divided by K unless `balanced`.

    Args:
        image: unit vectors (n, e).
        text: unit vectors (n, K, e).
        temperature: tau.
        balanced: see above.

    Returns:
        The mean over the pictures of all processes.

    Source: `get_unialign_contrastive_loss` in models/xvlm.py of the authors' repository.
    """
    n, k, _ = text.shape
    scores = Scores(image, text.flatten(0, 1), scale=1 / temperature, exchange=Exchange.GATHER)
    number = scores.layout.start // k + torch.arange(n, device=image.device)
    to_captions, to_pictures = scores.logsumexps()
    own = scores.positives(number, number.repeat_interleave(k)).total / k
    to_captions, to_pictures = to_captions - own, to_pictures.view(n, k).mean(1) - own
    return global_mean(to_captions + to_pictures / (1 if balanced else k)) / 2
