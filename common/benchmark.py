"""The base of every shared benchmark: data to train on, and the protocol that scores a method."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, overload

import lightning as L
from torch import Tensor, nn

from common.batches import ParallelTexts
from common.embedding.columns import Column, columns_of
from common.errors import UserError
from common.protocols import methods

if TYPE_CHECKING:
    from PIL.Image import Image

P = TypeVar("P")
Q = TypeVar("Q")
Metrics = dict[str, float]


class Openable(Protocol):
    """An archive or folder of data, as benchmarks see it."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    def open(self, data_root: str | None = None) -> Any:
        """Fetches what is not there yet, or looks into the folder `data_root`."""
        ...


class Benchmark(L.LightningDataModule):
    """A data set with fixed splits that also knows how to score a module.

    A subclass names its `sources`, makes its tensors in `build`, yields batches of `common.batches` from
    `train_dataloader`, and scores through the `embed_*` protocols in `evaluate`. It knows nothing of any method.

    Args:
        batch_size: samples in one global batch; each of W processes draws batch_size / W of them.
        seed: fixes the order of the samples and their augmentation.
        data_root: folder to read the sources from instead of fetching them, laid out as inside their archives.
    """

    name: str
    """The benchmark's name in records and on the command line."""
    primary: ClassVar[str]
    """The metric that ranks methods in `papers compare`; which way it is better, its name says."""
    sources: ClassVar[tuple[Openable, ...]] = ()
    """What it is made from; none if it is generated, or published data that the user brings."""
    published: ClassVar[bool] = False
    """Whether the user brings the data, in the layout of its authors: a benchmark for full recipes."""
    own: ClassVar[bool] = False
    """Whether the data are the user's own, in whatever table or folder they have them."""
    splits: Mapping[str, Any]
    """A table (see `common.table`) or a list of samples for each split, where `build` holds them in memory."""

    def __init__(self, batch_size: int = 256, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"data.batch_size is {batch_size}; it must be at least 1")
        self.batch_size = batch_size
        self.seed = seed
        self.data_root = data_root
        self._built = False

    def setup(self, stage: str | None = None) -> None:
        """Builds the data once, the same for every stage; what needs it calls this first."""
        if not self._built:
            self.build()
            self._built = True

    def build(self) -> None:
        """Reads the sources and makes what the other methods work on; nothing where batches are read from a disk."""

    def prepare_data(self) -> None:
        for source in self.sources:
            source.open(self.data_root)

    @overload
    def check_request(self, module: nn.Module, split: str, protocol: type[P], /) -> P: ...
    @overload
    def check_request(self, module: nn.Module, split: str, one: type[P], other: type[Q], /) -> tuple[P, Q]: ...
    def check_request(self, module: Any, split: str, /, *protocols: type) -> Any:
        """Refuses a split that is not scored, and a module without one of the methods that scoring calls.

        Returns:
            The module as `offered` returns it; for two protocols once as each.

        Raises:
            UserError: names the split, or the method that is missing.
        """
        if split not in ("val", "test"):
            raise UserError(f"split is {split!r}; it must be 'val' or 'test'")
        found: tuple[Any, ...] = tuple(self.offered(module, protocol) for protocol in protocols)
        return found[0] if len(found) == 1 else found

    def offered(self, module: Any, protocol: type[P]) -> P:
        """The module itself, known to the type checker as one of `protocol`, of `common.protocols`.

        Raises:
            UserError: names the method that is missing.
        """
        for method in methods(protocol):
            if not callable(getattr(module, method, None)):
                raise UserError(f"benchmark {self.name} needs a module with {method}; {type(module).__name__} has none")
        return module

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Scores `module` on "val" or "test". Metric names carry their protocol, as in `knn20_cosine/top1`."""
        raise NotImplementedError

    def floor(self) -> dict[str, Metrics]:
        """What needs no learning (chance, raw pixels, bag of words): rows of the same metrics on the test split."""
        raise NotImplementedError

    def moment(self) -> int:
        """What random views are drawn by beside the sample and the seed: the epoch, so that no two show the same."""
        return self.trainer.current_epoch if self.trainer is not None else 0

    def training_ids(self) -> Tensor:
        """The id of each sample that is trained on, int64 (n,): for a method that keeps something for each of them.

        Raises:
            UserError: this benchmark does not know them.
        """
        raise UserError(f"benchmark {self.name} does not name its training samples, of which a method keeps a state")

    def word_counts(self) -> Tensor:
        """How often each word of the vocabulary is trained on, (words,): for noise that is drawn by frequency.

        Raises:
            UserError: this benchmark has no vocabulary.
        """
        raise UserError(f"benchmark {self.name} has no vocabulary of its own, whose words a method counts")

    def parallel_texts(self) -> ParallelTexts:
        """All texts that are trained on, in all languages: for a method that mines negatives among them.

        Raises:
            UserError: this benchmark has no translations.
        """
        raise UserError(f"benchmark {self.name} has no translations, among which a method could mine negatives")

    def task_starts(self) -> list[int]:
        """The step, from 0, at which each task begins, where one is learnt after the other; by default there is one."""
        return [0]

    def sizes(self) -> dict[str, int]:
        """How many samples each split has; by default the length of what `splits` holds."""
        self.setup()
        parts = {split: self.splits[split] for split in ("train", "val", "test") if split in self.splits}
        # The first field of a named tuple has an entry a sample.
        return {split: len(part[0] if hasattr(part, "_fields") else part) for split, part in parts.items()}

    def embeddable(self, split: str) -> dict[str, Column]:
        """What of a split can be embedded, by name, for `papers embed`; by default what `splits` holds of it.

        Raises:
            UserError: there is no such split, or nothing in it is known to be text, picture or recording.
        """
        self.setup()
        there = getattr(self, "splits", {})
        if split not in there:
            raise UserError(f"split is '{split}'; {self.name} has: {', '.join(there) or 'none that it holds'}")
        if not (found := columns_of(there[split])):
            raise UserError(f"{self.name} holds nothing in its splits that could be embedded")
        return found

    def example(self) -> "str | Image":
        """A look at the data for its page: some lines of text, or a contact sheet."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """SHA-256 over the data and the splits as used; goes into every record, and is the same on every processor.

        It is a `digest` of what was read and chosen: bytes, texts, positions, settings. What is computed from the
        sources (resized pictures, spectra, normalized motions) stands in it by its `origin`.
        """
        raise NotImplementedError

    def origin(self, version: int, *made: Tensor) -> tuple[object, ...]:
        """What stands in `fingerprint` for tensors that are computed from the sources: where they come from.

        Args:
            version: of the code that makes them; raise it with every change to what it makes.
            made: the tensors. Their bytes count where a `data_root` takes the place of the pinned sources, and then
                the fingerprint holds for one kind of processor.
        """
        if self.data_root is None:
            return version, *(source.sha256 for source in self.sources)
        return version, *(hashlib.sha256(tensor.contiguous().numpy().data).hexdigest() for tensor in made)

    # A "batch" of validation or test is the name of a split: the protocol scores a split as a whole, and
    # `Method.validation_step` hands it to `evaluate`. So `papers validate` and `papers test` need nothing else.
    def val_dataloader(self) -> Any:
        return ["val"]

    def test_dataloader(self) -> Any:
        return ["test"]


def digest(*items: object) -> str:
    """SHA-256 over the bytes of tensors, texts and bytes as they are, and the `repr` of all else, in order.

    Raises:
        TypeError: a tensor holds floats, whose last bits depend on the processor that computed them; or a tensor or an
            array stands inside a list, whose `repr` leaves most of it out.
    """
    found = hashlib.sha256()
    for position, item in enumerate(items):
        if isinstance(item, Tensor):
            if item.is_floating_point() or item.is_complex():
                raise TypeError(
                    f"item {position} of a digest is a tensor of {item.dtype}; computed numbers differ between "
                    "processors: take the bytes, positions or settings that they come from"
                )
            found.update(item.contiguous().numpy().data)
        elif isinstance(item, bytes):
            found.update(item)
        else:
            if _holds_array(item):
                raise TypeError(
                    f"item {position} of a digest holds a tensor or an array; pass it as an item of its own"
                )
            found.update((item if isinstance(item, str) else repr(item)).encode())
    return found.hexdigest()


def _holds_array(item: object) -> bool:
    if isinstance(item, dict):
        return _holds_array(list(item.values()))
    if isinstance(item, list | tuple | set | frozenset):
        return any(map(_holds_array, item))
    return hasattr(item, "__array__")
