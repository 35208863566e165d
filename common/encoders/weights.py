"""Where the files of a named encoder are read from.

Encoders know weights by name alone. Whoever has weights to give (a folder of checkpoints, an archive) offers them here;
a name that nobody offers is looked for in checkpoints/<name>, and a folder given by the user comes before both.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.paths import as_path

if TYPE_CHECKING:
    from torch import Tensor

_FILLED_LATER = ContextVar("filled_later", default=False)


@contextmanager
def filled_later() -> Iterator[None]:
    """Inside, encoders are built as a file says, without their pretrained weights: it is about to fill in all of them.

    As anybody may have written it, no module is imported because it names one.
    """
    token = _FILLED_LATER.set(True)
    try:
        yield
    finally:
        _FILLED_LATER.reset(token)


def named_by_file() -> bool:
    """Whether what is built is what a file says."""
    return _FILLED_LATER.get()


def are_read(tensor: "Tensor") -> bool:
    """Whether an encoder that holds this tensor reads its pretrained weights.

    Not on the meta device, which holds none, and not in `filled_later`.
    """
    return not (tensor.is_meta or _FILLED_LATER.get())


_OFFERS: dict[str, Callable[[str], bytes]] = {}


def offer(name: str, read: Callable[[str], bytes]) -> None:
    """Lets encoders find the weights `name`.

    Args:
        read: returns the content of one of its files, such as "model.safetensors" or "tokenizer.json".
    """
    _OFFERS[name] = read


def read_file(name: str, file: str, folder: str | None = None) -> bytes:
    """The content of a file of the encoder `name`.

    Args:
        folder: where the user has the files; by default they are as offered, or in checkpoints/<name>.

    Raises:
        UserError: the file does not exist; says how it gets there.
    """
    if folder is None and name in _OFFERS:
        return _OFFERS[name](file)
    place = as_path(folder, "model.weights") if folder is not None else Path("checkpoints") / name
    if not (place / file).is_file():
        here = f"; without a folder there are: {', '.join(sorted(_OFFERS))}" if _OFFERS else ""
        raise UserError(
            f"encoder {name}: {place / file} does not exist; put the published files there "
            f"(`hf download {name} --local-dir {place}`), or name a folder in weights{here}"
        )
    return (place / file).read_bytes()
