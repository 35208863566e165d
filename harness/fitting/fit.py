"""`papers fit`, `validate` and `test`: LightningCLI on a recipe of a paper, from --ckpt_path to the last lines."""

import contextlib
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from common.errors import UserError, WrongBatch
from common.experiments import yaml_lines
from common.experiments.card import Card
from common.paths import as_path
from common.training.checkpoint import check_weights, read_checkpoint
from harness.console import print_lines, print_table, say, shown_path
from harness.files import workplace, write_text
from harness.fitting.bar import Bar
from harness.fitting.best import Best
from harness.fitting.checkpoint import check_origin, find_checkpoint
from harness.fitting.dry import describe
from harness.fitting.folders import CONFIG, new_folder, newest, requeued
from harness.fitting.learning import Learning
from harness.fitting.recorded import beside, records_of
from harness.fitting.scores import Score, plain, write_score
from harness.fitting.start import start
from harness.fitting.watch import Watch
from harness.recipes import catalog
from harness.recipes.catalog import importable
from harness.recipes.early import DRY_RUN, INIT_FROM, OPTION, RESUME, UNTRAINED, check_logger, needs_checkpoint
from harness.recipes.lightning_cli import PapersCLI, listed
from harness.recipes.options import Option, parsed, recipe_of
from harness.recipes.recipe import tensorboard
from harness.recipes.written import load_recipe


def run_subcommand(card: Card, subcommand: str, args: list[str], logs: Path | None = None) -> None:
    """`papers fit|validate|test SLUG [LightningCLI options]`, from mini.yaml unless --config names another recipe.

    Args:
        args: options of LightningCLI, and --untrained; of `fit` also --resume and --dry-run. A --config that does not
            exist here is looked for beside the card.
        logs: where a folder for the paper is made; by default `logs` of the repository, or of the
            working folder where there is none.

    Raises:
        UserError: an argument is wrong, or a checkpoint does not fit; before anything trains.
        KeyboardInterrupt: a signal ended it.
    """
    importable(card.root)
    folder = (logs or workplace(card.root) / "logs") / card.slug
    with quiet():
        _FitCLI(card, subcommand, list(args), folder)


