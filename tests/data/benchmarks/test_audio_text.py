"""Own recordings with transcripts."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from common.audio import log_mel
from common.batches import SpeechTranslations, SpeechViews, TranscribedSpeech
from common.errors import UserError
from data.benchmarks.own.audio_text import AudioText, capitals
from tests.data.benchmarks import own_files


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    own_files.sounds(tmp_path / "speech.csv", 30)


def benchmark(**options) -> AudioText:
    return AudioText(**{"path": "speech.csv", "batch_size": 4} | options)


def epoch(data: AudioText, number: int = 0) -> list:
    loader = data.train_dataloader()
    loader.order.set_epoch(number)
    return list(loader)


def test_each_kind_of_batch() -> None:
    data = benchmark()
    assert data.sizes() == {"train": 21, "val": 3, "test": 6}
    views = epoch(data)
    assert all(type(batch) is SpeechViews and batch.views.shape[:2] == (2, 4) for batch in views)
    assert views[0].views.shape[3] == 40 and not torch.equal(*views[0].views)
    assert all(torch.equal(a.views, b.views) for a, b in zip(views, epoch(benchmark()), strict=True))
    told = epoch(benchmark(train="transcripts", sound="waveform"))
    said = dict(line.split(",") for line in Path("speech.csv").read_text().splitlines()[1:])
    for batch in told:
        assert type(batch) is TranscribedSpeech and batch.speech.shape == (4, 14_400)
        assert batch.length.tolist() == [14_400] * 4
        assert batch.transcript == [said[f"tones/{i}.wav"].upper() for i in batch.ids.tolist()]
        torch.testing.assert_close(batch.speech.std(dim=1), torch.ones(4), atol=1e-3, rtol=0)
    (batch, *_) = epoch(benchmark(train="translations", target="fr"))
    assert type(batch) is SpeechTranslations and batch.translation == batch.transcript
    assert batch.source == ["en"] * 4 and batch.target == ["fr"] * 4
    whole = soundfile.read(f"tones/{int(batch.ids[0])}.wav", dtype="float32")[0]
    torch.testing.assert_close(batch.speech[0, : batch.length[0]], log_mel(torch.from_numpy(whole)))


def test_an_excerpt_begins_elsewhere_in_another_epoch() -> None:
    data = benchmark(views=["clean"], excerpt=0.4)
    first, second = (
        {int(i): view for batch in epoch(data, number) for i, view in zip(batch.ids, batch.views[0], strict=True)}
        for number in range(2)
    )
    both = first.keys() & second.keys()
    assert all(view.shape == (20, 40) for view in first.values())
    assert sum(not torch.equal(first[i], second[i]) for i in both) > len(both) // 2


class Ear(nn.Module):
    """Hears the band that is loudest in each third, and knows nothing of letters."""

    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        thirds = [torch.stack([third.mean(0) for third in clip.tensor_split(3)]) for clip in clips]
        return torch.stack([10 * one.softmax(dim=1).sum(0) for one in thirds])

    def transcribe_speech(self, clips: list[Tensor]) -> list[str]:
        return ["RED"] * len(clips)


def test_words_are_read_from_embeddings_and_errors_counted() -> None:
    own_files.sounds(Path("speech.csv"), 120)
    data = benchmark()
    metrics, floor = data.evaluate(Ear()), data.floor()
    assert data.primary in metrics and data.primary.startswith("probe_words/mrr/gallery")
    assert metrics[data.primary] > 3 * floor["chance"][data.primary]
    assert floor["mean and deviation"][data.primary] > 2 * floor["chance"][data.primary]
    assert metrics["wer/transcript"] == 1 - metrics["word_accuracy/transcript"] > 0.5
    with pytest.raises(UserError, match="benchmark audio_text needs a module with embed_speech; Linear has none"):
        data.evaluate(nn.Linear(1, 1))


def test_folders_of_recordings_with_metadata_and_any_rate() -> None:
    Path("spoken").mkdir()
    rows = ["file_name,said"]
    for i in range(12):
        soundfile.write(f"spoken/{i}.flac", 0.1 * np.random.default_rng(i).normal(size=(8000, 2)), 8000)
        rows.append(f"{i}.flac,number {i}")
    Path("spoken/metadata.csv").write_text("\n".join(rows))
    data = AudioText(path="spoken", transcript="said", sound="waveform", batch_size=2)
    assert data.sizes() == {"train": 9, "val": 1, "test": 2}
    _, items, names = data.embeddable("test")["speech"]
    assert [len(clip) for clip in items[:]] == [16_000] * 2 and names[0].startswith("spoken/metadata.csv, row ")


def test_transcripts_as_recognizers_of_letters_read_them() -> None:
    assert capitals("Señor Müller\u2019s 2 cats, \u201cquoted\u201d!") == "SENOR MULLER'S CATS QUOTED"
