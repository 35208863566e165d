"""What scenes are made of, and how five languages put it into words.

The nouns of the cut-outs and their genders are read off the stamps' own captions ("Eine Eule.", "Un hibou."). What
joins them is written here: articles, adjectives with their endings, places, relations. A caption is a noun phrase, as
captions are; Japanese is written as the stamps' captions are, with spaces between the phrases.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from data.sources.tuxpaint_stamps import Stamp

LANGUAGES = ("en", "de", "fr", "es", "ja")

THINGS = (
    *("frog", "owl", "penguin", "ladybug", "butterfly", "dolphin", "cow", "camel", "lion", "tiger", "dog", "fox"),
    *("elephant", "horse", "zebra", "giraffe", "pig", "rabbit", "banana", "strawberry", "pineapple", "carrot"),
    *("teapot", "violin", "snowman", "tent", "windmill", "airplane", "fire truck", "soccer ball", "Christmas tree"),
    "flower",
)
"""The cut-outs: stamps whose English caption is the name and an article. Several have more than one picture."""
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "crescent")
"""What is drawn, in any of the colours."""
CLASSES = THINGS + SHAPES
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
SIZES = ("small", "large", "tiny")
PLACES = (
    *("top left", "top", "top right"),
    *("left", "middle", "right"),
    *("bottom left", "bottom", "bottom right"),
)
RELATIONS = ("left of", "right of", "above", "below")

Gender = Literal["m", "f", "n", ""]
Mention = Literal["size", "colour", "place"]
MENTIONS: tuple[Mention, ...] = ("size", "colour", "place")


class Noun(NamedTuple):
    text: str
    gender: Gender


class Thing(NamedTuple):
    """One object of a scene, by its places in the tuples above."""

    kind: int
    colour: int
    """-1 for a cut-out, which has the colours that it has."""
    size: int
    place: int


Scene = tuple[Thing, ...]
"""One to five objects in the order in which captions name them; no two have the same kind and colour."""


def related(scene: Scene) -> int | None:
    """The relation of the first of two objects to the second if they lie clearly beside or above each other."""
    if len(scene) != 2:
        return None
    (row, column), (other_row, other_column) = (divmod(thing.place, 3) for thing in scene)
    down, right = row - other_row, column - other_column
    if abs(down) == abs(right):
        return None
    return (0 if right < 0 else 1) if abs(right) > abs(down) else (2 if down < 0 else 3)


def meaning(scene: Scene, mentions: Sequence[Mention] = MENTIONS) -> str:
    """What a caption says, whatever its order and language: equal captions and equal meanings are the same."""
    relation = related(scene) if "place" in mentions else None
    if relation in (1, 3):
        scene, relation = scene[::-1], relation - 1
    said = []
    for thing in scene:
        parts = [CLASSES[thing.kind]]
        if "colour" in mentions and thing.colour >= 0:
            parts.append(COLOURS[thing.colour])
        if "size" in mentions:
            parts.append(SIZES[thing.size])
        if "place" in mentions and relation is None:
            parts.append(PLACES[thing.place])
        said.append(" ".join(parts))
    return ", ".join(sorted(said)) if relation is None else f" {RELATIONS[relation]} ".join(said)


_ARTICLE = re.compile(r"^(An?|Ein|Eine|Un|Une|Una) ")
_NEUTER = {"Kamel", "Pferd", "Zebra", "Schwein", "Kaninchen", "Zelt", "Flugzeug", "Feuerwehrauto"}
"""German nouns with "ein" that are not masculine."""
_DATIVE = {"Elefant": "Elefanten", "Löwe": "Löwen"}
"""German nouns whose dative is not their nominative."""

_SHAPE_NOUNS: dict[str, tuple[tuple[str, Gender], ...]] = {
    "en": tuple((shape, "") for shape in SHAPES),
    "de": (
        *(("Kreis", "m"), ("Quadrat", "n"), ("Dreieck", "n"), ("Stern", "m")),
        *(("Herz", "n"), ("Kreuz", "n"), ("Ring", "m"), ("Halbmond", "m")),
    ),
    "fr": (
        *(("cercle", "m"), ("carré", "m"), ("triangle", "m"), ("étoile", "f")),
        *(("cœur", "m"), ("croix", "f"), ("anneau", "m"), ("croissant", "m")),
    ),
    "es": (
        *(("círculo", "m"), ("cuadrado", "m"), ("triángulo", "m"), ("estrella", "f")),
        *(("corazón", "m"), ("cruz", "f"), ("anillo", "m"), ("medialuna", "f")),
    ),
    "ja": tuple((noun, "") for noun in ("まる", "しかく", "さんかく", "ほし", "ハート", "じゅうじ", "わ", "みかづき")),
}
# French and Spanish: masculine and feminine. German: the stem.
_COLOURS: dict[str, tuple] = {
    "en": COLOURS,
    "de": ("rot", "orangefarben", "gelb", "grün", "blau", "violett", "weiß", "schwarz"),
    "fr": (
        *(("rouge", "rouge"), ("orange", "orange"), ("jaune", "jaune"), ("vert", "verte")),
        *(("bleu", "bleue"), ("violet", "violette"), ("blanc", "blanche"), ("noir", "noire")),
    ),
    "es": (
        *(("rojo", "roja"), ("naranja", "naranja"), ("amarillo", "amarilla"), ("verde", "verde")),
        *(("azul", "azul"), ("morado", "morada"), ("blanco", "blanca"), ("negro", "negra")),
    ),
    "ja": ("あかい", "オレンジいろの", "きいろい", "みどりいろの", "あおい", "むらさきいろの", "しろい", "くろい"),
}
_SIZES: dict[str, tuple] = {
    "en": SIZES,
    "de": ("klein", "groß", "winzig"),
    "fr": (("petit", "petite"), ("grand", "grande"), ("tout petit", "toute petite")),
    "es": (("pequeño", "pequeña"), ("grande", "grande"), ("diminuto", "diminuta")),
    "ja": ("ちいさい", "おおきい", "とても ちいさい"),
}
_PLACES: dict[str, tuple[str, ...]] = {
    "en": (
        *("at the top left", "at the top", "at the top right", "on the left", "in the middle", "on the right"),
        *("at the bottom left", "at the bottom", "at the bottom right"),
    ),
    "de": (
        *("oben links", "oben", "oben rechts", "links", "in der Mitte", "rechts"),
        *("unten links", "unten", "unten rechts"),
    ),
    "fr": (
        *("en haut à gauche", "en haut", "en haut à droite", "à gauche", "au milieu", "à droite"),
        *("en bas à gauche", "en bas", "en bas à droite"),
    ),
    "es": (
        *("arriba a la izquierda", "arriba", "arriba a la derecha", "a la izquierda", "en el centro", "a la derecha"),
        *("abajo a la izquierda", "abajo", "abajo a la derecha"),
    ),
    "ja": (
        *("ひだりうえに", "うえに", "みぎうえに", "ひだりに", "まんなかに", "みぎに"),
        *("ひだりしたに", "したに", "みぎしたに"),
    ),
}
_RELATIONS: dict[str, tuple[str, ...]] = {
    "en": ("to the left of", "to the right of", "above", "below"),
    "de": ("links von", "rechts von", "über", "unter"),
    "fr": ("à gauche d'", "à droite d'", "au-dessus d'", "au-dessous d'"),
    "es": ("a la izquierda de", "a la derecha de", "por encima de", "por debajo de"),
    "ja": ("ひだりに", "みぎに", "うえに", "したに"),
}
_AND = {"en": "and", "de": "und", "fr": "et", "es": "y"}


class Wording:
    """Puts scenes into the words of one language.

    Args:
        language: one of `LANGUAGES`.
        things: the nouns for `THINGS`, from `thing_nouns`.
        mentions: what captions say of an object besides what it is.
    """

    def __init__(self, language: str, things: Sequence[Noun], mentions: Sequence[Mention] = MENTIONS) -> None:
        self.language = language
        self.mentions = mentions
        self.nouns = [*things, *(Noun(*shape) for shape in _SHAPE_NOUNS[language])]

    def caption(self, scene: Scene) -> str:
        """ "a large red circle to the left of a small dog"; "a small dog at the top and a large frog on the right"."""
        relation = related(scene) if "place" in self.mentions else None
        if relation is None:
            return self.listed([self.placed(thing) for thing in scene])
        first, word = self.phrase(scene[0]), _RELATIONS[self.language][relation]
        second = self.phrase(scene[1], dative=self.language == "de")
        if self.language == "ja":
            return f"{second}の {word} {first}"
        return f"{first} {word}{second}" if word.endswith("'") else f"{first} {word} {second}"

    def placed(self, thing: Thing) -> str:
        """An object and where it is: "a small dog at the top"."""
        if "place" not in self.mentions:
            return self.phrase(thing)
        place = _PLACES[self.language][thing.place]
        return f"{place} {self.phrase(thing)}" if self.language == "ja" else f"{self.phrase(thing)} {place}"

    def listed(self, phrases: list[str]) -> str:
        """The phrases with commas, and with "and" before the last."""
        if self.language == "ja":
            return "、 ".join(phrases)
        *first, last = phrases
        return f"{', '.join(first)} {_AND[self.language]} {last}" if first else last

    def phrase(self, thing: Thing, dative: bool = False) -> str:
        """An object without its place: "a small red circle"; `dative` is for German."""
        word, gender = self.nouns[thing.kind]
        size = _SIZES[self.language][thing.size] if "size" in self.mentions else None
        colour = _COLOURS[self.language][thing.colour] if "colour" in self.mentions and thing.colour >= 0 else None
        if self.language == "en":
            words = [*filter(None, (size, colour)), word]
            return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])
        if self.language == "ja":
            return " ".join(filter(None, (size, colour, word)))
        feminine = gender == "f"
        if self.language == "de":
            article = ("einer" if feminine else "einem") if dative else "eine" if feminine else "ein"
            ending = "en" if dative else {"m": "er", "f": "e", "n": "es"}[gender]
            adjectives = [stem + ending for stem in (size, colour) if stem]
            return " ".join([article, *adjectives, _DATIVE.get(word, word) if dative else word])
        size, colour = (forms and forms[feminine] for forms in (size, colour))
        if self.language == "fr":
            return " ".join(filter(None, ("une" if feminine else "un", size, word, colour)))
        return " ".join(filter(None, ("una" if feminine else "un", word, colour, size)))

    def says(self, caption: str, scene: Scene) -> bool:
        """Whether a caption is one of those that describe the scene; the order of the objects is free. English only."""
        if "place" in self.mentions and related(scene) is not None:
            return caption in (self.caption(scene), self.caption(scene[::-1]))
        return sorted(re.split(", | and ", caption)) == sorted(self.placed(thing) for thing in scene)


_PHRASE = re.compile(r"\ban? [\w ]+?(?=,| (?:at|on|in|to|above|below|and)\b|$)")


def phrases(caption: str) -> list[str]:
    """The objects that an English caption names, without their places: "a small dog", "a large red circle"."""
    return _PHRASE.findall(caption)


def named(stamp: Stamp) -> str:
    """The English name if the caption is but a name and its article."""
    return _ARTICLE.sub("", stamp.captions["en"]).removesuffix(".")


def thing_nouns(stamps: list[Stamp], language: str) -> list[Noun]:
    """The nouns for `THINGS` and, as far as the language has any, their genders, read off the stamps' captions."""
    found = []
    for name in THINGS:
        caption = next(stamp for stamp in stamps if named(stamp) == name).captions[language]
        bare = caption.strip(" .!。\uff01")  # the last is a full-width exclamation mark
        word = _ARTICLE.sub("", bare)
        feminine = bare.split()[0] in ("Eine", "Une", "Una")
        gender = "" if language in ("en", "ja") else "f" if feminine else "n" if word in _NEUTER else "m"
        found.append(Noun(word, gender))
    return found
