"""Lines that a card names, read off records: over a place in the recipe, and over numbers in the names of metrics."""

import dataclasses
from pathlib import Path

import pytest

from common.errors import UserError
from common.experiments.card import Curve
from common.experiments.loss_curves import LossCurve
from harness.pages import curves, figures, report
from harness.records.standing import Standing
from tests.harness import house

ARMS = """
      alpha: {label: Alpha}
      beta: {label: Beta, model: {class_path: toyhouse.Other}}
"""
MORE = """
      alpha: {label: Alpha}
      warm: {label: Warm, model: {init_args: {temperature: 0.5}}, data: {init_args: {noise: 0.2}}}
      beta: {label: Beta, model: {class_path: toyhouse.Other}}
    curves:
      - {x: model.temperature, y: probe/top1, log: true, lines: [{label: Alpha, arms: [warm, alpha]}]}
      - x: step
        y: "gap/step{x}"
        lines: [{label: Alpha, arms: [alpha]}, {label: of Warm, arms: [warm], metric: "other {x} steps"}]
    planes:
      - {x: gap/step0, y: gap/step5}
      - {x: probe/top1, y: gap/step5, arms: [alpha]}
"""


@pytest.fixture
def drawn(root: Path) -> Path:
    """The house with an arm more, curves, and metrics on the way."""
    card = root / "papers/toys/alpha/paper.yaml"
    text = card.read_text()
    assert text.count(ARMS.strip("\n")) == 1
    card.write_text(text.replace(ARMS.strip("\n"), MORE.strip("\n")).rstrip() + DEVIATIONS)
    for seed, value in enumerate((0.5, 0.7)):
        metrics = {"probe/top1": value, "other 10 steps": 0.3, "other 1e3 steps": 0.2, "another 10 steps": 9.0}
        house.record(root, arm="warm", seed=seed, metrics=metrics)
        house.record(root, arm="alpha", seed=seed, metrics={"probe/top1": 0.9, "gap/step0": 0.1, "gap/step5": value})
        found = {"deviation": 1e-9, "deviation/of 2 points": 1e-9, "deviation/of 8 points": value * 1e-9}
        fields = {"experiment": "bound", "arm": "bound", "recipe": "toyhouse:bound", "benchmark": "property"}
        house.record(root, **fields, seed=seed, metrics=found, data_hash="", steps=0)
    return root


DEVIATIONS = """
    curves:
      - {x: points, y: "deviation/of {x} points", log: true, log_y: true, lines: [{label: bound}]}
"""


def alpha(root: Path) -> Standing:
    return next(paper for paper in house.papers(root) if paper.card.slug == "alpha")


def test_points_lie_where_the_recipe_or_the_name_of_the_metric_says(drawn: Path) -> None:
    over_recipe, over_steps, *_, of_property = curves.plots(alpha(drawn))
    # The later records of seeds 0 and 1 stand in place of the first, 0.9 for both.
    alpha_line = (0.9, 0.9, *house.ALPHA[2:])
    assert over_recipe.log and over_recipe.x == "temperature" and over_recipe.title == "main: probe/top1"
    assert [line.points for line in over_recipe.lines] == [((0.1, alpha_line), (0.5, (0.5, 0.7)))]
    assert over_steps.title == "main: gap/step" and [line.label for line in over_steps.lines] == ["Alpha", "of Warm"]
    assert over_steps.lines[0].points == ((0.0, (0.1, 0.1)), (5.0, (0.5, 0.7)))
    assert over_steps.lines[1].points == ((10.0, (0.3, 0.3)), (1000.0, (0.2, 0.2)))
    assert of_property.lines[0].points == ((2.0, (1e-9, 1e-9)), (8.0, (0.5e-9, 0.7e-9)))


def test_the_lines_are_those_of_the_means(drawn: Path) -> None:
    plots = curves.plots(alpha(drawn))
    figure = figures.curves(plots)
    figure.canvas.draw()
    (first, second), (line, *_) = figure.axes[0].lines[0].get_data(), figure.axes[1].lines
    assert list(first) == [0.1, 0.5] and list(second) == pytest.approx([0.916, 0.6])
    assert list(line.get_ydata()) == pytest.approx([0.1, 0.6])
    band = figure.axes[1].collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(0.6 + 0.02**0.5) and band.min() == pytest.approx(0.1)
    assert [ax.get_xscale() for ax in figure.axes] == ["log", *["linear"] * 3, "log"]
    assert [ax.get_yscale() for ax in figure.axes] == [*["linear"] * 4, "log"]
    inside = figure.bbox
    for ax in figure.axes:
        box = ax.get_tightbbox()  # of the title, the names of the axis and the legend too
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1 and inside.x0 <= box.x0 and box.x1 <= inside.x1
        assert ax.get_legend().get_window_extent().x0 > ax.bbox.x1


def test_a_plane_has_a_dot_for_each_run_that_has_both_metrics(drawn: Path) -> None:
    plane = curves.plots(alpha(drawn))[2]
    assert plane.title == "main: gap/step5" and plane.x == "gap/step0" and not plane.joined
    assert [(dots.label, dots.points) for dots in plane.lines] == [("Alpha", ((0.1, (0.5,)), (0.1, (0.7,))))]
    (dots,) = figures.curves([plane]).axes[0].lines
    assert dots.get_linestyle() == "None" and list(dots.get_ydata()) == [0.5, 0.7]


