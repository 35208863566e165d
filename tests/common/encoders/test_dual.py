"""The towers of a dual encoder: tokenizers that need no data, published sizes, one vector a text whatever its batch."""

import pytest
import torch

from common.encoders.dual import DualEncoder
from common.encoders.image import image_encoder
from common.encoders.text_tower import END, ClipTextTower, TextTower, byte_tokenizer
from common.encoders.vit import VisionTransformer
from common.errors import UserError


def tower(tokenizer: str = "wordpiece", length: int = 8) -> TextTower:
    torch.manual_seed(0)
    return TextTower(width=16, layers=2, heads=2, output_dim=6, length=length, tokenizer=tokenizer)


@pytest.mark.parametrize("text", ["woman mechanic", "drapeau : Côte d'Ivoire", "слон", "象", "ช้าง\t\n"])
def test_bytes_go_there_and_back_in_any_language(text: str) -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer.encode(text).ids
    assert len(ids) == len(text.encode()) + 1
    assert ids[-1] == tokenizer.token_to_id(END) == tokenizer.get_vocab_size() - 1 == 256
    assert tokenizer.decode(ids) == text


def test_every_text_is_filled_with_its_end_token() -> None:
    words = tower()
    ids = words.tokenize(["a dog", "the king and all his people said unto them", ""])
    end = words.tokenizer.token_to_id("[SEP]")
    assert ids.shape == (3, 8)
    # [CLS] a dog, then nothing but ends; a text that is cut keeps one end; an empty one has no more than [CLS].
    assert (ids == end).sum(dim=1).tolist() == [5, 1, 7]
    assert (ids[:, -1] == end).all()
    letters = tower("bytes")
    assert letters.tokenize(["elephants", "dog"]).tolist()[0][-1] == 256


@pytest.mark.parametrize("tokenizer", ["wordpiece", "bytes"])
def test_a_text_has_one_vector_whatever_its_batch(tokenizer: str) -> None:
    texts, encoder = ["a dog", "a small red star above a dog"], tower(tokenizer, 32)
    rows = encoder(texts)
    assert rows.shape == (2, 6)
    for row, text in zip(rows, texts, strict=True):
        torch.testing.assert_close(encoder([text])[0], row)
    assert not torch.allclose(rows[0], rows[1])
    assert encoder.states(encoder.tokenize(texts)).shape == (2, 32, 16)


def test_an_unknown_tokenizer_is_named() -> None:
    with pytest.raises(UserError, match="tokenizer is 'words'; it must be one of wordpiece, bytes, sentencepiece"):
        tower("words")


def test_clips_text_tower_reads_up_to_the_first_end() -> None:
    tower, end = ClipTextTower(16, 1, 2, 6, length=8).eval(), 49_407
    short = torch.tensor([[49_406, 7, 8, end, end, end, end, end]])
    longer = torch.tensor([[49_406, 7, 8, end, 5, 6, end, end]])
    one, other, cut = (tower.body(input_ids=ids).text_embeds for ids in (short, longer, short[:, :4]))
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(one, cut)
    tower.tokenize = lambda texts: short
    assert tower.features(["text"]).shape == (1, 16) == (1, tower.last.in_features)
    torch.testing.assert_close(tower.last(tower.features(["text"])), one)
    with pytest.raises(UserError, match="tokenizer is 'bytes'; with CLIP's text tower it must be 'clip'"):
        ClipTextTower(tokenizer="bytes")


def test_the_vision_transformer_pools_all_patches() -> None:
    torch.manual_seed(0)
    vit = VisionTransformer(image_size=16, patch_size=8, width=12, layers=2, heads=2)
    pixels = torch.rand(2, 3, 16, 16)
    assert vit.patches(pixels).shape == (2, 4, 12)
    assert vit(pixels).shape == (2, vit.output_dim)
    for left, top in ((0, 0), (8, 0), (0, 8), (8, 8)):
        other = pixels.clone()
        other[:, :, top : top + 8, left : left + 8] = 0
        assert not torch.allclose(vit(other), vit(pixels))
    with pytest.raises(UserError, match="image_size is 30; it must be a multiple of the patches' 8 pixels"):
        image_encoder("vit_mini", 3, image_size=30)


