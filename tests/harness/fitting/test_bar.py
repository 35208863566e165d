"""What the progress of `papers fit` shows."""

import re

from harness.fitting import fit as fitting
from harness.fitting.bar import Bar

NO_SUMMARY = ["--trainer.enable_model_summary", "false"]


def test_without_a_terminal_lines_say_size_loss_speed_and_what_is_left(card, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Bar.__init__, "__defaults__", (0.0, 0.0))
    fitting.run_subcommand(card, "fit", [], tmp_path)
    out, err = capsys.readouterr()
    assert re.search(r"^papers: training ([\d,]+) of \1 parameters$", err, re.MULTILINE)
    assert "Total params" not in out + err  # Lightning's box is for terminals
    lines = [line for line in err.splitlines() if "step" in line]
    assert len(lines) == 8
    assert re.fullmatch(r"papers: step 2 of 8: loss [\d.e-]+, [\d,]+ samples/s, \d+ s left", lines[1])


def test_on_a_terminal_the_bar_has_them(card, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("harness.fitting.bar._REFRESH", 0.0)
    shown: list[dict[str, object]] = []
    get = Bar.get_metrics

    def remember(self, trainer, module):
        shown.append(get(self, trainer, module))
        return shown[-1]

    monkeypatch.setattr(Bar, "get_metrics", remember)
    import rich

    monkeypatch.setattr(rich, "_console", rich.console.Console(force_terminal=True))
    fitting.run_subcommand(card, "fit", NO_SUMMARY, tmp_path)
    assert any({"train/loss", "samples/s", "left"} <= set(one) for one in shown)
    assert not any("v_num" in one for one in shown)
    assert "papers: step" not in capsys.readouterr().err
