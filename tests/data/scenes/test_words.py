"""Captions in five languages: endings, order, and the sameness of what they say."""

import pytest

from data.scenes.pictures import read_nouns, scenes_of
from data.scenes.words import (
    CLASSES,
    COLOURS,
    LANGUAGES,
    PLACES,
    SIZES,
    THINGS,
    Scene,
    Thing,
    Wording,
    meaning,
    phrases,
    related,
)
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS


def thing(words: str) -> Thing:
    """From "small red circle, top left"."""
    what, place = words.split(", ")
    size, *colour, kind = what.replace("fire truck", "fire_truck").split()
    shade = COLOURS.index(colour[0]) if colour else -1
    return Thing(CLASSES.index(kind.replace("_", " ")), shade, SIZES.index(size), PLACES.index(place))


@pytest.fixture(scope="module")
def wordings(fetched) -> dict[str, Wording]:
    fetched(TUXPAINT_STAMPS)
    nouns = read_nouns(None)
    return {language: Wording(language, nouns[language]) for language in LANGUAGES}


def test_nouns_are_read_off_the_stamps(wordings: dict[str, Wording]) -> None:
    owl = CLASSES.index("owl")
    assert {language: wording.nouns[owl] for language, wording in wordings.items()} == {
        "en": ("owl", ""),
        "de": ("Eule", "f"),
        "fr": ("hibou", "m"),
        "es": ("lechuza", "f"),
        "ja": ("フクロウ", ""),
    }
    for wording in wordings.values():
        assert len({noun.text for noun in wording.nouns}) == len(CLASSES)


def test_captions(wordings: dict[str, Wording]) -> None:
    one: Scene = (thing("small owl, top left"),)
    assert [wording.caption(one) for wording in wordings.values()] == [
        "a small owl at the top left",
        "eine kleine Eule oben links",
        "un petit hibou en haut à gauche",
        "una lechuza pequeña arriba a la izquierda",
        "ひだりうえに ちいさい フクロウ",
    ]
    two: Scene = (thing("tiny white star, left"), thing("large lion, right"))
    assert [wording.caption(two) for wording in wordings.values()] == [
        "a tiny white star to the left of a large lion",
        "ein winziger weißer Stern links von einem großen Löwen",
        "une toute petite étoile blanche à gauche d'un grand lion",
        "una estrella blanca diminuta a la izquierda de un león grande",
        "おおきい ライオンの ひだりに とても ちいさい しろい ほし",
    ]
    three: Scene = tuple(map(thing, ("small fire truck, top", "large green cross, middle", "small cow, bottom")))
    assert [wording.caption(three) for wording in wordings.values()] == [
        "a small fire truck at the top, a large green cross in the middle and a small cow at the bottom",
        "ein kleines Feuerwehrauto oben, ein großes grünes Kreuz in der Mitte und eine kleine Kuh unten",
        "un petit camion de pompiers en haut, une grande croix verte au milieu et une petite vache en bas",
        "un camión de bomberos pequeño arriba, una cruz verde grande en el centro y una vaca pequeña abajo",
        "うえに ちいさい しょうぼうしゃ、 まんなかに おおきい みどりいろの じゅうじ、 したに ちいさい めうし",
    ]


def test_german_dative_of_each_gender(wordings: dict[str, Wording]) -> None:
    frog = thing("large frog, top")
    found = [
        wordings["de"].caption((frog, thing(f"small {kind}, bottom"))).split("über ")[1]
        for kind in ("black circle", "black heart", "black crescent", "cow", "elephant", "zebra")
    ]
    assert found == [
        "einem kleinen schwarzen Kreis",
        "einem kleinen schwarzen Herz",
        "einem kleinen schwarzen Halbmond",
        "einer kleinen Kuh",
        "einem kleinen Elefanten",
        "einem kleinen Zebra",
    ]


def test_what_is_not_mentioned_is_not_said() -> None:
    english = [(name, "") for name in THINGS]
    scene: Scene = (thing("large owl, left"), thing("small red ring, right"))
    cases = {
        ("size", "colour"): "a large owl and a small red ring",
        ("colour", "place"): "an owl to the left of a red ring",
        ("size",): "a large owl and a small ring",
        (): "an owl and a ring",
    }
    for mentions, caption in cases.items():
        assert Wording("en", english, mentions).caption(scene) == caption


def test_equal_meaning_is_equal_truth() -> None:
    left, right = thing("large owl, left"), thing("small red ring, right")
    assert meaning((left, right)) == meaning((right, left))
    # A relation leaves the places open; without it, places count.
    assert meaning((left, right)) == meaning((left._replace(place=0), right._replace(place=1)))
    assert meaning((left, right)) != meaning((left._replace(place=5), right._replace(place=3)))
    assert meaning((left,)) != meaning((left._replace(place=0),))
    assert meaning((left,), ("colour",)) == meaning((left._replace(place=0, size=0),), ("colour",))
    # A corner and the corner across have no relation.
    assert related((left._replace(place=0), right._replace(place=8))) is None


def test_one_caption_has_one_meaning_in_every_language(wordings: dict[str, Wording]) -> None:
    scenes = [placed.scene for placed in scenes_of()["test"]]
    for wording in wordings.values():
        said: dict[str, str] = {}
        for scene in scenes:
            assert said.setdefault(wording.caption(scene), meaning(scene)) == meaning(scene)


def test_a_caption_is_understood_in_any_order(wordings: dict[str, Wording]) -> None:
    english = wordings["en"]
    for placed in scenes_of()["val"][:200]:
        scene = placed.scene
        assert english.says(english.caption(scene), scene)
        assert english.says(english.caption(scene[::-1]), scene)
        assert phrases(english.caption(scene)) == [english.phrase(thing) for thing in scene]
        other = (scene[0]._replace(size=1 - scene[0].size), *scene[1:])
        assert not english.says(english.caption(other), scene)
