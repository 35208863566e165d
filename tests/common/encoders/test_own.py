"""Encoders of one's own: classes by their paths, and models of transformers from folders."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, CLIPConfig, CLIPModel, PreTrainedTokenizerFast, RobertaConfig

from common.batches import ImageText
from common.encoders.adapting import optional
from common.encoders.image import image_encoder
from common.encoders.own import OwnImageEncoder
from common.encoders.text import FrozenTokenStates, text_encoder
from common.encoders.weights import filled_later
from common.errors import UserError
from harness.embedding.export import export
from harness.recipes.catalog import find
from papers.classification.supcon.module import SupCon
from papers.loading import load_from
from papers.scaling.siglip.module import SigLIP
from papers.sentence.simcse.module import SimCSE
from papers.vision_ssl.byol.module import BYOL
from tests.common.encoders import own_encoders as own
from tests.common.encoders.tiny import tiny_tokenizer
from tests.processes import assert_steps_agree

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
NET, LETTERS = f"{own.__name__}.Net", f"{own.__name__}.Letters"


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    return own.vit(tmp_path_factory.mktemp("files") / "vit")


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return own.bert(tmp_path_factory.mktemp("files") / "bert")


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_vision_transformer_trains_in_supcon(vit: Path, checkpointed: bool) -> None:
    encoder = {"name": f"transformers:{vit}", "gradient_checkpointing": checkpointed}
    method = SupCon(encoder=encoder, channels=3, projection_dim=4)
    body = method.network.encoder.body
    assert any(getattr(part, "gradient_checkpointing", False) for part in body.modules()) == checkpointed
    own.assert_trains(method, own.images(), [body])


def test_a_text_model_trains_in_simcse(bert: Path) -> None:
    method = SimCSE(encoder={"name": f"transformers:{bert}", "gradient_checkpointing": True}, dropout=0.0)
    own.assert_trains(method, own.sentences(), [method.encoder.body])


def test_both_train_in_siglip(vit: Path, bert: Path) -> None:
    text = {"name": f"transformers:{bert}", "init_args": STILL}
    method = SigLIP(image_encoder=f"transformers:{vit}", text_encoder=text, embed_dim=6, temperature=1.0, bias=0.0)
    own.assert_trains(method, own.pairs(), [method.encoder.image.body, method.encoder.text[0].body])


def test_two_processes_take_the_step_of_one(vit: Path, bert: Path) -> None:
    """None of the models' weights is left without a gradient, which would hold up all processes."""

    def make() -> SigLIP:
        torch.manual_seed(0)
        image = {"name": f"transformers:{vit}", "gradient_checkpointing": True}
        text = {"name": f"transformers:{bert}", "init_args": STILL}
        method = SigLIP(image_encoder=image, text_encoder=text, embed_dim=6).double()
        method.log_loss = lambda loss: loss
        return method

    def batch(rows: slice) -> ImageText:
        whole = own.pairs()
        return ImageText(whole.views[:, rows], [whole.texts[0][rows]], whole.ids[rows], whole.text_ids[rows])

    assert_steps_agree((0, 1, 4), make, batch)


def test_classes_train_by_their_paths() -> None:
    method = SigLIP(image_encoder=NET, text_encoder=LETTERS, embed_dim=3, temperature=1.0, bias=0.0)
    own.assert_trains(method, own.pairs(), [method.encoder.image.body, method.encoder.text[0].body])
    assert isinstance(method.encoder.text[1], nn.Identity)  # as wide as the common space already
    texts = own.TEXTS * 3
    together = text_encoder(LETTERS).embed(texts, batch_size=5)
    assert together.shape == (12, 3) and torch.equal(together[:4], together[4:8])


