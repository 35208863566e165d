"""Sentiment, parallel text, speech, music, motion, graphs and proteins: counts, and a sample that is known."""

import io
import pickle
import wave
from collections import Counter

import numpy as np
import pytest

from common.errors import UserError
from data.sources.asterisk_sounds import CLIPS, LANGUAGES, TRANSCRIPTS, read_clips, read_transcripts
from data.sources.bible_alignments import BIBLE_ALIGNMENTS, read_english, read_greek, read_links
from data.sources.klettres import KLETTRES, read_letters_and_syllables
from data.sources.ktuberling import KTUBERLING, read_spoken_names
from data.sources.mmseqs2 import MMSEQS2, read_proteins
from data.sources.music21 import MUSIC21, read_tunes
from data.sources.pybullet_motions import PYBULLET_MOTIONS, read_motions
from data.sources.pykeen import PYKEEN, read_triples
from data.sources.quran import LANGUAGES as QURAN_LANGUAGES
from data.sources.quran import QURAN, read_quran
from data.sources.recbole import RECBOLE, read_movielens
from data.sources.seglearn import SEGLEARN, _ArraysOnly, read_watch
from data.sources.vader import VADER, read_rated


@pytest.mark.parametrize(
    ("domain", "count"), [("movies", 10_605), ("tweets", 4200), ("editorials", 5190), ("products", 3708)]
)
def test_sentiment(domain: str, count: int, fetched) -> None:
    fetched(VADER)
    sentences = read_rated(domain)
    assert len(sentences) == count
    assert all(-4 <= sentence.rating <= 4 for sentence in sentences)
    if domain == "products":
        first = ("1_1", -0.9, "troubleshooting ad-2500 and ad-2600 no picture scrolling b/w.")
        assert sentences[0] == first


def test_word_links(fetched) -> None:
    fetched(BIBLE_ALIGNMENTS)
    greek = {token.key: token for token in read_greek()}
    english = {token.key: token for token in read_english()}
    links = read_links()
    assert (len(greek), len(english), len(links)) == (137_741, 201_136, 115_008)
    assert sum(len(source) * len(target) for source, target in links) == 189_927
    assert greek["40001001001"].lemma == "βίβλος"
    assert [english[key].text for key in links[0][1]] == ["This", "is", "the", "record"]
    assert greek["40001001001"].verse == 40_001_001
    assert all(key in greek for source, _ in links for key in source)
    assert all(key in english for _, target in links for key in target)


def test_quran(fetched) -> None:
    fetched(QURAN)
    verses = read_quran(*QURAN_LANGUAGES)
    assert {len(table) for table in verses.values()} == {6236}
    assert len({tuple(table) for table in verses.values()}) == 1
    assert all(text.strip() for table in verses.values() for text in table.values())
    assert verses["en"][1, 1] == "In the name of Allah, the Entirely Merciful, the Especially Merciful"
    assert verses["fr"][1, 1].startswith("Au nom d'Allah")


@pytest.mark.parametrize(("language", "both"), [("en", 568), ("es", 483), ("fr", 514), ("it", 595), ("ru", 571)])
def test_prompts(language: str, both: int, fetched) -> None:
    fetched(CLIPS[language], TRANSCRIPTS[language])
    said, clips = read_transcripts(language), read_clips(language)
    assert len(said.keys() & clips.keys()) == both
    seven = {"en": "seven", "es": "siete", "fr": "sept", "it": "sette", "ru": "семь"}[language]
    assert said["digits/7"].lower().rstrip(".") == seven
    with wave.open(io.BytesIO(clips["digits/7"])) as clip:
        assert (clip.getframerate(), clip.getnchannels(), clip.getsampwidth()) == (8000, 1, 2)
        assert 0.2 < clip.getnframes() / 8000 < 2


def test_tunes(fetched) -> None:
    fetched(MUSIC21)
    tunes = read_tunes()
    assert len(tunes) == 12_978
    counts = Counter(letter for tune in tunes for letter in tune.fields)
    assert {letter: counts[letter] for letter in "TRO"} == {"T": 12_978, "R": 10_375, "O": 8534}
    assert tunes[0].collection == "airdsAirs"
    assert tunes[0].fields["T"] == "The Ranting Highlandman."
    assert tunes[0].notes.startswith("AG|B2B2 B2AG|")
    assert all(tune.notes for tune in tunes)


def test_motions(fetched) -> None:
    fetched(PYBULLET_MOTIONS)
    motions = {motion.name: motion for motion in read_motions()}
    assert len(motions) == 15
    assert sum(len(motion.frames) for motion in motions.values()) == 1620
    assert {motion.frames.shape[1] for motion in motions.values()} == {44}
    assert motions["walk"].loops
    assert not motions["getup_faceup"].loops
    # The root's orientation is a unit quaternion in every frame.
    norms = np.concatenate([np.linalg.norm(motion.frames[:, 4:8], axis=1) for motion in motions.values()])
    assert np.abs(norms - 1).max() < 0.01


