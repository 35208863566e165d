"""WordNet: counts, and a meaning that is known."""

from data.sources.wordnet import WORDNET, read_wordnet


def test_wordnet(fetched) -> None:
    fetched(WORDNET)
    meanings = read_wordnet()
    assert [sum(part == of for part, _ in meanings) for of in "nv"] == [82_115, 13_767]
    carriage = meanings["n", 2791532]
    assert carriage.gloss == "a gun carriage elevated so that the gun can be fired over the parapet"
    assert carriage.file == 6
    assert [meanings[above].gloss for above in carriage.hypernyms] == [
        "a framework on which a gun is mounted for firing"
    ]
    assert all(above in meanings for meaning in meanings.values() for above in meaning.hypernyms)
    assert not meanings["n", 1740].hypernyms
