"""Pictures, links and docstrings of the site, without building it."""

from pathlib import Path

import pytest

from common.experiments.card import Published
from common.experiments.paired import Interval
from common.experiments.texts import NOTHING
from harness.pages.figures import Check, Difference
from harness.site import build, drawn, pictures
from harness.site.api import to_rst
from harness.site.links import Links
from harness.site.published import published_gain

ESTIMATE = Interval(0.02, 0.01, 0.03, 3, 0.01)


def pair(title: str = "A beats B") -> pictures.Pair:
    row = Difference(title, "top1", ESTIMATE, (0.01, 0.02, 0.03), "reproduced", 0.005)
    return pictures.Pair(title, ("A", "B"), (0.51, 0.52, 0.53), (0.5, 0.5, 0.5), {"floor": 0.1, "untrained": 0.12}, row)


def test_every_seed_is_a_dot_beside_floor_untrained_and_margin() -> None:
    arms, difference = pictures.paper([pair()], []).axes
    drawn_ = [list(line.get_xdata()) for line in arms.lines]
    assert drawn_ == [[0.5, 0.5, 0.5], [0.51, 0.52, 0.53], [0.1, 0.1], [0.12, 0.12]]
    (band,) = difference.patches
    assert (band.get_x(), band.get_width()) == (-0.005, 0.01)
    assert [0.01, 0.02, 0.03] in [list(line.get_xdata()) for line in difference.lines]
    assert [0.01, 0.03] in [list(line.get_xdata()) for line in difference.lines]


long = "Weighting the anchors one against another beats a gradient that is as long for the whole batch " * 3
FIGURES = {
    "paper": lambda: pictures.paper([pair(), pair(long)], [Check(long, (1e-9, 0.0), 1e-6)]),
    "forest": lambda: pictures.forest({"a": [pair(long).difference], "b": [pair().difference] * 3}),
    "chart": lambda: pictures.chart(
        [pictures.Point(f"paper_{i}", 7.0 * i, 50.0 - 9 * i, "contradicted", True) for i in range(9)]
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_words_stay_inside_and_can_be_read_on_a_phone(name: str) -> None:
    """A phone of 360 points shows the picture 328 wide: letters are at least 8 points high there."""
    from matplotlib.text import Text

    figure = FIGURES[name]()
    figure.canvas.draw()
    words = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert len(words) > 8
    for text in words:
        box = text.get_window_extent()
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1, text
        assert text.get_fontsize() * 96 / 72 * 328 / (pictures.WIDTH * 96) >= 8


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("theme", "ground"), [("light", "#ffffff"), ("dark", "#131416")])
def test_colours_stand_out_from_their_ground(theme: str, ground: str) -> None:
    for colour in drawn.THEMES[theme]:
        low, high = sorted((luminance(colour), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, colour


def test_a_picture_is_drawn_anew_only_for_other_numbers(tmp_path: Path) -> None:
    count = []

    def draw():
        count.append(1)
        return pictures.paper([pair()], [])

    for numbers in ("one", "one", "two"):
        for path, text in drawn.Picture("a", "A beats B.", numbers, draw).files(tmp_path):
            path.write_text(text)
    assert len(count) == 2
    light, dark = ((tmp_path / f"a-{theme}.svg").read_text() for theme in ("light", "dark"))
    assert drawn.THEMES["light"][1] in light and drawn.THEMES["dark"][1] in dark
    assert not any(colour in light + dark for colour in drawn._MIDTONES)


@pytest.mark.parametrize(
    ("metric", "baseline", "value", "gain"),
    [
        ("top-1 (%)", 60.0, 70.0, 25.0),
        ("Spearman x 100", 80.0, 79.0, -5.0),
        ("calibration error (%)", 10.0, 8.0, 20.0),
        ("zero-shot top-1", 60.0, 70.0, None),
        ("top-1 (%)", None, 70.0, None),
    ],
)
def test_a_published_gain_is_a_share_of_what_was_left(metric, baseline, value, gain) -> None:
    row = Published("data", metric, "A", value, "Table 1", baseline_value=baseline)
    assert published_gain(row) == (None if gain is None else pytest.approx(gain))


def test_links_of_the_repository_become_those_of_the_site(tmp_path: Path) -> None:
    (tmp_path / "papers/toys/alpha").mkdir(parents=True)
    (tmp_path / "papers/toys/alpha/properties.py").touch()
    links = Links(
        tmp_path, {"results/README.md": "claims.md"}, ["claims.md", "README.md", "papers/toys/beta/README.md"]
    )
    text = "[a](../../../results/README.md#x) [b](../beta) `[c](../beta)` [d](properties.py) [e](..) [f](https://x.org)"
    there = "[a](/claims.md#x) [b](/papers/toys/beta/README.md) `[c](../beta)` [d](properties.py) e [f](https://x.org)"
    assert links.rewrite(text, "papers/toys/alpha/README.md") == there
    assert links.rewrite("```\n[b](../beta)\n```", "papers/toys/alpha/README.md") == "```\n[b](../beta)\n```"
    assert links.files == {"papers/toys/alpha/properties.py"}


def test_a_docstring_means_what_it_says() -> None:
    lines = ["Of `x_*` and |x|, 2**3 and w_i, wide_word or w_.", "", "Args:", "    x: (n, d)."]
    to_rst(None, "function", "f", None, None, lines)
    assert lines == ["Of ``x_*`` and \\|x\\|, 2\\*\\*3 and w_i, wide_word or w\\_.", "", "Args:", "    x: (n, d)."]


def test_lists_and_examples_of_a_docstring_stay_as_they_are() -> None:
    lines = ["* one |x|", "Example::", "", "    a * b", "", "Then x*"]
    to_rst(None, "function", "f", None, None, lines)
    assert lines == ["* one \\|x\\|", "Example::", "", "    a * b", "", "Then x\\*"]


def test_the_script_knows_how_nothing_is_written() -> None:
    script = (build.HERE / "static/explorer.js").read_text()
    assert f'const NOTHING = "{NOTHING}";' in script
