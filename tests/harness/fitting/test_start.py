"""--init_from: weights of an earlier training, of a file or of a folder, where a training begins."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from common.errors import UserError
from harness.fitting.start import read_weights, start
from papers.classification.supcon.module import SupCon
from papers.sentence.simcse.module import SimCSE
from papers.vision_language.clip.module import CLIP
from papers.vision_ssl.byol.module import BYOL
from tests.common.encoders import own_encoders as own
from tests.harness.fitting.test_fit import fit, logs, newest, run  # noqa: F401 - a fixture

NET = f"{own.__name__}.Net"
SMALL = {"encoder": "small_convnet", "channels": 3, "width": 4}


def lines(capsys) -> list[str]:
    return [line.removeprefix("papers: ") for line in capsys.readouterr().err.splitlines()]


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_fit_begins_with_the_weights_and_its_log_says_so(card, logs, capsys):  # noqa: F811
    path = fit(card, logs=logs)
    capsys.readouterr()
    again = fit(card, "--init_from", str(path), "--model.lr", "0", logs=logs)
    assert again != path and same_file(again, path)
    text = lines(capsys)
    assert f"--init_from {path}: 2 weights go into Repeat" in text
    assert "missing, so they start afresh: none" in text and "unexpected, so they are left: none" in text
    assert f"init_from: {path}" in (again.parents[1] / "config.yaml").read_text()
    run(card, "test", "--init_from", str(path), logs=logs)  # scored as a training would begin
    assert "go into Repeat" in "".join(lines(capsys))
    # What is gone on with holds over what it once began with.
    fit(card, "--init_from", str(path), "--ckpt_path", str(again), "--trainer.max_epochs", "3", logs=logs)
    assert "go into" not in "".join(lines(capsys)) and torch.load(newest(logs), weights_only=True)["global_step"] == 12


def same_file(one: Path, other: Path) -> bool:
    states = [torch.load(path, weights_only=True)["state_dict"] for path in (one, other)]
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_an_encoder_goes_wherever_it_fits(tmp_path: Path, capsys) -> None:
    source = SupCon(**SMALL, projection_dim=7)
    save_file(source.state_dict(), tmp_path / "source.safetensors")
    method = BYOL(**SMALL)
    start(method, str(tmp_path / "source.safetensors"))
    encoders = [part for part in method.modules() if type(part) is type(source.network.encoder)]
    assert len(encoders) == 2 and all(same(part, source.network.encoder) for part in encoders)  # the teacher's too
    said, missing, left = lines(capsys)
    assert (
        "18 weights go into " in said and "network.head" in left and left.startswith("unexpected, so they are left: 4")
    )
    assert missing.startswith("missing, so they start afresh: ") and "encoder" not in missing
    dual = CLIP(image_encoder="small_convnet", width=4)
    start(dual, str(tmp_path / "source.safetensors"))
    assert same(dual.encoder.image, source.network.encoder)


def test_the_folders_of_transformers_are_read_as_they_are(tmp_path: Path, capsys) -> None:
    vit, bert = own.vit(tmp_path / "vit"), own.bert(tmp_path / "bert")
    torch.manual_seed(1)
    method = SupCon(encoder={"name": f"transformers:{vit}", "pretrained": False}, channels=3)
    loaded = SupCon(encoder=f"transformers:{vit}", channels=3)
    start(method, str(vit))
    assert same(method.network.encoder, loaded.network.encoder)
    said = "\n".join(lines(capsys))
    assert "38 weights go into network.encoder.body.model\n" in said and "unexpected, so they are left: none" in said
    assert "missing, so they start afresh: 4 (network.head.0.weight, " in said
    method = SimCSE(encoder={"name": f"transformers:{bert}", "pretrained": False})
    start(method, str(bert))
    assert same(method.encoder, SimCSE(encoder=f"transformers:{bert}").encoder)


def test_the_folders_of_timm_are_read_in_one_file_or_several(tmp_path: Path, capsys) -> None:
    weights = own.Net(3).state_dict()
    (tmp_path / "config.json").write_text('{"architecture": "net"}')
    names = list(weights)
    save_file({k: weights[k] for k in names[:5]}, tmp_path / "1.safetensors")
    save_file({k: weights[k] for k in names[5:]}, tmp_path / "2.safetensors")
    index = {"weight_map": {k: f"{1 + (i >= 5)}.safetensors" for i, k in enumerate(names)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    method = SupCon(encoder=NET, channels=3)
    start(method, str(tmp_path))
    found = method.network.encoder.body.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in weights.items())
    save_file(weights, tmp_path / "model.safetensors")
    assert read_weights(str(tmp_path)).keys() == weights.keys()
    capsys.readouterr()


def test_the_oldest_names_of_norms_are_known(tmp_path: Path) -> None:
    save_file({"x.LayerNorm.gamma": torch.ones(2), "x.LayerNorm.beta": torch.ones(2)}, tmp_path / "old.safetensors")
    assert set(read_weights(str(tmp_path / "old.safetensors"))) == {"x.LayerNorm.weight", "x.LayerNorm.bias"}


def test_weights_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    # Two of a norm, as wide as one of ours, fit by chance.
    path = tmp_path / "other.safetensors"
    save_file({"norm.weight": torch.ones(8), "norm.bias": torch.ones(8), "far.weight": torch.ones(3, 3)}, path)
    method = SupCon(**SMALL)
    before = {key: tensor.clone() for key, tensor in method.state_dict().items()}
    with pytest.raises(
        UserError, match=r"nothing in .*other.safetensors fits SupCon: it has 3 \(.*, and the module 13 "
    ):
        start(method, str(path))
    assert all(torch.equal(tensor, before[key]) for key, tensor in method.state_dict().items())
    (tmp_path / "torn.safetensors").write_bytes(b"\x00" * 7)
    (tmp_path / "empty").mkdir()
    for given, message in {
        "torn.safetensors": "cannot be read: ",
        "empty": "has no model.safetensors",
        "nowhere": "does not exist; it must be a checkpoint of `papers fit`, a safetensors",
    }.items():
        with pytest.raises(UserError, match=f"^--init_from: .*{message}") as error:
            start(method, str(tmp_path / given))
        assert "\n" not in str(error.value)
