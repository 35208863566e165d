"""Other wordings of captions: what stays, what is drawn anew, and short texts."""

import torch

from data.captions import varied

TEXT = "one two three four five six seven eight nine ten eleven twelve"


def test_words_change_places_or_are_left_out() -> None:
    ids = torch.arange(600)
    found = varied([TEXT] * 600, ids, 0, 1)
    words, full = TEXT.split(), [text for text in found if len(text.split()) == 12]
    for text in found:
        here = text.split()
        assert set(here) <= set(words) and len(set(here)) == len(here) > 0
        # Of what is left out the rest keeps its order; of two exchanged words ten keep their places.
        moved = sum(a != b for a, b in zip(here, words, strict=False)) if len(here) == 12 else 0
        assert moved in (0, 2) and (len(here) == 12 or here == [word for word in words if word in here])
    # Two of three have words exchanged; of the others 0.9 to the power of 12 lose none.
    assert 0.68 < len(full) / 600 < 0.84
    left = [len(text.split()) for text in found if text not in full]
    assert 9.5 < sum(left) / len(left) < 11.0


def test_a_wording_belongs_to_sample_and_key() -> None:
    ids = torch.tensor([4, 9, 4])
    first, other, again = varied([TEXT] * 3, ids, 0)
    assert first == again != other
    assert varied([TEXT], ids[:1], 0) == [first] != varied([TEXT], ids[:1], 1)


def test_short_texts_keep_a_word() -> None:
    ids = torch.arange(200)
    assert set(varied(["word"] * 200, ids, 0)) == {"word"} and set(varied([""] * 200, ids, 0)) == {""}
