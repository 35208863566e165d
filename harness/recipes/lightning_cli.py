"""LightningCLI as this repository uses it: strict, with errors of one line."""

import contextlib
import re
import warnings
from argparse import ArgumentError
from collections.abc import Iterator
from typing import Any, ClassVar, get_args

import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from common.benchmark import Benchmark
from common.encoders import names
from common.errors import UserError
from common.experiments.schema import closest
from harness.recipes.catalog import REPOSITORY
from harness.recipes.options import choices, kinds, unknown
from harness.recipes.signatures import Signature, signature, trainer_signature
from harness.recipes.trainer_rules import check_accelerator, check_trainer

TRAINER_DEFAULTS: dict[str, Any] = {
    # Benchmarks shard their own batches, the same way for any number of processes.
    "use_distributed_sampler": False,
    # Validation is a whole protocol, too dear for a sanity check.
    "num_sanity_val_steps": 0,
    # Protocols may train a probe, and tensors made in inference mode cannot take part in that.
    "inference_mode": False,
    "log_every_n_steps": 10,
}


class PapersCLI(LightningCLI):
    """LightningCLI over any method and any benchmark.

    Args:
        args: command line arguments or a whole configuration.
        trainer: further defaults of the Trainer, which a recipe may override, and `callbacks`, which it may not.
        run: expect a subcommand (fit, validate, test) and run it; otherwise only build the objects.
        build: with run=False, False stops after the configuration is checked and its defaults are filled in.
        save_config: write the resolved config.yaml beside the logs.

    Raises:
        UserError: names the key, the value and what is allowed.
    """

    saves: ClassVar[type[SaveConfigCallback]] = SaveConfigCallback
    """What writes the resolved config.yaml."""

    def __init__(
        self,
        args: list[str] | dict[str, Any],
        trainer: dict[str, Any] | None = None,
        run: bool = True,
        build: bool = True,
        save_config: bool = True,
    ) -> None:
        self._build = build
        with warnings.catch_warnings(), readable_errors():
            # It fears that a program passes `args` and the shell passes others; here they are one and the same.
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().__init__(
                L.LightningModule,
                Benchmark,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=self.saves if save_config else None,
                # A second run may write over the config.yaml of the first in the same folder.
                save_config_kwargs={"overwrite": True},
                trainer_defaults=TRAINER_DEFAULTS | (trainer or {}),
                seed_everything_default=0,
                args=args,
                run=run,
                auto_configure_optimizers=False,
                parser_kwargs={"prog": "papers"},
            )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        return super().init_parser(**kwargs, exit_on_error=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        # Recipes say it, and it means nothing to a single run: `papers verify` compares it with the records.
        parser.add_argument("--budget_s", type=float | None, default=None, help="CPU seconds that a run should take")
        # A union is read in its order, and `Optional[Union[int, float]]` has the order in which the process first wrote
        # such a union: where another package did as (float, int), 1 batch would be 1.0, all of them.
        for action in parser._actions:
            if set(get_args(getattr(action, "_typehint", None))) == {int, float, type(None)}:
                vars(action)["_typehint"] = int | float | None

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}

    def _parse_ckpt_path(self) -> None:
        """Lightning would lay the checkpoint's arguments over what was asked for; here they are no configuration."""

    def _set_seed(self) -> None:
        check_trainer(self._get(self.config, "trainer"), self._get(self.config, "seed_everything"))
        for section in ("model", "data"):
            _check_arguments(section, self._get(self.config, section))
        if self._build:
            super()._set_seed()

    def instantiate_classes(self) -> None:
        if self._build:
            check_accelerator(self._get(self.config, "trainer"))
            with own_errors():
                super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        trainer = self._get(self.config_init, "trainer")
        if trainer["deterministic"] is None:
            # On the CPU, where the laptop's recipes run, repeatable to the bit. On a GPU that is slow, and some
            # kernels, such as CTC's gradient, have no deterministic form.
            kwargs["deterministic"] = trainer["accelerator"] == "cpu"
        if trainer["overfit_batches"]:
            # Lightning would take the samples in the order of the data set, in a sampler of its own.
            kwargs |= {"overfit_batches": 0, "limit_train_batches": trainer["overfit_batches"]}
            kwargs["callbacks"] = [*listed(kwargs.get("callbacks", trainer["callbacks"])), SameBatches()]
        try:
            return super().instantiate_trainer(**kwargs)
        except (MemoryError, UserError):
            raise
        except Exception as error:  # Lightning says in many ways that arguments do not go together
            raise UserError(f"trainer: {' '.join(str(error).split()) or type(error).__name__}") from None

    def resolved(self) -> dict[str, Any]:
        """The configuration with all defaults filled in, as plain values. Only with run=False."""
        self._dump_config()
        return self.config_dump


