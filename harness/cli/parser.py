"""The command line `papers`. Parsing stands here; what a command does is in `commands` and the files it names.

`--help`, `list` and `show` answer at once, so nothing here or in what they import may load torch.
"""

import argparse
import contextlib
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from common.errors import UserError
from common.experiments.schema import closest
from harness.cli import commands
from harness.cli.completion import SHELLS, complete_with, completion, follow_with
from harness.console import close_streams, open_streams, within
from harness.recipes.catalog import REPOSITORY
from harness.recipes.trainer_rules import PRECISIONS
from harness.signals import ended_by_signals, exit_code

EXAMPLES = """\
start here:
  papers list --family sentence              what there is, with verdicts
  papers show simcse                         idea, loss, published numbers, claims, commands
  papers rerun simcse --workers 2            test its claims; runs on record are not run again
  papers fit simcse --model.temperature 0.1  train once, every argument typed and checked
  papers compare --benchmark mnist5k         all methods on one benchmark, and what needs no learning
  papers embed simcse --ckpt_path last --out vectors.parquet   vectors of a benchmark's texts, pictures, recordings
  papers export simcse --ckpt_path last --out my-simcse        for `papers.load`, transformers or ONNX
  papers new my_method --like simcse         a paper of your own

`papers COMMAND --help` shows the options and examples of a command.
exit codes: 0 fine; 1 `verify` found differences; 2 wrong request or failed run; 130 interrupted; 143 terminated
"""

LIST = """\
examples:
  papers list
  papers list --family classification --verdict reproduced
  papers list --benchmark mnist5k
  papers list --modality audio --json
  papers list hard negatives             words of name, title, idea or authors
  papers rerun $(papers list --names --family sentence)
"""

SHOW = """\
examples:
  papers show simcse
  papers show simcse --open             its page in the browser: of the site, once `make site` has built it
"""

RERUN = """\
examples:
  papers rerun supcon                               every experiment of its card
  papers rerun supcon --experiment jensen           one of them
  papers rerun supcon simcse --workers 2            two runs at a time, a thread each
  papers rerun supcon --dry-run                     what would run, and what is on record already
  papers rerun supcon --seeds 2 --results /tmp/try  afresh, with records of its own
  papers rerun supcon --recipe full --data-root ~/cifar --devices 8
  papers rerun --all --cluster auto                 on the Ray cluster of this machine (docs/guides/cluster.md)

change one thing, and see it beside what is on record (docs/guides/change-one-thing.md):
  papers rerun supcon --keys                              what can be set
  papers rerun supcon --set model.temperature=0.5 --dry-run
  papers rerun supcon --experiment digits --arm simclr --set model.temperature=0.1,0.2,1.0 --out mine
"""

TUNE = """\
examples:
  papers tune siglip                     all tries of its card; those on record are not made again
  papers tune siglip --dry-run           what would run, and the table as far as it is on record
"""

LIGHTNING = """\
examples:
  papers {command} simcse                                         the laptop recipe, mini.yaml
  papers {command} simcse --model.temperature 0.05 --trainer.max_steps 100
  papers {command} simcse --recipe full --dry-run                 parameters, memory, steps, data; trains nothing
  papers {command} simcse --recipe full --trainer.devices 8       full.yaml of the paper's folder; --config takes any
  papers {command} simcse --recipe full --resume                  goes on with the newest checkpoint, or begins
  papers {command} simcse --trainer.logger CSVLogger              any of Lightning's; the default is TensorBoard's
  papers {command} simcse --data TextPairs --data.path own.jsonl  data of your own; see `papers data --help`
  papers {command} simcse --print_config                          the resolved recipe
  papers {command} simcse --help                                  every option of the model and the data

docs/guides/train-for-real.md: several GPUs, SLURM, loggers, and what the log's learning/* values mean
"""

SCORE = """\
examples:
  papers {command} simcse --ckpt_path last                             the newest checkpoint of `papers fit simcse`
  papers {command} simcse --ckpt_path FILE --recipe full
  papers {command} simcse --untrained                                  the weights that a training starts from
"""