def test_pictures_are_brought_to_what_the_model_was_made_for(vit: Path) -> None:
    plain = AutoModel.from_pretrained(vit, add_pooling_layer=False).eval()
    pixels = torch.rand(2, 3, 8, 8)
    normalized = (pixels - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 0.5, 0.25])[:, None, None]
    expected = plain(pixel_values=normalized).last_hidden_state
    # Its pooler is BERT's, so the first token stands for the picture.
    encoder = image_encoder(f"transformers:{vit}", 3).eval()
    assert encoder.output_dim == 8 and encoder.body.model.pooler is None
    torch.testing.assert_close(encoder(pixels), expected[:, 0])
    encoder = image_encoder({"name": f"transformers:{vit}", "pooling": "mean"}, 3).eval()
    torch.testing.assert_close(encoder(pixels), expected.mean(dim=1))
    larger = torch.rand(2, 3, 20, 20)
    shrunk = F.interpolate(larger, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(encoder(larger), encoder(shrunk))
    grey = image_encoder(f"transformers:{vit}", 1).eval()
    assert torch.equal(grey(pixels[:, :1]), grey(pixels[:, :1]).clone()) and grey(pixels[:, :1]).shape == (2, 8)
    fine = image_encoder({"name": f"transformers:{vit}", "image_size": 12}, 3).eval()
    assert fine.size == (12, 12) and fine(larger).shape == (2, 8)
    assert not any("mean" in key or "deviation" in key for key in encoder.state_dict())


def test_a_dual_model_gives_either_of_its_towers(tmp_path: Path) -> None:
    shape = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    text = shape | {"vocab_size": 20, "max_position_embeddings": 9, "eos_token_id": 19}
    config = CLIPConfig(text_config=text, vision_config=shape | {"image_size": 8, "patch_size": 4})
    model = CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    encoder = image_encoder(f"transformers:{tmp_path}", 3).eval()
    pixels = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(encoder(pixels), model.vision_model(pixel_values=(pixels - 0.5) / 0.5).pooler_output)
    own_text = text_encoder({"name": f"transformers:{tmp_path}", "pooling": "pooler"})
    assert own_text.body.state_dict().keys() == model.text_model.state_dict().keys()


def test_tokens_are_pooled_as_the_folder_says_unless_one_says_otherwise(bert: Path) -> None:
    plain = AutoModel.from_pretrained(bert, add_pooling_layer=False).eval()
    encoder = text_encoder(f"transformers:{bert}", "cls", dropout=0.3).eval()
    tokens = encoder.tokenize(own.TEXTS)
    states = plain(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
    mean = (states * tokens.mask[..., None]).sum(1) / tokens.mask.sum(1, keepdim=True)
    torch.testing.assert_close(encoder(own.TEXTS), mean)
    torch.testing.assert_close(encoder.embed(own.TEXTS, batch_size=3), mean.detach())
    assert encoder.body.config.hidden_dropout_prob == 0.3  # the method's
    last = text_encoder({"name": f"transformers:{bert}", "pooling": "last"}).eval()
    ends = states[torch.arange(4), tokens.mask.sum(1) - 1]
    torch.testing.assert_close(last(own.TEXTS), ends)
    long = text_encoder(f"transformers:{bert}", max_length=40)
    assert long.tokenize(["the cat " * 30]).ids.shape == (1, 16) == (1, long.positions)  # its table ends there
    rows = FrozenTokenStates(encoder)(own.TEXTS)
    torch.testing.assert_close(rows[1], states[1, : tokens.mask[1].sum()].detach())
    with pytest.raises(UserError, match="OwnTextEncoder makes one vector a text"):
        FrozenTokenStates(text_encoder(LETTERS))


def test_where_roberta_begins_to_count(tmp_path: Path) -> None:
    shape = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=13)
    RobertaConfig(**shape, max_position_embeddings=12, pad_token_id=0).save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(), pad_token="[PAD]").save_pretrained(tmp_path)
    encoder = text_encoder({"name": f"transformers:{tmp_path}", "pretrained": False}, max_length=40)
    assert encoder.positions == 11 and encoder(["the cat sat on the mat and " * 5]).shape == (1, 8)


def test_a_frozen_encoder_is_neither_trained_nor_in_training_mode(bert: Path) -> None:
    for encoder in (
        image_encoder({"name": NET, "frozen": True}, 3),
        text_encoder({"name": f"transformers:{bert}", "frozen": True}, dropout=0.5),
        text_encoder({"name": LETTERS, "frozen": True}),
    ):
        assert not [p for p in encoder.parameters() if p.requires_grad]
        nn.Sequential(encoder).train()
        assert not any(part.training for part in encoder.modules())
    assert all(part.training for part in image_encoder(NET, 3).modules())


def test_a_teacher_follows_it(vit: Path) -> None:
    method = BYOL(encoder={"name": f"transformers:{vit}", "gradient_checkpointing": True}, channels=3)
    method, views = method.double(), own.images().views
    method.predictor(method.student(views[0])).sub(method.teacher(views[1])).square().sum().backward()
    assert all(p.grad is not None for p in method.student.parameters())
    assert {p.requires_grad for p in method.teacher.parameters()} == set()  # they are buffers
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(torch.randn_like(p))
    before = method.teacher(views[0])
    method.teacher.update(method.student, 0.0)
    moved = method.teacher(views[0])
    assert not torch.allclose(moved, before) and torch.allclose(moved, method.student(views[0]))


def test_nothing_is_loaded_on_the_meta_device(vit: Path, bert: Path) -> None:
    with torch.device("meta"):
        method = SigLIP(image_encoder=f"transformers:{vit}", text_encoder=f"transformers:{bert}")
        SupCon(encoder=NET)
    assert all(p.is_meta for p in method.parameters())