class SameBatches(L.Callback):
    """For --trainer.overfit_batches: the first batches of the first epoch in every epoch."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        order = getattr(trainer.train_dataloader, "order", None)
        if order is not None:
            order.reshuffle = False


def _check_arguments(section: str, content: Any) -> None:
    """What jsonargparse lets through: null for anything, over which a constructor would trip, and names of encoders."""
    taken = signature(content["class_path"], REPOSITORY)
    for name, value in vars(content.get("init_args") or Namespace()).items():
        kind = taken.arguments[name].kind if taken is not None and name in taken.arguments else ""
        if value is None and kind and not re.search(r"\b(None|Optional|Any)\b", kind):
            raise UserError(f"{section}.{name} is null; it must be {_types([kind])}")
        if names.OWN in kinds(kind) and (known := choices(kind)):
            names.check_encoder(f"{section}.{name}", value, known)


def listed(callbacks: Any) -> list[Any]:
    """Callbacks or loggers as a recipe may have them: several, one or none."""
    return list(callbacks) if isinstance(callbacks, list | tuple) else [] if callbacks is None else [callbacks]


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """Turns an error of jsonargparse into a UserError of one line."""
    try:
        yield
    except ArgumentError as error:
        raise UserError(explain(str(error))) from None


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Lets an error of a constructor through as it is; jsonargparse wraps it as a failed match of types."""
    try:
        yield
    except ValueError as error:
        origin: BaseException = error
        while str(origin).startswith("Does not validate against any") and origin.__cause__ is not None:
            origin = origin.__cause__
        raise origin from None


def explain(message: str) -> str:
    """One line for a message of jsonargparse, whose own lines follow its nested parsers."""
    path, class_path, values = _walk(message)
    key = ".".join(path)
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        taken = signature(class_path or "", REPOSITORY) or Signature({}, False, "", (class_path or "").split(".")[-1])
        return unknown(".".join([*path, found[1]]), taken)
    if found := re.search(r"Group '([^']+)' does not accept option '([^']+)'", message):
        return unknown(f"{found[1]}.{found[2]}", trainer_signature())
    if found := re.search(r"(?:No module named|has no attribute) '([^']+)'", message):
        return f"{key}.class_path is '{class_path or found[1]}', which cannot be imported: no '{found[1]}'"
    if found := re.search(r"Import path (\S+) does not correspond to a subclass of (\w+)", message):
        return f"{key}.class_path is '{found[1]}', which is no {found[2]}"
    if found := re.search(r"Expected a dot import path string: (\S+)", message):
        return f"{key}.class_path is '{found[1]}'; it must be 'package.module.Class'"
    if found := re.search(r"Unexpected keys: \{'([^']+)'", message):
        return f"unknown option {key}.{found[1]}{closest(found[1], names.KEYS)}; it has {', '.join(names.KEYS)}"
    if found := re.search(r"Missing required keys: \{'([^']+)'\}", message):
        return f"{key}.{found[1]} is missing"
    if found := re.search(r"Expected an? (.+?)\. Got value: (.*)", message):
        return f"{key} is '{found[2]}'; it must be {_types([found[1]])}"
    if values and (types := re.findall(r"Expected an? (<class '[^']+'>|[\w.]+\[.*?\](?=\n|$)|\w+)", message)):
        return f"{key} is '{values}'; it must be {_types(types)}"
    if found := re.search(r"unrecognized arguments: (.*)", message):
        return f"unknown arguments: {found[1]}"
    text = re.sub(r"\s+", " ", message.replace("Parser key ", ""))
    return text if len(text) <= 300 else text[:297] + "..."


def _walk(message: str) -> tuple[list[str], str | None, str | None]:
    """The nested keys of the first branch of a message, the innermost class and the value at fault."""
    path: list[str] = []
    class_path = value = None
    for line in message.splitlines():
        if found := re.search(r'Parser key "([^"]+)":', line):
            path.append(found[1].removeprefix("init_args."))
        elif found := re.search(r"Problem with given class_path '([^']+)'", line):
            class_path = found[1]
        elif value is None and (found := re.search(r"Given value: (.*)", line)):
            value = found[1]
    return path, class_path, value


def _types(annotations: list[str]) -> str:
    names = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "NoneType": "null"}
    words = []
    for annotation in annotations:
        name = re.sub(r"<class '(?:.*\.)?(\w+)'>", r"\1", annotation).replace("typing.", "")
        if literal := re.fullmatch(r"Literal\[(.*)\]", name):
            words.append(literal[1].replace(", ", " or "))
        else:
            words.append(names.get(name, name))
    return " or ".join(dict.fromkeys(words))