EMBED = """\
examples:
  papers embed simcse --ckpt_path last --out vectors.parquet                    the test split of mini.yaml's benchmark
  papers embed simcse --ckpt_path FILE --data data.benchmarks.mini.verses.Verses --split val --out vectors.npy
  papers embed siglip --ckpt_path my-siglip --column pixels --normalize --out vectors.parquet

The same command goes on where it was interrupted. In Python: papers.load("simcse", "FILE").encode(["any", "texts"])
"""

EXPORT = """\
examples:
  papers export simcse --ckpt_path last --out my-simcse             papers.load("simcse", "my-simcse") reads it
  papers export siglip --ckpt_path FILE --format onnx --out towers  image.onnx and, of a fixed length, text.onnx
"""

COMPARE = """\
examples:
  papers compare --benchmark mnist5k
  papers compare --benchmark mnist5k --metric knn20_cosine/top1
  papers compare --benchmark placed_fashion --equal-budget --plot ranking.svg
  papers compare --data TextPairs --data.path pairs.jsonl    what `papers test` found on data of your own

"may be" is the best and the worst rank that common seeds leave open to a method: behind those, and ahead of those, from
which the 95% interval of its difference excludes zero, each pair by itself.
"""

NEW = """\
examples:
  papers new my_method --like simcse                     beside simcse, in its family
  papers new my_method --like simcse --family retrieval
"""

DATA = """\
examples:
  papers data list
  papers data fetch mnist5k
  papers data fetch --all
  papers data page                     data/README.md and its contact sheets, written again

data of your own need no source: `papers fit`, `validate`, `test` and `compare` take them by
  --data ImageFolder   pictures in a folder for each class, or a table with labels
  --data ImageText     pictures with captions, in a table or a folder with metadata
  --data TextPairs     sentences in pairs, with negatives or scores
  --data Retrieval     corpus.jsonl, queries.jsonl and qrels, as in BEIR
  --data AudioText     recordings with transcripts
with --data.path: csv, tsv, json, jsonl, parquet, a folder, what `datasets` saved, or a name on the hub
  papers fit simcse --data TextPairs --data.path pairs.jsonl
  papers fit simcse --data TextPairs --help                     every option, such as the names of columns
"""

VERIFY = """\
examples:
  papers verify                        everything that is generated, cards, recipes, budgets and marks
  papers verify supcon --canary        the first three steps of each arm, against its record
  papers verify --rerun 5              five recorded runs, chosen by the date: the same to the last bit on the same kind
                                       of processor, within two standard errors over the test items on another
"""

MIGRATE = """\
example:
  git worktree add /tmp/before 38f9891 && papers migrate --from /tmp/before
"""

COMPLETION = """\
examples:
  source <(papers completion bash)     in ~/.bashrc
  source <(papers completion zsh)      in ~/.zshrc
  papers completion fish | source      in ~/.config/fish/config.fish
"""


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument on one line, as every other error of the user."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            hint = closest(str(value), known)
            raise argparse.ArgumentError(action, f"invalid choice: '{value}'{hint}; there are: {', '.join(known)}")


OWN = "ImageFolder, ImageText, TextPairs, Retrieval or AudioText"
"""The benchmarks on data of one's own."""
MOST = 1000
"""Seeds of an arm or runs at a time; more is a slip of the finger, and planning alone would take minutes."""


def count(text: str) -> int:
    """A whole number from 1 to MOST, for options such as --seeds."""
    # Of digits, Python takes 4300 and those of any script.
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is not a whole number from 1 to {MOST}")
    return int(text)