def test_watch(fetched) -> None:
    fetched(SEGLEARN)
    series = read_watch()
    assert len(series) == 140
    assert Counter(one.exercise for one in series) == dict.fromkeys(
        ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"], 20
    )
    assert {one.subject for one in series} == set(range(1, 11))
    assert series[0].signal.shape == (1333, 6)
    # Every person does every exercise on both sides.
    assert len({(one.exercise, one.subject, one.side) for one in series}) == 140


def test_pickle_that_calls_a_function_is_refused() -> None:
    class Call:
        def __reduce__(self):
            return print, ("ran",)

    with pytest.raises(pickle.UnpicklingError, match=r"print is no array"):
        _ArraysOnly(io.BytesIO(pickle.dumps(Call()))).load()


@pytest.mark.parametrize(
    ("graph", "sizes", "entities", "relations"),
    [
        ("nations", (1592, 199, 201), 14, 55),
        ("kinships", (8544, 1068, 1074), 104, 25),
        ("umls", (5216, 652, 661), 135, 46),
    ],
)
def test_triples(graph: str, sizes: tuple[int, ...], entities: int, relations: int, fetched) -> None:
    fetched(PYKEEN)
    splits = read_triples(graph)
    assert tuple(len(splits[split]) for split in ("train", "val", "test")) == sizes
    triples = [triple for part in splits.values() for triple in part]
    assert len({end for head, _, tail in triples for end in (head, tail)}) == entities
    assert len({relation for _, relation, _ in triples}) == relations
    if graph == "umls":
        assert triples[0] == ("acquired_abnormality", "location_of", "experimental_model_of_disease")


def test_movielens(fetched) -> None:
    fetched(RECBOLE)
    tables = read_movielens()
    sizes = {"inter": 100_000, "user": 943, "item": 1682, "kg": 91_631, "link": 1598}
    assert {name: len(table) for name, table in tables.items()} == sizes
    assert tables["item"][0]["movie_title"] == "Toy Story"
    assert tables["item"][0]["class"] == ["Animation", "Children's", "Comedy"]
    assert Counter(row["rating"] for row in tables["inter"])[5.0] == 21_201
    films = {row["item_id"] for row in tables["item"]}
    assert all(row["item_id"] in films for row in tables["link"])


def test_proteins(fetched) -> None:
    fetched(MMSEQS2)
    proteins = read_proteins()
    assert len(proteins) == 20_000
    assert sum(protein.reviewed for protein in proteins) == 3183
    assert proteins[1].accession == "M4KW32"
    assert proteins[1].name == "Choline ABC transporter (ATP-binding protein)"
    assert proteins[1].organism == "Bacillus subtilis XF-1"
    assert proteins[1].sequence.startswith("MLTLENVSKTYKGGKKAV")
    assert all(protein.sequence.isalpha() and protein.sequence.isupper() for protein in proteins)


def test_unknown_names_are_listed() -> None:
    with pytest.raises(UserError, match="domain is 'books'; it must be one of movies, tweets, editorials, products"):
        read_rated("books")
    with pytest.raises(UserError, match="graph is 'fb15k'; it must be one of nations, kinships, umls"):
        read_triples("fb15k")
    with pytest.raises(UserError, match="language is 'de'; it must be one of en, es, fr, it, ru"):
        read_clips("de")
    with pytest.raises(UserError, match="language is 'de'; it must be one of ar, bn"):
        read_quran("de")
    assert LANGUAGES == ("en", "es", "fr", "it", "ru")


def test_letters_and_syllables(fetched) -> None:
    fetched(KLETTRES)
    sounds = read_letters_and_syllables()
    assert len(sounds) == 1835
    kinds = Counter((sound.language, sound.kind) for sound in sounds)
    assert len({language for language, _ in kinds}) == 20
    assert kinds["ml", "syllable"] == 465 and kinds["it", "letter"] == 25
    assert next(sound.text for sound in sounds if sound.language == "it" and sound.kind == "syllable") == "BA"
    assert all(sound.audio.startswith(b"OggS") for sound in sounds)


def test_spoken_names(fetched) -> None:
    fetched(KTUBERLING)
    spoken = read_spoken_names()
    assert len(spoken) == 26
    assert sum(map(len, spoken.values())) == 1857
    assert {len(spoken[language]) for language in ("ca", "fr", "nn", "uk")} == {190}
    assert spoken["fr"]["moustache"].startswith(b"RIFF")
