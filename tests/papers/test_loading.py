"""`papers.load`: checkpoints in, vectors out, and one line for what is no checkpoint."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol, runtime_checkable

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch.utils.data import DataLoader

import papers
from common.audio import BANDS, log_mel
from common.batches import Images, SpeechViews
from common.errors import UserError
from harness import cli
from papers.audio.const.module import ConST
from papers.audio.data2vec_aqc.module import Data2VecAQC
from papers.classification.supcon.module import SupCon
from papers.geo.sample4geo.module import Sample4Geo
from papers.loading import FORMAT, load_from
from papers.scaling.siglip.module import SigLIP
from papers.sentence.simcse.module import SimCSE, SupervisedSimCSE
from papers.video.tmr.module import TMR
from papers.vision_ssl.insdis.module import InsDis
from tests.papers.trained import save

TEXTS = ["a cat", "the dog that sat on a mat all day", "", "rain"]
SMALL = dict(image_encoder="small_convnet", width=8, text_encoder="bag_of_words")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def simcse(folder):
    return save(folder / "simcse.ckpt", SimCSE(pooling="mean", layers=1))


@pytest.fixture(scope="module")
def supcon(folder):
    return save(folder / "supcon.ckpt", SupCon(width=8), image=[1, 16, 16])


def test_importing_papers_is_cheap() -> None:
    program = "import papers, sys\nassert callable(papers.load) and not {'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(papers.__file__).parents[1])


def test_texts_get_the_vectors_of_embed_text(simcse) -> None:
    state = torch.random.get_rng_state()
    model = papers.load("simcse", simcse)
    vectors = model.encode(TEXTS, batch_size=3)
    assert torch.equal(torch.random.get_rng_state(), state) and not model.training
    assert isinstance(vectors, np.ndarray) and vectors.dtype == np.float32
    with torch.no_grad():
        wanted = model.method.embed_text(TEXTS).numpy()
    assert np.allclose(vectors, wanted, atol=1e-6) and np.ptp(vectors, axis=0).max() > 0
    unit = model.encode(TEXTS, normalize=True)
    assert np.allclose(unit, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)


def test_weights_are_the_checkpoints(folder) -> None:
    method = SupervisedSimCSE(layers=1)
    torch.nn.init.constant_(method.head[0].bias, 0.5)
    model = papers.load("simcse", save(folder / "supervised.ckpt", method))
    assert isinstance(model.method, SupervisedSimCSE) and model.method.head[0].bias.eq(0.5).all()


def test_pictures_of_all_kinds(supcon, folder) -> None:
    model = papers.load("supcon", supcon)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    wanted = model.encode(pixels)
    assert np.array_equal(model.encode(torch.from_numpy(pixels)), wanted)
    assert np.array_equal(model.encode([one[0] for one in pixels]), wanted)
    pictures = [Image.fromarray(one[0]) for one in pixels]
    assert np.array_equal(model.encode(pictures), wanted)
    paths = [folder / f"{i}.png" for i in range(3)]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    assert np.array_equal(model.encode(paths), wanted)
    # Larger ones in colour are made grey, shrunk and cut to the middle.
    wide = Image.new("RGB", (64, 32), "red")
    wide.paste("blue", (10, 0, 54, 32))  # the cut is from 16 to 48, and its edges are smoothed
    even = Image.new("RGB", (16, 16), "blue")
    assert np.allclose(model.encode([wide]), model.encode([even]), atol=1e-5)


def test_a_classifier_of_scikit_learn_stands_on_it(supcon) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    pixels = (generator.integers(0, 60, (40, 1, 16, 16)) + 120 * labels[:, None, None, None]).astype(np.uint8)
    line = make_pipeline(FunctionTransformer(papers.load("supcon", supcon).encode), LogisticRegression())
    vectors = papers.load("supcon", supcon).encode(pixels)
    alone = LogisticRegression().fit(vectors[:20], labels[:20])
    assert np.array_equal(line.fit(pixels[:20], labels[:20]).predict(pixels[20:]), alone.predict(vectors[20:]))


def test_speech_as_waveforms_or_frames(folder) -> None:
    sizes = dict(width=16, layers=1, heads=2, feedforward=16, channels=16)
    model = papers.load("const", save(folder / "const.ckpt", ConST(**sizes), speech=[BANDS]))
    waves = [np.sin(np.arange(n) * 0.1).astype(np.float32) for n in (8000, 12000)]
    vectors = model.encode(waves)
    assert np.allclose(vectors, model.encode([log_mel(torch.from_numpy(wave)).numpy() for wave in waves]), atol=1e-6)
    assert np.allclose(vectors, model.encode([{"array": wave, "sampling_rate": 16_000} for wave in waves]), atol=1e-6)
    assert model.encode(["hello there"]).shape == vectors[:1].shape
    with pytest.raises(UserError, match=r"^a recording has frames of 3 bands; it must be frames of 40 bands$"):
        model.encode([np.zeros((9, 3), np.float32)])
    # A checkpoint that does not say what it hears takes frames, and cannot tell of a waveform.
    old = papers.load("const", save(folder / "old.ckpt", ConST(**sizes)))
    with pytest.raises(UserError, match="does not say whether it hears waveforms"):
        old.encode(waves)
    sizes = dict(width=16, layers=1, heads=2, feedforward=16, feature_width=16, top=1, codes=4)
    model = papers.load("data2vec_aqc", save(folder / "d2v.ckpt", Data2VecAQC(**sizes), speech=[BANDS]))
    assert model.encode(waves).shape == (2, 48)


def test_other_modules_embed_what_they_can(folder) -> None:
    model = papers.load("siglip", save(folder / "siglip.ckpt", SigLIP(**SMALL), image=[3, 24, 24]))
    assert model.kinds == ["text", "image"]
    assert model.encode(TEXTS).shape == (4, 64) and model.encode([Image.new("L", (9, 9))]).shape == (1, 64)
    model = papers.load("tmr", save(folder / "tmr.ckpt", TMR(width=8, layers=1, heads=2, feedforward=8), motion=[6]))
    assert model.encode(TEXTS).shape == (4, 8) and not model.method.tokens._known
    assert model.encode([np.zeros((n, 6), np.float32) for n in (5, 9)]).shape == (2, 8)
    geo = Sample4Geo(encoder="small_convnet", width=8)
    model = papers.load("sample4geo", save(folder / "geo.ckpt", geo, image=[3]))
    assert model.encode(np.zeros((2, 3, 20, 30), np.uint8)).shape == (2, 32)
    # Rows that are kept for each training sample: how many, the checkpoint says.
    method = InsDis(width=8)
    method.bank.cover(torch.arange(7))
    model = papers.load("insdis", save(folder / "insdis.ckpt", method, image=[1, 16, 16]))
    assert len(model.method.bank) == 7


def test_what_was_trained_on_travels_in_the_checkpoint() -> None:
    for method, batch, wanted in (
        (
            SupCon(width=8),
            Images(torch.zeros(2, 3, 1, 12, 12), torch.zeros(3), torch.arange(3)),
            {"image": [1, 12, 12]},
        ),
        (
            Data2VecAQC(width=16, layers=1, heads=2, feedforward=16, feature_width=16, top=1),
            SpeechViews(torch.zeros(2, 3, 20, BANDS), torch.arange(3)),
            {"speech": [BANDS]},
        ),
    ):
        method.on_train_batch_start(batch, 0)
        checkpoint: dict = {}
        method.on_save_checkpoint(checkpoint)
        assert checkpoint["inputs"] == wanted
        other = type(method)(**method.hparams)
        other.on_load_checkpoint(checkpoint)
        assert other.inputs == wanted


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "encode was given an empty list; there is nothing to embed"),
        ("one text", "encode takes a list of inputs; it was given one str"),
        (["a text"], "supcon: SupCon embeds pictures (embed_image); not texts"),
        (np.zeros((2, 3, 16, 16), np.uint8), "a picture is 3 x 16 x 16; what was trained on is 1 x 16 x 16"),
        (np.zeros((2, 1, 8, 8), np.uint8), "a picture is 1 x 8 x 8; what was trained on is 1 x 16 x 16"),
        (np.zeros((2, 1, 16, 16), np.float32), "supcon: SupCon embeds pictures (embed_image); not speech"),
        ([Path("nowhere.png")], "nowhere.png cannot be read as a picture: No such file or directory"),
    ],
)
def test_inputs_that_are_not_what_it_embeds(supcon, inputs, message) -> None:
    with pytest.raises(UserError) as error:
        papers.load("supcon", supcon).encode(inputs)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@runtime_checkable
class Fake(Protocol):
    """What mteb 2 asks of an encoder, where it is not installed."""

    def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs): ...
    def similarity(self, embeddings1, embeddings2): ...
    def similarity_pairwise(self, embeddings1, embeddings2): ...


def test_mteb_takes_it_for_an_encoder(simcse) -> None:
    model = papers.load("simcse", simcse)
    try:
        from mteb.models.models_protocols import EncoderProtocol as Wanted
    except ImportError:
        Wanted = Fake
    else:
        assert model.mteb_model_meta.name == "contrastive-papers/simcse"
    assert isinstance(model, Wanted)
    # Its evaluators pass batches of columns, and these keywords.
    batches = DataLoader([{"text": text} for text in TEXTS], batch_size=3)
    asked = dict(task_metadata=SimpleNamespace(), hf_split="test", hf_subset="default", prompt_type=None)
    vectors = model.encode(batches, **asked, batch_size=2, show_progress_bar=False)
    assert np.allclose(vectors, model.encode(TEXTS), atol=1e-6)
    cosines = model.similarity(vectors, vectors)
    assert torch.allclose(cosines.diagonal(), torch.ones(4)) and cosines.shape == (4, 4)
    assert torch.allclose(model.similarity_pairwise(vectors, vectors[::-1].copy()), cosines.flip(1).diagonal())
    with pytest.raises(UserError, match=r"SimCSE embeds texts \(embed_text\); not pictures"):
        model.encode(DataLoader([{"image": torch.zeros(1)}]), **asked)


def test_what_is_no_checkpoint_of_the_paper_is_named(simcse, supcon, folder, tmp_path) -> None:
    exported = folder / "exported"
    arguments = ["export", "simcse", "--ckpt_path", str(simcse), "--out", str(exported)]
    assert cli.main(arguments) == 0
    whole = simcse.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    broken = {name: tmp_path / name for name in ("cut", "config", "empty", "gone", "other")}
    for path in broken.values():
        path.mkdir()
        for file in ("config.json", "model.safetensors"):
            (path / file).write_bytes((exported / file).read_bytes())
    weights = broken["cut"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    (broken["config"] / "config.json").write_text("{")
    (broken["empty"] / "config.json").write_text(json.dumps({"format": FORMAT, "paper": "simcse"}))
    (broken["gone"] / "model.safetensors").unlink()
    config = json.loads((exported / "config.json").read_text())
    config["arguments"]["colour"] = "red"
    (broken["other"] / "config.json").write_text(json.dumps(config))
    content = torch.load(simcse, weights_only=True)
    content["state_dict"].pop("head.0.bias")
    torch.save(content, tmp_path / "less.ckpt")
    cases = [
        ("nothing", simcse, "unknown paper 'nothing'"),
        ("simcse", tmp_path / "absent.ckpt", "absent.ckpt does not exist"),
        ("simcse", tmp_path, "is a folder without config.json and model.safetensors"),
        ("simcse", tmp_path / "cut.ckpt", "is no checkpoint"),
        ("simcse", supcon, "SupCon, not of simcse, which has SimCSE, SupervisedSimCSE; load it as 'supcon'"),
        ("supcon", exported, "is an export of simcse, not of supcon"),
        ("simcse", broken["cut"], "is damaged"),
        ("simcse", broken["config"], "is damaged"),
        ("simcse", broken["empty"], "config.json is damaged: it has no 'class'"),
        ("simcse", broken["gone"], "is a folder without"),
        ("simcse", broken["other"], "was trained with model.colour 'red', which SimCSE does not take"),
        ("simcse", tmp_path / "less.ckpt", "does not fit SimCSE: it lacks head.0.bias"),
    ]
    for slug, path, message in cases:
        with pytest.raises(UserError) as error:
            papers.load(slug, path)
        assert message in str(error.value) and "\n" not in str(error.value), message
    assert papers.load("simcse", exported).method.encoder.layers == 1


def test_no_module_is_imported_because_a_file_names_it(folder, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "netlib.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n    output_dim = 16\n\n    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(16, 16))\n"
    )
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as here:
        here.syspath_prepend(str(tmp_path))
        path = save(folder / "own.ckpt", SupCon(encoder="netlib.Net"), image=[1, 4, 4])
        assert papers.load("supcon", path).encode(np.zeros((2, 1, 4, 4), np.uint8)).shape == (2, 16)
    monkeypatch.delitem(sys.modules, "netlib")
    with pytest.raises(UserError, match=r"'netlib\.Net', which the file names and nothing has imported; import netlib"):
        papers.load("supcon", path)
    assert "netlib" not in sys.modules
    words = ["export", "supcon", "--ckpt_path", str(path), "--out", "out", "--import"]
    assert cli.main([*words, "nowhere"]) == 2 and "--import is 'nowhere'" in capsys.readouterr().err
    assert cli.main([*words, "netlib"]) == 0
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])


def test_only_classes_of_the_papers_own_recipes_are_built(folder) -> None:
    path = folder / "foreign.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"_class_path": "os.system"}}, path)
    with pytest.raises(UserError, match=r"is of os\.system, not of simcse"):
        load_from(Path(papers.__file__).parent / "sentence/simcse", path)
