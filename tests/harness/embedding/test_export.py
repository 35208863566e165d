"""`papers export`: the folder loads again with equal vectors, in `papers`, in transformers and as ONNX."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel, AutoTokenizer, SiglipTextModel

import papers
from common.encoders.text import TextEncoder
from harness import cli
from harness.embedding import onnx_export
from papers.audio.const.module import ConST
from papers.classification.supcon.module import SupCon
from papers.scaling.siglip.module import SigLIP
from papers.sentence.simcse.module import SimCSE
from tests.papers.trained import save

TEXTS = ["a cat", "the dog that sat on a mat all day", "rain"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def simcse(folder) -> Path:
    return save(folder / "simcse.ckpt", SimCSE(pooling="mean", layers=1))


def export(slug: str, checkpoint: Path, out: Path, *options: str) -> int:
    return cli.main(["export", slug, "--ckpt_path", str(checkpoint), "--out", str(out), *options])


def test_simcse_in_papers_and_in_transformers(simcse, folder, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "out"
    assert export("simcse", simcse, out) == 0
    written, errors = capsys.readouterr()
    assert written.split() == [str(path) for path in sorted(out.rglob("*")) if path.is_file()] and errors == ""
    wanted = papers.load("simcse", simcse).encode(TEXTS)
    body = out / "encoder.body"
    tokens = AutoTokenizer.from_pretrained(body)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        model = AutoModel.from_pretrained(body, add_pooling_layer=False).eval()
        states = model(tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    assert np.allclose((states * mask).sum(1) / mask.sum(1), wanted, atol=1e-6)

    # Neither the encoder's own weights nor its tokenizer are needed any more.
    def gone(*_: object) -> bytes:
        raise AssertionError("a file of the pretrained encoder was read")

    monkeypatch.setattr("common.encoders.pretrained.read_file", gone)
    model = papers.load("simcse", out)
    assert isinstance(model.method.encoder, TextEncoder) and np.array_equal(model.encode(TEXTS), wanted)
    # And an export can be exported again.
    assert export("simcse", out, tmp_path / "again") == 0
    assert np.array_equal(papers.load("simcse", tmp_path / "again").encode(TEXTS), wanted)


def test_a_tower_of_fixed_length_in_transformers(folder, tmp_path) -> None:
    checkpoint = save(folder / "tower.ckpt", SigLIP(width=8, image_encoder="small_convnet"), image=[3, 24, 24])
    assert export("siglip", checkpoint, tmp_path / "out") == 0
    body = tmp_path / "out/encoder.text.body"
    whole = dict(padding="max_length", truncation=True, return_tensors="pt")
    ids = AutoTokenizer.from_pretrained(body)(TEXTS, **whole)["input_ids"]
    model = papers.load("siglip", checkpoint)
    assert torch.equal(ids, model.method.encoder.text.tokenize(TEXTS))
    with torch.no_grad():
        vectors = SiglipTextModel.from_pretrained(body).eval()(input_ids=ids).pooler_output
    assert np.allclose(nn.functional.normalize(vectors, dim=1), model.encode(TEXTS), atol=1e-6)


def test_pictures_and_vocabularies(folder, tmp_path, monkeypatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    supcon = save(folder / "supcon.ckpt", SupCon(width=8), image=[1, 16, 16])
    assert export("supcon", supcon, tmp_path / "supcon") == 0
    model = papers.load("supcon", tmp_path / "supcon")
    assert model.inputs == {"image": [1, 16, 16]}
    assert np.array_equal(model.encode(pixels), papers.load("supcon", supcon).encode(pixels))
    sizes = dict(width=16, layers=1, heads=2, feedforward=16, channels=16)
    const = save(folder / "const.ckpt", ConST(**sizes), speech=[40])
    assert export("const", const, tmp_path / "const") == 0
    wanted = papers.load("const", const).encode(TEXTS)
    monkeypatch.setattr("papers.audio.const.vocabulary.PROMPTS", Path("nowhere.json"))
    assert np.array_equal(papers.load("const", tmp_path / "const").encode(TEXTS), wanted)


def test_what_is_refused_leaves_nothing(simcse, tmp_path, capsys) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("in the way")
    for slug, checkpoint, out, message in (
        ("simcse", simcse, tmp_path / "there", "exists; name another folder"),
        ("supcon", simcse, tmp_path / "out", "SimCSE, not of supcon"),
        ("simcse", tmp_path / "absent.ckpt", tmp_path / "out", "absent.ckpt does not exist"),
        ("simcse", simcse, tmp_path / "file/out", "cannot be written"),
    ):
        assert export(slug, checkpoint, out) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


def test_without_the_libraries_it_says_what_to_install(simcse, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert export("simcse", simcse, tmp_path / "out", "--format", "onnx") == 2
    assert "--format onnx needs onnx, which is not installed: pip install" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_towers_of_a_fixed_shape_as_onnx(simcse, folder, tmp_path, capsys, monkeypatch) -> None:
    for library in ("onnx", "onnxscript"):
        pytest.importorskip(library)
    runtime = pytest.importorskip("onnxruntime")
    checkpoint = save(folder / "siglip.ckpt", SigLIP(width=8), image=[3, 24, 24])
    assert export("siglip", checkpoint, tmp_path / "siglip", "--format", "onnx") == 0
    model = papers.load("siglip", checkpoint)
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3, 24, 24), dtype=np.uint8)  # in pieces of 173
    session = runtime.InferenceSession(str(tmp_path / "siglip/image.onnx"))
    assert np.abs(session.run(None, {"pixels": pixels})[0] - model.encode(pixels, batch_size=200)).max() < 1e-4
    tokenizer = Tokenizer.from_file(str(tmp_path / "siglip/tokenizer.json"))
    ids = np.array([line.ids for line in tokenizer.encode_batch(TEXTS)])
    assert np.array_equal(ids, model.method.encoder.text.tokenize(TEXTS).numpy())
    session = runtime.InferenceSession(str(tmp_path / "siglip/text.onnx"))
    assert np.abs(session.run(None, {"ids": ids})[0] - model.encode(TEXTS)).max() < 1e-4
    capsys.readouterr()
    assert export("simcse", simcse, tmp_path / "out", "--format", "onnx") == 2
    assert "simcse has no tower of a fixed shape for ONNX: it embeds text" in capsys.readouterr().err
    # A file that computes something else is not kept.
    monkeypatch.setattr(onnx_export, "deviation", lambda *_: 1e-3)
    assert export("siglip", checkpoint, tmp_path / "out", "--format", "onnx") == 2
    assert "differ from torch's by 0.001" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_which_towers_have_a_fixed_shape(simcse, folder) -> None:
    method = SigLIP(width=8, image_encoder="small_convnet")
    checkpoint = save(folder / "fixed.ckpt", method, image=[3, 24, 24])
    towers = list(onnx_export.fixed_towers(papers.load("siglip", checkpoint)))
    assert [tower.kind for tower in towers] == ["image", "text"]
    assert all(tower.module(tower.example).shape == (onnx_export.BATCH, 64) for tower in towers)
    assert isinstance(towers[0].module, nn.Module)
    # Nothing of the method is changed by having been asked.
    assert papers.load("siglip", checkpoint).encode(TEXTS).shape == (3, 64)
    assert not list(onnx_export.fixed_towers(papers.load("simcse", simcse)))
    assert json.dumps(papers.load("siglip", checkpoint).inputs) == '{"image": [3, 24, 24]}'
