import pytest

from common.experiments.paired import Interval
from harness.pages import figures


def rows(count: int) -> list[figures.Difference]:
    estimate, seeds = Interval(0.02, 0.01, 0.03, 5, 0.01), (0.01, 0.02, 0.03)
    verdicts = list(figures.STYLE)
    return [
        figures.Difference(f"paper_{i}: a vs b", f"m{i % 7}", estimate, seeds, verdicts[i % len(verdicts)], 0.005)
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 100])
def test_rows_keep_their_height_and_do_not_overlap(count: int) -> None:
    figure = figures.forest(rows(count))
    figure.canvas.draw()
    boxes = []
    for ax in figure.axes:
        texts = [*ax.get_yticklabels(), ax.title, ax.texts[0]]
        boxes += [text.get_window_extent() for text in [*texts, *ax.get_xticklabels()] if text.get_text()]
    inside = figure.bbox
    labels = [box for box in boxes if box.width]
    for i, box in enumerate(labels):
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        assert not any(box.overlaps(other) for other in labels[i + 1 :])


def test_long_labels_stay_inside_the_figure() -> None:
    estimate = Interval(-1234.5, -2345.6, -3.2, 5, 1.0)
    long = figures.Difference("W" * 200, "m", estimate, (-1200.0, -1300.0), "contradicted", 10.0)
    figure = figures.forest([long])
    figure.canvas.draw()
    (label,) = figure.axes[0].get_yticklabels()
    assert label.get_text().endswith("…")
    assert figure.axes[0].texts[0].get_window_extent().x1 <= figure.bbox.x1


def test_the_svg_has_no_ground_and_no_date() -> None:
    svg = figures.render(figures.forest(rows(2)), "title\nnumbers")
    assert (
        "<dc:date>" not in svg
        and "fill: #ffffff" not in svg
        and svg == figures.render(figures.forest(rows(2)), "title\nnumbers")
    )


def test_a_claim_is_drawn_with_its_seeds_and_its_margin() -> None:
    (ax,) = figures.forest(rows(1)).axes
    (band,) = ax.patches
    assert (band.get_x(), band.get_width()) == (-0.005, 0.01)
    dots = [line for line in ax.lines if line.get_marker() == "."]
    assert list(dots[0].get_xdata()) == [0.01, 0.02, 0.03]


def test_arms_have_no_interval_of_their_own_beside_paired_claims() -> None:
    arm = figures.Arm("a", (0.1, 0.2), Interval(0.15, 0.0, 0.3, 2, 0.07))
    drawn = figures.paper({"m": [arm]}, rows(1), [figures.Check("bound", (1e-9,), 1e-6)])
    assert [ax.get_title(loc="left")[:2] for ax in drawn.axes] == ["m", "m0", "pr"]
    assert all(line.get_linestyle() == "None" or len(line.get_xdata()) < 2 for line in drawn.axes[0].lines)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["#ffffff", "#0d1117"])
def test_colours_stand_out_on_light_and_on_dark(ground: str) -> None:
    for colour in [figures.INK, *(colour for colour, _ in figures.STYLE.values())]:
        low, high = sorted((luminance(colour), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) > 3, colour  # WCAG's floor for graphics


def test_figures_of_another_matplotlib_are_compared_by_their_numbers() -> None:
    ours = figures.render(figures.forest(rows(2)), "title\nnumbers")
    older = ours.replace("<dc:title>matplotlib ", "<dc:title>matplotlib 0.").replace("font-size", "Font-size")
    assert figures.same_figure(older, ours)
    assert not figures.same_figure(
        figures.render(figures.forest(rows(2)), "title\nothers").replace("lib ", "lib 0."), ours
    )
    assert not figures.same_figure(ours.replace("font-size", "Font-size"), ours), "same version: byte for byte"