def at_least_1(text: str) -> int:
    """A whole number above 0, for options such as --batch_size."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is not a whole number of at least 1")
    return int(text)


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="papers",
        description="Rerun, compare and extend papers on contrastive learning.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.add_argument("--traceback", action="store_true", help="print the traceback of an error that is ours")
    added = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, run: str, about: str, epilog: str = "") -> Parser:
        one = added.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.set_defaults(run=run)
        return one

    def slug(to: Parser, *names: str, **options: object) -> None:
        complete_with(to.add_argument(*names, metavar="SLUG", **options), "slug")

    def rows_of(to: argparse._ActionsContainer) -> None:
        to.add_argument("--json", action="store_true", help="print what it lists as JSON")

    one = command("list", "list_papers", "list the papers with their verdicts", LIST)
    one.add_argument("words", nargs="*", metavar="WORD", help="only papers whose name, title, idea or authors have it")
    complete_with(one.add_argument("--family", help="only this family"), "family")
    one.add_argument("--verdict", help="only papers with a claim of this verdict, as in 'reproduced' or 'not run'")
    one.add_argument("--modality", help="only papers on this modality, as in 'text'")
    complete_with(one.add_argument("--benchmark", help="only papers with an experiment on this benchmark"), "benchmark")
    rows_of(one)
    one.add_argument("--names", action="store_true", help="print bare names, one a line")
    one.add_argument(
        "--by", choices=["slug", "family", "benchmark", "metric"], default="slug", help="what --names prints"
    )

    one = command("show", "show_paper", "show idea, loss, published numbers, claims and commands of a paper", SHOW)
    slug(one, "slug")
    one.add_argument(
        "--names", choices=["experiment", "recipe"], help="print bare names of its experiments or recipes, one a line"
    )
    one.add_argument("--open", action="store_true", help="open its page in the browser, too")

    one = command("rerun", "rerun", "test the claims of papers and print the verdicts", RERUN)
    slug(one, "slugs", nargs="*", help="papers to rerun")
    one.add_argument("--all", action="store_true", help="all papers that have experiments")
    one.add_argument(
        "--recipe", choices=["mini", "full"], default="mini", help="laptop (mini, the default) or as published"
    )
    complete_with(
        one.add_argument("--experiment", metavar="NAME", help="only the experiment of this name"), "experiment"
    )
    one.add_argument("--seeds", type=count, metavar="N", help="seeds an arm (default: what the card says)")
    one.add_argument("--workers", type=count, metavar="N", help="runs at a time, a thread each (default: one a core)")
    one.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="do the runs on this Ray cluster: auto, HOST:PORT, or local for a trial of it",
    )
    one.add_argument("--results", metavar="DIR", help="where records and logs are kept (default: results)")
    one.add_argument("--dry-run", action="store_true", help="say what would run, and stop")
    changed = one.add_argument_group("change one thing")
    complete_with(
        changed.add_argument(
            "--set",
            metavar="KEY=VALUE",
            action="append",
            help="train an arm with another value, at its recorded seeds; several values (A,B,C) are a sweep, a second "
            "--set changes another key too",
        ),
        "key",
    )
    changed.add_argument("--arm", metavar="NAME", help="the arm to change (default: the primary claim's method)")
    changed.add_argument("--out", metavar="DIR", help="where its records are kept (default: changed-SLUG)")
    changed.add_argument("--keep-checkpoints", action="store_true", help="leave the weights beside the logs")
    changed.add_argument("--keys", action="store_true", help="print the keys that --set takes, and stop")
    full = one.add_argument_group("with --recipe full or --set")
    full.add_argument("--data-root", metavar="DIR", help="where the published data lie")
    full.add_argument("--devices", type=count, metavar="N", help="devices to train on (default: 1)")
    full.add_argument("--accelerator", metavar="NAME", help="cpu, gpu or auto (default: what the recipe says)")
    full.add_argument("--precision", choices=PRECISIONS, help="of training (default: what the recipe says)")

    one = command("tune", "tune", "try the values that a card names, on validation data, equally for its arms", TUNE)
    slug(one, "slug")
    complete_with(
        one.add_argument("--experiment", metavar="NAME", help="only the experiment of this name"), "experiment"
    )
    one.add_argument("--workers", type=count, metavar="N", help="runs at a time, a thread each (default: one a core)")
    one.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="do the runs on this Ray cluster: auto, HOST:PORT, or local for a trial of it",
    )
    one.add_argument("--results", metavar="DIR", help="where tries are kept (default: results)")
    one.add_argument("--dry-run", action="store_true", help="say what would run, and what is on record, and stop")

    for name, about in (
        ("fit", "train one paper with LightningCLI"),
        ("validate", "score a paper's module on the validation split"),
        ("test", "score a paper's module on the test split"),
    ):
        one = command(name, "lightning", about, (LIGHTNING if name == "fit" else SCORE).format(command=name))
        slug(one, "slug")
        free = one.add_argument("overrides", nargs=argparse.REMAINDER, metavar="...", help="options of LightningCLI")
        follow_with(free, "--recipe", "recipe")

    one = command("embed", "embed", "write the vectors of a benchmark's texts, pictures or recordings", EMBED)
    slug(one, "slug")
    one.add_argument("--ckpt_path", required=True, metavar="FILE", help="a checkpoint, 'last', or a folder of `export`")
    one.add_argument("--out", required=True, metavar="FILE", help="vectors.parquet, or vectors.npy with ids beside it")
    one.add_argument("--data", metavar="CLASS", help="benchmark (default: the recipe's); --data.OPTION as in `fit`")
    one.add_argument("--config", metavar="RECIPE", default="mini.yaml", help="whose benchmark (default: mini.yaml)")
    one.add_argument("--split", default="test", help="of the benchmark (default: test)")
    one.add_argument("--column", metavar="NAME", help="what to embed, where a split has several things")
    one.add_argument("--batch_size", type=at_least_1, default=64, metavar="N", help="at a time (default: 64)")
    one.add_argument("--normalize", action="store_true", help="to length 1")
    one.add_argument("--device", default="cpu", metavar="NAME", help="cpu (the default), cuda, mps, cuda:1")
    one.add_argument("--import", dest="module", metavar="MODULE", help="of an encoder of your own that is a class")

    one = command("export", "export", "write a trained method for use elsewhere", EXPORT)
    slug(one, "slug")
    one.add_argument("--ckpt_path", required=True, metavar="FILE", help="a checkpoint, 'last', or a folder of `export`")
    one.add_argument("--out", required=True, metavar="DIR", help="the folder to make")
    one.add_argument("--format", choices=["safetensors", "onnx"], default="safetensors", help="(default: safetensors)")
    one.add_argument("--import", dest="module", metavar="MODULE", help="of an encoder of your own that is a class")

    one = command("compare", "compare", "rank what is on record for a benchmark, with the trivial floor", COMPARE)
    on = one.add_mutually_exclusive_group(required=True)
    complete_with(on.add_argument("--benchmark", metavar="NAME", help="a benchmark of this repository"), "benchmark")
    on.add_argument("--data", metavar="CLASS", help=f"data of your own: {OWN}, with --data.path and its other options")
    one.add_argument("--logs", metavar="DIR", help="with --data: where `papers test` wrote (default: logs)")
    one.add_argument("--metric", help="rank by this metric (default: the benchmark's primary one)")
    with_benchmark = one.add_argument_group("with --benchmark")
    with_benchmark.add_argument(
        "--equal-budget", action="store_true", help="only what saw as much through the same encoder as most did"
    )
    with_benchmark.add_argument("--plot", metavar="FILE", help="draw it, too, a dot a seed: an SVG")
    rows_of(with_benchmark)

    one = command("report", "report", "write tables, figures, blocks of the READMEs and CITATION.cff from the records")
    slug(one, "slugs", nargs="*", help="only what is made of these papers alone (default: everything)")
    complete_with(one.add_argument("--family", help="only the page of this family, and its papers"), "family")
    one.add_argument("--open", action="store_true", help="open the overview in the browser, too")

    one = command(
        "verify", "verify", "check that all of that, the cards and the recipes agree with the records", VERIFY
    )
    slug(one, "slugs", nargs="*", help="only these papers, and what is made of each alone (default: everything)")
    one.add_argument(
        "--canary", action="store_true", help="train the first steps of every arm again, and mark the stale"
    )
    one.add_argument(
        "--rerun", type=count, metavar="N", help="train N recorded runs again, chosen at random, and compare"
    )
    one.add_argument("--seed", type=int, metavar="N", help="of that choice (default: today's date)")
    one.add_argument("--workers", type=count, metavar="N", help="runs at a time, a thread each (default: one a core)")
    one.add_argument("--results", metavar="DIR", help="where records are kept (default: results)")

    one = command(
        "migrate", "migrate", "bring records of an older way of hashing up to today's, without a rerun", MIGRATE
    )
    one.add_argument(
        "--from", dest="checkout", required=True, metavar="DIR", help="a checkout in which they were valid"
    )
    one.add_argument("--results", metavar="DIR", help="where records are kept (default: results)")

    one = command("new", "new", "start a paper of your own from another's folder", NEW)
    one.add_argument("slug", metavar="NAME", help="lower_case, as in my_method")
    slug(one, "--like", required=True, help="the paper to start from")
    complete_with(one.add_argument("--family", help="folder to put it in (default: that of --like)"), "family")

    command("schema", "schema", "what every field of paper.yaml and of the recipes means")

    one = command("data", "data", "list or fetch the data sources, write the page of benchmarks", DATA)
    one.add_argument("action", choices=["list", "fetch", "page"])
    complete_with(one.add_argument("sources", nargs="*", metavar="NAME", help="sources to fetch"), "source")
    one.add_argument("--all", action="store_true", help="fetch all of them")
    rows_of(one)
    one.add_argument("--names", action="store_true", help="list bare names, one a line")

    one = command("completion", "completion", "print the completion script of a shell", COMPLETION)
    one.add_argument("shell", choices=SHELLS)
    return parser


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command by its name."""
    return next(dict(a.choices) for a in parser._actions if isinstance(a, argparse._SubParsersAction))