def test_what_was_trained_is_taken_away_and_read_again(bert: Path, vit: Path, tmp_path: Path) -> None:
    """Without the folder's weights, whose place the trained ones take."""
    moved = shutil.copytree(bert, tmp_path / "bert")
    method = SimCSE(encoder=f"transformers:{moved}")
    nn.init.normal_(method.encoder.body.embeddings.word_embeddings.weight)
    expected = method.embed_text(own.TEXTS)
    (moved / "model.safetensors").unlink()
    arguments = dict(method.hparams) | {"_class_path": "papers.sentence.simcse.module.SimCSE"}
    torch.save({"state_dict": method.state_dict(), "hyper_parameters": arguments}, tmp_path / "simcse.ckpt")
    card = find("simcse")
    assert torch.equal(load_from(card.folder, tmp_path / "simcse.ckpt").method.embed_text(own.TEXTS), expected)
    export(card, checkpoint=str(tmp_path / "simcse.ckpt"), out=str(tmp_path / "out"))
    (moved / "tokenizer.json").unlink()
    assert torch.equal(load_from(card.folder, tmp_path / "out").method.embed_text(own.TEXTS), expected)
    with filled_later():  # as it is built where all weights are
        assert image_encoder(f"transformers:{vit}", 3).body.pooling == "cls"


def test_a_module_keeps_plain_values_alone(vit: Path) -> None:
    encoder = {"name": f"transformers:{vit}", "pretrained": False}
    assert SupCon(encoder=encoder, channels=3).hparams["encoder"] == encoder


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            "small_resnett",
            "encoder is 'small_resnett' (did you mean 'small_resnet'?); it must be one of small_resnet, ",
        ),
        ("tim:resnet18", "encoder is 'tim:resnet18' (did you mean 'timm'?); it must be one of"),
        ("timm:", "encoder is 'timm:'"),
        ("nowhere.Net", "encoder is 'nowhere.Net', which cannot be imported: No module named 'nowhere'"),
        ("torch.nn.Nothing", "encoder is 'torch.nn.Nothing', which cannot be imported"),
        ("torch.nn.functional.relu", "encoder is 'torch.nn.functional.relu', which is no torch.nn.Module"),
        ("torch.nn.Linear", "encoder torch.nn.Linear cannot be built: "),
        ({"name": NET, "frozn": True}, "unknown option encoder.frozn (did you mean 'frozen'?); it has name, "),
        ({"frozen": True}, "encoder is {'frozen': True}; it must be a name or a mapping with a name"),
        ({"name": NET, "pooling": "cls"}, f"encoder.pooling is 'cls'; {NET} does not take it"),
        ({"name": NET, "init_args": {"depth": 3}}, f"encoder {NET} cannot be built: "),
        (
            {"name": "torch.nn.Identity"},
            "encoder torch.nn.Identity makes a tensor of shape (1, 3, 32, 32) of one input",
        ),
        ({"name": LETTERS}, f"encoder {LETTERS} fails on (1, 3, 32, 32): "),
        ({"name": LETTERS, "lora_alpha": 2.0, "output_dim": 3}, "encoder.lora_alpha is 2.0; it needs a lora_rank"),
        ({"name": NET, "gradient_checkpointing": True}, "encoder.gradient_checkpointing is true; "),
        ({"name": NET, "lora_rank": 2, "frozen": True}, "encoder.frozen is true; with encoder.lora_rank it must be"),
        ("transformers:/nowhere/at/all", "encoder is 'transformers:/nowhere/at/all'; there is no such folder"),
    ],
)
def test_a_wrong_encoder_is_told_in_one_line(encoder, message: str) -> None:
    with pytest.raises(UserError) as error:
        image_encoder(encoder, 3)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_files_that_are_not_what_was_asked_for_are_told(vit: Path, bert: Path, tmp_path: Path) -> None:
    for build, message in {
        lambda: image_encoder(f"transformers:{tmp_path}", 3): "cannot be built: ",
        lambda: image_encoder(f"transformers:{vit}", 2): "takes pictures of 3 channels; these have 2",
        lambda: image_encoder({"name": f"transformers:{vit}", "pooling": "last"}, 3): "encoder.pooling is 'last'",
        lambda: image_encoder(
            {"name": f"transformers:{vit}", "init_args": {"depht": 1}}, 3
        ): "encoder.init_args.depht is 1; ",
        lambda: image_encoder(
            {"name": f"transformers:{vit}", "init_args": {"num_hidden_layers": 3}}, 3
        ): "its files lack layers.2.",
        lambda: text_encoder({"name": f"transformers:{bert}", "pooling": "pooler"}): "has no weights for one",
        lambda: text_encoder("timm:resnet18"): "timm has no text encoders",
        lambda: text_encoder(f"transformers:{bert}", weights="x"): "model.weights is 'x'; an encoder of your own",
        lambda: text_encoder("mini-brt"): "(did you mean 'mini-bert'?)",
        lambda: image_encoder(NET, 3, weights="x"): "model.weights is 'x'",
    }.items():
        with pytest.raises(UserError) as error:
            build()
        assert message in str(error.value) and "\n" not in str(error.value)


def test_what_is_not_installed_says_how_it_gets_there() -> None:
    with pytest.raises(UserError, match=r"^no_such_library is not installed; `pip install 'contrastive-papers\[timm\]"):
        optional("no_such_library", "timm")


def test_bicubic_pictures_stay_in_range() -> None:
    encoder = OwnImageEncoder(nn.Flatten(), 192, size=(8, 8), bicubic=True)
    made = encoder((torch.rand(4, 3, 17, 17) > 0.5).float())
    assert made.min() >= 0 and made.max() <= 1