def test_a_stem_reads_the_same_patches_and_no_head_is_built_unasked() -> None:
    torch.manual_seed(0)
    vit = VisionTransformer(image_size=16, patch_size=8, width=12, layers=0, heads=2, pooled=False, stem=4)
    assert not [name for name, _ in vit.named_parameters() if "head" in name]
    pixels = torch.rand(2, 3, 16, 16)
    before = vit.patches(pixels)
    assert before.shape == (2, 4, 12)
    pixels[0, :, 12:, 12:] = 0  # the last patch's own; the norm of the stem is over the picture, and only over one
    after = vit.patches(pixels)
    assert not torch.allclose(after[0, 3], before[0, 3], atol=0.1) and torch.equal(after[1], before[1])
    with pytest.raises(UserError, match="patch_size is 6; with a stem it must be a multiple of 4 pixels"):
        VisionTransformer(image_size=18, patch_size=6, width=12, layers=1, heads=2, stem=4)
    with pytest.raises(UserError, match="heads is 5; it must divide the width, which is 12"):
        VisionTransformer(image_size=16, patch_size=8, width=12, layers=1, heads=5)


def test_positions_may_be_given_and_the_mean_of_the_patches_stands_where_there_is_no_head() -> None:
    torch.manual_seed(0)
    pixels, larger = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 24, 32)
    for pooled, stem in ((True, 0), (False, 0), (False, 4)):
        vit = VisionTransformer(16, 8, width=12, layers=2, heads=2, pooled=pooled, stem=stem).eval()
        assert vit.positions.shape == (4, 12) and vit.patch_size == 8
        torch.testing.assert_close(vit(pixels, vit.positions), vit(pixels))
        torch.testing.assert_close(vit(pixels, vit.positions.expand(2, -1, -1)), vit(pixels))
        assert not torch.allclose(vit(pixels, vit.positions.flip(0)), vit(pixels), atol=1e-3)
        assert vit.patches(larger, torch.zeros(12, 12)).shape == (2, 12, 12)
    torch.testing.assert_close(vit(pixels), vit.patches(pixels).mean(dim=1))
    assert image_encoder("vit_small_mean", 3, image_size=24).positions.shape == (36, 64)


def test_a_dual_encoder_gives_unit_vectors_of_one_width() -> None:
    torch.manual_seed(0)
    dual = DualEncoder(embed_dim=24, width=8, text_length=8)
    pixels = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    image, text = dual.embed_image(pixels), dual.texts(["one", "two", "three"])
    assert image.shape == text.shape == (3, 24)
    torch.testing.assert_close(torch.cat([image, text]).norm(dim=1), torch.ones(6))
    torch.testing.assert_close(image, dual.images(pixels / 255))
    assert isinstance(DualEncoder(embed_dim=32, width=8).projection, torch.nn.Identity)


def test_the_base_towers_have_the_published_sizes() -> None:
    """open_clip's docs/model_profile.csv gives ViT-B-16-SigLIP 92.88 M and 110.27 M, its texts being 64 tokens long."""
    with torch.device("meta"):
        dual = DualEncoder("vit_b16", "base", 768, image_size=224, text_length=64, tokenizer="sentencepiece")
    sizes = [sum(p.numel() for p in part.parameters()) for part in (dual.image, dual.text, dual.projection)]
    assert [round(size / 1e6, 2) for size in sizes] == [92.88, 110.27, 0.0]


def test_a_bert_from_random_weights_is_mapped_into_the_common_space() -> None:
    with torch.device("meta"):
        encoder = DualEncoder("small_convnet", "bert_base", 640, text_length=64)
    bert, into = encoder.text
    assert bert.max_length == 64 and bert.pooling == "cls" and into.weight.shape == (640, 768)
    assert sum(p.numel() for p in bert.parameters()) == 108_891_648