def main(arguments: Sequence[str] | None = None, root: Path = REPOSITORY) -> int:
    """Runs one command on the repository at `root` and returns its exit code.

    Every way in which a command can fail ends here, in one line on stderr. A fault of ours leaves its traceback in a
    file, which the line names; with --traceback it is printed.
    """
    open_streams()
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with ended_by_signals():
            code = _run(words, root)
            sys.stdout.flush()  # a closed pipe or a full disk shows here and not when Python ends
            return code
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:
        close_streams()  # `papers list | head` closes our end
        return 0
    except KeyboardInterrupt as error:
        kept = {"rerun": "; finished runs are on record", "embed": "; the same command goes on"}
        return _fail(str(error) or f"interrupted{kept.get(next(iter(words), ''), '')}", exit_code(error))
    except OSError as error:
        code = _fail(_of_system(error))
        close_streams()
        return code
    except Exception as error:
        return _fail(_of_ours(error, "--traceback" in words[:1]))


def _run(words: Sequence[str], root: Path) -> int:
    parser = build_parser()
    given, given.options = _with_options(parser, words)
    if given.version:
        print(version("contrastive-papers"))
    elif given.command is None:
        parser.print_help()
    elif given.command == "completion":
        print(completion(subcommands(parser), given.shell), end="")
    else:
        given.root = root
        return getattr(commands, given.run)(given) or 0
    return 0


