"""`papers fit`, `validate` and `test`: LightningCLI on a recipe of a paper, from --ckpt_path to the last lines."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from common.errors import UserError, WrongBatch
from common.experiments import yaml_lines
from common.experiments.card import Card
from common.paths import as_path
from common.training.checkpoint import check_weights, read_checkpoint
from harness.console import say, shown_path
from harness.files import workplace
from harness.fitting.checkpoint import check_origin, find_checkpoint
from harness.fitting.learning import Learning
from harness.fitting.scores import Score, plain, write_score
from harness.fitting.start import start
from harness.fitting.watch import Watch
from harness.recipes import catalog
from harness.recipes.catalog import importable
from harness.recipes.early import INIT_FROM, OPTION, UNTRAINED, needs_checkpoint
from harness.recipes.lightning_cli import PapersCLI
from harness.recipes.options import parsed
from harness.recipes.recipe import tensorboard
from harness.recipes.written import load_recipe


def run_subcommand(card: Card, subcommand: str, args: list[str], logs: Path | None = None) -> None:
    """`papers fit|validate|test SLUG [LightningCLI options]`, from mini.yaml unless --config names another recipe.

    Args:
        args: options of LightningCLI, and --untrained. A --config that does not exist here is looked for beside the
            card.
        logs: where a folder for the paper is made; by default `logs` of the repository, or of the
            working folder where there is none.

    Raises:
        UserError: an argument is wrong, or a checkpoint does not fit; before anything trains.
        KeyboardInterrupt: a signal ended it.
    """
    importable(card.root)
    args = _with_recipe(card, list(args))
    untrained = UNTRAINED in args
    args = [arg for arg in args if arg != UNTRAINED]
    folder = (logs or workplace(card.root) / "logs") / card.slug
    with quiet():
        _FitCLI(card, subcommand, args, folder, untrained)


class _FitCLI(PapersCLI):
    def __init__(self, card: Card, subcommand: str, args: list[str], logs: Path, untrained: bool) -> None:
        self.card, self.logs, self.untrained = card, logs, untrained
        self.typed = [
            option for option in parsed(args) if option.key.startswith("data.") and "class_path" not in option.key
        ]
        self.checkpoint: dict[str, Any] | None = None
        self.path: Path | None = None
        self.watch = Watch()
        trainer = {"logger": tensorboard(logs / subcommand, version=None), "callbacks": [self.watch, Learning()]}
        super().__init__([subcommand, *args], trainer)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        # An argument, and no option beside them, so that the config.yaml of a log says what its training began with.
        parser.add_argument(INIT_FROM, type=str | None, default=None, help="weights to begin with, see `start`")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        # Checkpoints are plain values here, always.
        return {name: {*skip, "weights_only"} for name, skip in PapersCLI.subcommands().items()}

    def _parse_ckpt_path(self) -> None:
        self._move_logs()
        given = self.config[self.config.subcommand].get("ckpt_path")
        fitting = self.config.subcommand == "fit"
        if given is not None:
            self._read(str(given), fitting)
        elif not fitting and not self.untrained and self._init_from is None:
            raise needs_checkpoint(self.config.subcommand, self.card.slug)
        elif self.untrained and not fitting:
            say(f"{self.card.slug} is scored untrained: with the weights that a training starts from")
        _check_writable(self.logs)

    @property
    def _init_from(self) -> str | None:
        return self.config[self.config.subcommand].get("init_from")

    def _move_logs(self) -> None:
        """What is written stands under --trainer.default_root_dir, where there is one."""
        subcommand = self.config.subcommand
        trainer = self.config[subcommand]["trainer"]
        arguments = getattr(trainer["logger"], "init_args", None)
        if trainer["default_root_dir"] and arguments and arguments.get("save_dir") == str(self.logs / subcommand):
            self.logs = as_path(trainer["default_root_dir"], "--trainer.default_root_dir") / self.card.slug
            arguments["save_dir"] = str(self.logs / subcommand)

    def _read(self, given: str, fitting: bool) -> None:
        if self.untrained:
            raise UserError(f"{UNTRAINED} and {OPTION} exclude each other")
        self.path = find_checkpoint(given, self.logs)
        self.checkpoint = read_checkpoint(self.path, OPTION)
        self.config[self.config.subcommand].ckpt_path = str(self.path)
        model = self.config[self.config.subcommand]["model"].as_dict()
        self.differing = check_origin(self.checkpoint, self.path, model, resumed=fitting)

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        if self.checkpoint is not None and self.path is not None:
            check_weights(self.checkpoint["state_dict"], self.path, self.model, OPTION, self.differing)
            self.checkpoint = None  # Lightning reads the file once more
            if self.differing:
                say(f"{shown_path(self.path)} was trained with {self.differing}; what the command says holds")
        elif self._init_from is not None:
            start(self.model, self._init_from)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return super()._prepare_subcommand_kwargs(subcommand) | {"weights_only": True}

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except WrongBatch as error:
            fitting = ", ".join(catalog.benchmarks_read(error.wanted, self.card.root)) or "none in a recipe so far"
            raise UserError(f"{error}; benchmarks that fit: {fitting}") from None
        except (UserError, MemoryError):
            raise
        except Exception as error:
            if self.watch.started or self.path is None:
                raise
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{OPTION}: {self.path} cannot be taken up: {reason or type(error).__name__}; it is damaged, or of "
                "another recipe or version"
            ) from None
        except SystemExit as end:
            # Lightning turns Ctrl-C into an exit code of 1, which says nothing.
            if isinstance(end.__context__, KeyboardInterrupt):
                raise type(end.__context__)(f"{self.card.slug}: ended by a signal{self._how_to_go_on()}") from None
            raise
        finally:
            self.watch.ended()

    def _how_to_go_on(self) -> str:
        folder = getattr(self.trainer.checkpoint_callback, "dirpath", None)
        if self.subcommand != "fit" or folder is None or not (Path(folder) / "last.ckpt").is_file():
            return ""
        return f"; `papers fit {self.card.slug} {OPTION} last` goes on"

    def after_test(self) -> None:
        """Keeps what was found on the user's own data, and says how it is compared."""
        trainer, benchmark = self.trainer, self.datamodule
        log_dir = trainer.log_dir  # asks all processes, so before all but one leave
        if not benchmark.own or log_dir is None or not trainer.is_global_zero:
            return
        metrics = {k.removeprefix("test/"): float(v) for k, v in trainer.callback_metrics.items()}
        weights = "untrained" if self.path is None else str(self.path.resolve())
        kind, arguments = type(self.model).__name__, plain(dict(self.model.hparams))
        data = benchmark.name, benchmark.fingerprint()
        write_score(Path(log_dir), Score(self.card.slug, kind, arguments, *data, weights, metrics))
        typed = " ".join(f"--{option.key} {option.value}" for option in self.typed)
        print(
            f"compare it: papers compare --data {type(benchmark).__name__} {typed or '--data.path ' + benchmark.path}"
        )

    def after_fit(self) -> None:
        """The last lines: the score, where things are, and what to do with them."""
        trainer = self.trainer
        log_dir = trainer.log_dir  # asks all processes, so before all but one leave
        if not trainer.is_global_zero:
            return
        logged = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.startswith("learning/")}
        scores = {k: v for k, v in logged.items() if not k.startswith("train/")} or logged
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items()) or "nothing was logged"
        print(f"after step {trainer.global_step}: {shown}")
        if log_dir is not None:
            print(f"log:        {shown_path(Path(log_dir))}")
        checkpoint = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if not checkpoint:
            print("no checkpoint was asked for")
            return
        slug, path = self.card.slug, shown_path(Path(checkpoint))
        print(f"checkpoint: {path}")
        print(f"score it:   papers test {slug} {OPTION} {path}")
        print(f"go on:      papers fit {slug} {OPTION} {path} --trainer.max_steps {2 * trainer.global_step}")


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: cannot be written: Permission denied")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the libraries' tips, deprecations and remarks on what is meant so from the console."""
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _with_recipe(card: Card, args: list[str]) -> list[str]:
    named = False
    for i, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option not in ("--config", "-c"):
            continue
        named = True
        at = i if equals else i + 1
        if not equals:
            value = args[at] if at < len(args) else ""
        if value and os.path.exists(value):  # noqa: PTH110 - any text may stand there
            yaml_lines.load(Path(value))  # within bounds, unlike the parser of LightningCLI
        elif value:
            load_recipe(card, value)
            args[at] = f"{option}={card.folder / value}" if equals else str(card.folder / value)
    if named:
        return args
    load_recipe(card, "mini.yaml")
    return ["--config", str(card.folder / "mini.yaml"), *args]
