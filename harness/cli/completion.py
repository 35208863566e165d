"""Shell completion written out from the argument parser, so that it cannot fall behind it."""

import argparse
from collections.abc import Iterator

Commands = dict[str, argparse.ArgumentParser]
"""The parser of each command by its name."""
SHELLS = ("bash", "zsh", "fish")
# What a shell runs to complete an argument whose values depend on the folders; set as `action.complete`.
DYNAMIC = {
    "slug": "papers list --names 2>/dev/null",
    "family": "papers list --names --by family 2>/dev/null",
    "benchmark": "papers list --names --by benchmark 2>/dev/null",
    "experiment": "papers show {slug} --names experiment 2>/dev/null",
    "recipe": "papers show {slug} --names recipe 2>/dev/null",
    "source": "papers data list --names 2>/dev/null",
    "key": "papers rerun {slug} --keys 2>/dev/null",
}


def complete_with(action: argparse.Action, kind: str) -> None:
    """Says that the values of `action` are completed by DYNAMIC[kind]."""
    action.complete = kind


def follow_with(action: argparse.Action, option: str, kind: str) -> None:
    """Says that an option is among the words that `action` takes as they are, with values of DYNAMIC[kind]."""
    one = argparse.Action([option], action.dest)
    complete_with(one, kind)
    action.following = [*getattr(action, "following", []), one]


def _actions(command: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments of a command, and the options among the words that one takes as they are."""
    return [one for action in command._actions for one in (action, *getattr(action, "following", []))]


def completion(commands: Commands, shell: str) -> str:
    """Returns the script that `source <(papers completion bash)` and the like read."""
    if shell == "fish":
        return "".join(_fish(commands))
    script = "".join(_bash(commands))
    return script if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{script}"


def _words(action: argparse.Action, slug: str = '"${COMP_WORDS[2]}"') -> str | None:
    """A shell word list for the values of an argument; None where they are free or files.

    Args:
        slug: what the shell has for the word after the command.
    """
    if kind := getattr(action, "complete", None):
        return f"$({DYNAMIC[kind].format(slug=slug)})"
    return " ".join(map(str, action.choices)) if action.choices else None


def _bash(commands: Commands) -> Iterator[str]:
    yield "_papers() {\n"
    yield '  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" words=""\n'
    yield f'  if [ "$COMP_CWORD" -eq 1 ]; then\n    words="{" ".join(commands)} --help --version"\n  else\n'
    yield '    case "${COMP_WORDS[1]} $previous" in\n'
    for name, command in commands.items():
        for action in _actions(command):
            if action.option_strings and (words := _words(action)):
                pattern = "|".join(f'"{name} {option}"' for option in action.option_strings)
                yield f'      {pattern}) words="{words}" ;;\n'
    yield '      *) case "${COMP_WORDS[1]}" in\n'
    for name, command in commands.items():
        options = [action.option_strings[-1] for action in _actions(command) if action.option_strings]
        values = [words for action in _actions(command) if not action.option_strings and (words := _words(action))]
        yield f'        {name}) words="{" ".join([*options, *values])}" ;;\n'
    yield "      esac ;;\n    esac\n  fi\n"
    yield '  COMPREPLY=($(compgen -W "$words" -- "$current"))\n}\ncomplete -o default -F _papers papers\n'


def _fish(commands: Commands) -> Iterator[str]:
    for name, command in commands.items():
        about = (command.description or "").split("\n")[0].replace("'", "")
        yield f"complete -c papers -n __fish_use_subcommand -f -a {name} -d '{about}'\n"
        for action in _actions(command):
            parts = [f"complete -c papers -n '__fish_seen_subcommand_from {name}'"]
            parts += [f"-l {option[2:]}" for option in action.option_strings if option.startswith("--")]
            words = _words(action, slug="(commandline -opc)[3]")
            if words:
                parts.append(f"-x -a '{words.removeprefix('$')}'")
            elif not action.option_strings:
                continue
            yield " ".join(parts) + "\n"
