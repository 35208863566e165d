"""CLIP's loss with and without label smoothing, and who may ask for it."""

import pytest
import torch
from torch.nn import functional as F

from common.errors import UserError
from papers.scaling.siglip.module import SigLIP
from papers.vision_language.clip.module import CLIP


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_of_two_cross_entropies(smoothing: float) -> None:
    module = CLIP(
        text_encoder="bag_of_words", image_encoder="small_convnet", temperature=0.1, label_smoothing=smoothing
    )
    torch.manual_seed(0)
    image, text = F.normalize(torch.randn(2, 6, 8, dtype=torch.float64), dim=-1)
    logits, own = image @ text.T * 10, torch.arange(6)
    expected = sum(F.cross_entropy(x, own, label_smoothing=smoothing) for x in (logits, logits.T)) / 2
    assert module.contrast(image, text).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_loss_of_ones_own_has_no_smoothing() -> None:
    with pytest.raises(UserError, match="SigLIP has none"):
        SigLIP(label_smoothing=0.1)


def test_features_lie_below_the_common_space() -> None:
    module = CLIP(text_encoder="bag_of_words", image_encoder="small_convnet", width=8, embed_dim=6)
    pixels = torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8)
    features = module.image_features(pixels)
    assert features.shape == (3, 32)
    torch.testing.assert_close(F.normalize(module.encoder.projection(features)), module.embed_image(pixels))
