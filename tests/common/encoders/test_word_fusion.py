"""Words that look at a picture: neighbours and padding do not count, and the whole stands for all words."""

import pytest
import torch

from common.encoders.fusion import FusionEncoder, VisionLanguageEncoder
from common.encoders.patches import patch_encoder
from common.encoders.word_fusion import WordFusion, WordReader, fusion_encoder
from common.encoders.word_tower import WordTower
from common.errors import UserError
from common.sampling.masking import IGNORED, hide_tokens_by_sample

TEXTS = ["a dog", "a small red circle and a large blue star", "a large dog"]


def fusion(**arguments) -> WordFusion:
    torch.manual_seed(0)
    return WordFusion(**{"image_width": 8, "max_length": 12, "width": 16, **arguments}).eval()


def test_a_pair_has_its_states_whatever_its_batch() -> None:
    encoder, images = fusion(), torch.randn(3, 5, 8)
    tokens = encoder.tokenize(TEXTS)
    states = encoder.states(tokens)
    fused = encoder.fuse(states, tokens.mask, images)
    assert fused.shape == states.shape == (3, 10, 16)
    for i, text in enumerate(TEXTS):
        alone = encoder.tokenize([text])
        single, length = encoder.states(alone), alone.ids.shape[1]
        torch.testing.assert_close(states[i, :length], single[0])
        torch.testing.assert_close(fused[i, :length], encoder.fuse(single, alone.mask, images[i, None])[0])
    other = encoder.fuse(states, tokens.mask, images.roll(1, 0))
    assert ((fused - other)[tokens.mask.bool()].abs().amax(1) > 1e-4).all(), "every word looks at the picture"


def test_the_whole_is_the_mean_of_a_word_towers_states() -> None:
    reader = WordReader(width=16, layers=1, length=12, rows=50)
    tower = WordTower(output_dim=4, width=16, layers=1, length=12, rows=50)
    own = reader.state_dict()
    tower.load_state_dict({k: own[k][: len(v)] if k in own else v for k, v in tower.state_dict().items()})
    tokens = reader.tokens(TEXTS)
    assert (tokens.ids[:, 0] == reader.whole_id).all() and torch.equal(tokens.ids[:, 1:], tower.tokenize(TEXTS))
    read = reader.read(tokens)
    torch.testing.assert_close(tower.output(read[:, 0]), tower(TEXTS))
    torch.testing.assert_close(read[:, 1:], tower.states(tower.tokenize(TEXTS)))


def test_words_are_hidden_and_told() -> None:
    encoder = fusion()
    model = VisionLanguageEncoder(patch_encoder("small_convnet", 16, width=8, channels=4), encoder, 6)
    tokens = encoder.tokenize(TEXTS * 50)
    seen, targets = hide_tokens_by_sample(tokens, 0.5, encoder.text, torch.arange(150), 3)
    asked = targets != IGNORED
    assert not asked[:, 0].any() and not (asked & (tokens.mask == 0)).any()
    assert (seen.ids == encoder.text.mask_id).any() and seen.ids.max() < encoder.vocab_size
    pixels = torch.rand(150, 3, 16, 16)
    logits = model.token_logits(seen, model.images(pixels), asked)
    assert logits.shape == (int(asked.sum()), encoder.vocab_size) == (len(logits), 2050)
    image, text = model(pixels, tokens)
    torch.testing.assert_close(model.fused(image, text), encoder.fuse(text.states, text.mask, image.states)[:, 0])


def test_dropout_reaches_the_layers_that_read_and_those_that_fuse() -> None:
    encoder, image = fusion(dropout=0.5), torch.randn(2, 3, 8)
    tokens = encoder.tokenize(["a small dog", "a red circle"])
    text = encoder.states(tokens)

    def fused() -> torch.Tensor:
        return encoder.fuse(text, tokens.mask, image)

    for read in (lambda: encoder.states(tokens), fused):
        assert torch.equal(read(), read())
        assert not torch.equal(encoder.train() and read(), read())
        encoder.eval()


def test_a_recipe_names_them() -> None:
    assert isinstance(fusion_encoder("words", 1, 8, 0.0, 12), WordFusion)
    assert isinstance(fusion_encoder("tiny", 1, 8, 0.0, 12), FusionEncoder)
    with pytest.raises(UserError, match="text_weights"):
        fusion_encoder("words", 1, 8, 0.0, 12, "folder")
    with pytest.raises(UserError, match="layers are 0"):
        fusion_encoder("words", 0, 8, 0.0, 12)