def _with_options(parser: Parser, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The parsed words, and options such as --data.path, which data that are named or embedded may have."""
    given, rest = parser.parse_known_args(words)
    if rest and not (getattr(given, "data", None) or (given.command == "embed" and rest[0].startswith("--data."))):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return given, rest


def _fail(message: str, code: int = 2) -> int:
    line = " ".join(message.split())
    with contextlib.suppress(OSError):
        # What was typed may be long; the beginning of a line tells what is wrong.
        text = f"papers: {line if len(line) <= 1000 else line[:1000] + ' ...'}"
        print(within(text, sys.stderr), file=sys.stderr, flush=True)
    return code


def _of_system(error: OSError) -> str:
    reason = error.strerror or str(error)
    if isinstance(error, PermissionError):
        return f"no permission to use {error.filename}"
    return f"{error.filename}: {reason}" if error.filename else reason


def _of_ours(error: Exception, printed: bool) -> str:
    """What is wrong in one line, and where its traceback is."""
    # Torch and Lightning explain themselves over many lines; the first says what is wrong.
    text = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    if printed:
        traceback.print_exc()
        return reason
    try:
        with tempfile.NamedTemporaryFile("w", prefix="papers-", suffix=".txt", delete=False, encoding="utf-8") as file:
            traceback.print_exc(file=file)
        return f"{reason} (traceback in {file.name})"
    except OSError:
        return f"{reason} (`papers --traceback ...` prints where)"


if __name__ == "__main__":
    sys.exit(main())