class _SaveConfig(SaveConfigCallback):
    """Puts the config.yaml of a training into its folder, whatever it logs to."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            super().setup(trainer, pl_module, stage)
        elif trainer.is_global_zero:
            write_text(Path(trainer.default_root_dir) / CONFIG, self.parser.dump(self.config, skip_none=False))


class _FitCLI(PapersCLI):
    saves = _SaveConfig

    def __init__(self, card: Card, subcommand: str, args: list[str], logs: Path) -> None:
        self.card, self.logs = card, logs
        self.words = args
        """As they were typed."""
        self.typed = list(parsed(args))
        flags = {UNTRAINED, RESUME, DRY_RUN}
        self.untrained, self.resume, self.dry = (flag in args for flag in (UNTRAINED, RESUME, DRY_RUN))
        args = _with_recipe(card, [arg for arg in args if arg not in flags])
        self.checkpoint: dict[str, Any] | None = None
        self.path: Path | None = None
        self.watch = Watch()
        self.folder = logs / subcommand
        """Where a training writes; set once it is known where the logs are."""
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
        self._check_loggers()
        given = self.config[self.config.subcommand].get("ckpt_path")
        fitting = self.config.subcommand == "fit"
        if fitting:
            given = self._folder_and_start(given)
        if given is not None:
            self._read(str(given), fitting)
        elif not fitting and not self.untrained and self._init_from is None:
            raise needs_checkpoint(self.config.subcommand, self.card.slug)
        elif self.untrained and not fitting:
            say(f"{self.card.slug} is scored untrained: with the weights that a training starts from")
        if not self.dry:
            _check_writable(self.logs)

    def _check_loggers(self) -> None:
        for logger in listed(self.config[self.config.subcommand]["trainer"]["logger"]):
            if not isinstance(logger, bool):
                check_logger(logger["class_path"])
                arguments = logger.get("init_args")
                # TensorBoard's, which another logger takes over: for it a run has a name.
                if arguments is not None and "TensorBoard" not in logger["class_path"] and arguments.get("name") == "":
                    arguments["name"] = None
                if logger["class_path"].endswith("MLFlowLogger") and arguments.get("save_dir") == str(
                    self.logs / "fit"
                ):
                    arguments["save_dir"] = str(self.logs / "mlruns")  # where it takes each folder for its own

    def _folder_and_start(self, given: str | None) -> str | None:
        """Chooses the folder of the training, and the checkpoint from which it goes on."""
        logs = self.logs / "fit"
        self.folder = new_folder(logs, [f"{option.key}={option.value}" for option in self.typed])
        if (saved := requeued(self.folder)) is not None:
            say(f"the job was requeued; going on from {shown_path(saved)}")
            return str(saved)
        if not self.resume:
            return given
        self._dump_config()
        found, differs = newest(logs, self.config_dump)
        if found is None:
            why = f"; {differs}" if differs else ""
            say(f"{RESUME}: no checkpoint of this training is under {shown_path(logs)}{why}; it begins anew")
            return given
        self.folder = found.folder
        say(f"{RESUME}: going on from {shown_path(found.path)}")
        return str(found.path)

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
        if self.dry:
            self._dump_config()
            records = records_of(self.card, self._trainer_keys, self.config_dump)[1]
            print_lines(describe(self.config_dump, records))
            return
        super().instantiate_classes()
        if self.checkpoint is not None and self.path is not None:
            check_weights(self.checkpoint["state_dict"], self.path, self.model, OPTION, self.differing)
            self.checkpoint = None  # Lightning reads the file once more
            if self.differing:
                say(f"{shown_path(self.path)} was trained with {self.differing}; what the command says holds")
        elif self._init_from is not None:
            start(self.model, self._init_from)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        if self.subcommand == "fit":
            trainer = self._get(self.config_init, "trainer")
            callbacks = listed(trainer["callbacks"])
            ours = isinstance(trainer["logger"], TensorBoardLogger) and trainer["logger"].save_dir == str(
                self.logs / "fit"
            )
            if ours:
                kwargs["logger"] = TensorBoardLogger(self.logs / "fit", name="", version=self.folder.name)
            if trainer["enable_checkpointing"] is not False and not any(isinstance(c, Checkpoint) for c in callbacks):
                callbacks.append(Best(self.datamodule, self.folder / "checkpoints"))
            if trainer["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in callbacks):
                callbacks.append(Bar())
                if trainer["enable_model_summary"] is None and not sys.stdout.isatty():
                    kwargs["enable_model_summary"] = False  # a box of 80 columns beside rich's bar; `Bar` says the sum
            # SLURM's checkpoints, config.yaml and whatever has no place of its own go there.
            kwargs |= {"callbacks": callbacks, "default_root_dir": str(self.folder)}
        elif not sys.stdout.isatty():
            kwargs["enable_progress_bar"] = False
        return super().instantiate_trainer(**kwargs)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand) | {"weights_only": True}
        if subcommand != "fit":
            # Lightning draws a box as wide as the terminal, in a pipe too; `_print_scores` has the house's table.
            self.shows_scores, kwargs["verbose"] = kwargs.get("verbose", True), False
        return kwargs

    def _print_scores(self) -> None:
        if self.shows_scores and self.trainer.is_global_zero:
            found = self.trainer.callback_metrics
            print_table(("metric", "value"), [[name, f"{float(value):.4g}"] for name, value in found.items()])

    def after_validate(self) -> None:
        self._print_scores()

    def _run_subcommand(self, subcommand: str) -> None:
        if self.dry:
            return
        try:
            super()._run_subcommand(subcommand)
        except WrongBatch as error:
            fitting = catalog.fitting_benchmarks(error.wanted, self.card.root)
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
        return f"; `{self._command()} {RESUME}` goes on"

    def _command(self, *without: str) -> str:
        """What was typed, but for some options and where it began."""
        left_out = {*without, "resume", "ckpt_path", "init_from"}
        options = [option for option in self.typed if option.key not in left_out]
        words = [word for o in options for word in (f"--{o.key}", o.value) if word is not None]
        return shlex.join(["papers", "fit", self.card.slug, *words])

    @property
    def _trainer_keys(self) -> list[str]:
        """The arguments of the trainer that recipe and command line name."""
        written = recipe_of(self.card, self.words).data.get("trainer") or {}
        return [*written, *(o.key.split(".")[1] for o in self.typed if o.key.startswith("trainer."))]

    def _say_recorded(self) -> None:
        """What is on record for this recipe, or the nearest to it."""
        self._dump_config()
        recipe = next((o.value for o in reversed(self.typed) if o.key in ("config", "c") and o.value), "mini.yaml")
        found = beside(self.card, Path(recipe).name, self._trainer_keys, self.config_dump, self.datamodule)
        for line in found:
            print(f"on record:  {line}, on test data after the last step")

    def after_test(self) -> None:
        """Keeps what was found on the user's own data, and says how it is compared."""
        self._print_scores()
        trainer, benchmark = self.trainer, self.datamodule
        log_dir = trainer.log_dir  # asks all processes, so before all but one leave
        if log_dir is None or not trainer.is_global_zero:
            return
        if not benchmark.own:
            if self.path is not None:
                self._say_recorded()
            return
        metrics = {k.removeprefix("test/"): float(v) for k, v in trainer.callback_metrics.items()}
        weights = "untrained" if self.path is None else str(self.path.resolve())
        kind, arguments = type(self.model).__name__, plain(dict(self.model.hparams))
        data = benchmark.name, benchmark.fingerprint()
        write_score(Path(log_dir), Score(self.card.slug, kind, arguments, *data, weights, metrics))
        typed = " ".join(f"--{option.key} {option.value}" for option in self.typed if _of_data(option))
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
        self._say_recorded()
        if log_dir is not None:
            print(f"log:        {shown_path(Path(log_dir))}")
        callback = trainer.checkpoint_callback
        best, folder = getattr(callback, "best_model_path", ""), getattr(callback, "dirpath", None)
        last = Path(folder) / "last.ckpt" if folder is not None else None
        if last is None or not last.is_file():
            last = None if not best else Path(best)
        if last is None:
            print("no checkpoint was asked for")
            return
        if best and Path(best) != last:
            score, metric = getattr(callback, "best_model_score", None), getattr(callback, "monitor", None)
            value = "" if score is None else f", {metric} {float(score):.4g}"
            print(f"best:       {shown_path(Path(best))}{value}")
        print(f"checkpoint: {shown_path(last)}")
        print(f"score it:   {self._scoring(last)}")
        print(f"go on:      {self._longer()}")

    def _scoring(self, path: Path) -> str:
        options = [o for o in self.typed if o.key in ("config", "c") or o.key.split(".")[0] in ("model", "data")]
        words = [word for o in options for word in (f"--{o.key}", o.value) if word is not None]
        return shlex.join(["papers", "test", self.card.slug, *words, OPTION, shown_path(path)])

    def _longer(self) -> str:
        """The command that goes on for as long again, past what ended the training."""
        trainer = self.trainer
        if 0 < trainer.max_steps <= trainer.global_step:
            return f"{self._command('trainer.max_steps')} {RESUME} --trainer.max_steps {2 * trainer.max_steps}"
        epochs = trainer.max_epochs
        if epochs is None or epochs < 1 or trainer.current_epoch < epochs:
            return f"{self._command()} {RESUME}"
        return f"{self._command('trainer.max_epochs')} {RESUME} --trainer.max_epochs {2 * epochs}"


def _of_data(option: Option) -> bool:
    return option.key.startswith("data.") and "class_path" not in option.key


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