def test_losses_are_those_of_the_recorded_trainings(drawn: Path) -> None:
    paper = alpha(drawn)
    found = {(record.recipe_hash, record.seed): record for record in paper.trials[0].records if record.arm == "warm"}
    kept = {key: LossCurve(10, (3.0 - key[1], 1.0)) for key in found} | {("another recipe", 0): LossCurve(10, (9.0,))}
    (plot,) = curves.losses(paper, kept)
    assert plot.title == "main: training loss" and plot.x == "step" and not plot.marked
    assert [(line.label, line.points) for line in plot.lines] == [("Warm", ((5.0, (3.0, 2.0)), (15.0, (1.0, 1.0))))]
    assert figures.curves([plot]).axes[0].lines[0].get_marker() == ""
    assert curves.losses(paper, {}) == []


def test_a_point_at_0_has_no_logarithm(drawn: Path) -> None:
    card = drawn / "papers/toys/alpha/paper.yaml"
    card.write_text(card.read_text().replace('y: "gap/step{x}"', 'y: "gap/step{x}"\n        log: true'))
    assert [x for x, _ in curves.plots(alpha(drawn))[1].lines[0].points] == [5.0]


def test_the_page_shows_them(drawn: Path) -> None:
    changed = report.write(drawn, drawn / "results", house.papers(drawn), slugs={"alpha"})
    assert drawn / "results/figures/alpha.curves.svg" in changed
    link = "![alpha: curves over the recorded runs](../../../results/figures/alpha.curves.svg)"
    assert link in (drawn / "papers/toys/alpha/README.md").read_text()
    assert not report.write(drawn, drawn / "results", house.papers(drawn), slugs={"alpha"})


def test_a_paper_without_curves_has_no_such_figure(root: Path) -> None:
    report.write(root, root / "results", house.papers(root))
    assert not list(root.glob("results/figures/*.curves.svg"))
    assert "curves" not in (root / "papers/toys/alpha/README.md").read_text()


@pytest.mark.parametrize(
    ("where", "expected"),
    [("model.temperature", 0.5), ("data.noise", 0.2), ("data.batch_size", 4.0), ("trainer.max_epochs", 1.0)],
)
def test_a_place_has_the_number_of_the_arm_or_of_the_recipe(drawn: Path, where: str, expected: float) -> None:
    assert curves.place(alpha(drawn).trials[0], "warm", where) == expected


def test_what_is_written_nowhere_has_its_default(drawn: Path) -> None:
    assert curves.place(alpha(drawn).trials[0], "alpha", "data.noise") == 0.0


@pytest.mark.parametrize("where", ["model.nothing", "data.batch_size.0", "trainer.precision"])
def test_a_place_without_a_number_is_named(drawn: Path, where: str) -> None:
    with pytest.raises(
        UserError, match=f"alpha/main: the arm 'warm' has None at {where}, where a curve needs a number"
    ):
        curves.place(alpha(drawn).trials[0], "warm", where)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("arms: [warm, alpha]", "arms: [worm]", "names the unknown arm 'worm'"),
        ("arms: [warm, alpha]", "arms: []", "the line 'Alpha' has no arms"),
        ("x: model.temperature", "x: temperature", "'x' is 'temperature'; it must be a place in the recipe"),
        ("arms: [alpha]}, {label", "arms: [alpha, warm]}, {label", "is of one arm; 'Alpha' has"),
        ("lines: [{label: bound}]", "lines: [{label: bound, arms: [alpha]}]", "a line of a property has no 'arms'"),
        ("of {x} points", "of points", "a line of a property has no 'arms', and '{x}'"),
        ("lines: [{label: bound}]", "lines: []", "'lines' is empty"),
        ("y: gap/step5, arms: [alpha]", "y: gap/step5, arms: [alfa]", "names the unknown arm 'alfa'"),
    ],
)
def test_what_a_curve_cannot_be_is_refused(drawn: Path, old: str, new: str, message: str) -> None:
    card = drawn / "papers/toys/alpha/paper.yaml"
    assert card.read_text().count(old) == 1
    card.write_text(card.read_text().replace(old, new))
    with pytest.raises(UserError, match=r"paper\.yaml:[0-9]+: ") as error:
        alpha(drawn)
    assert message in str(error.value)


def test_long_names_stay_inside_the_figure() -> None:
    trace = figures.Trace("What is told in many words, at a temperature of 0.01", ((1.0, (1.0,)), (2.0, (3.0,))))
    figure = figures.curves([figures.Plot("m", "x", (trace,))])
    assert figure.axes[0].get_tightbbox().x1 <= figure.bbox.x1


def test_more_than_five_lines_differ_in_their_dashes() -> None:
    lines = tuple(figures.Trace(str(k), ((1.0, (k,)), (2.0, (k + 1,)))) for k in range(7))
    drawn = figures.curves([figures.Plot("m", "x", lines)]).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 7


def test_a_curve_needs_little() -> None:
    required = [f.name for f in dataclasses.fields(Curve) if f.default is dataclasses.MISSING]
    assert required == ["x", "y", "lines"]
