"""Fashion-MNIST: 70,000 pictures of garments in ten classes, the whole set, as Debian ships it."""

from typing import TYPE_CHECKING

from data.sources.base import Source

if TYPE_CHECKING:
    import numpy as np

FASHION_MNIST = Source(
    name="fashion_mnist",
    title="Fashion-MNIST, 60,000 + 10,000 garments in ten classes, 28x28 grey",
    client="apt",
    package="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    filename="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    size=30_900_652,
    licence="MIT (Zalando SE)",
    citation="Xiao, Rasul and Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking machine learning "
    "algorithms",
)
SOURCES = (FASHION_MNIST,)

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


_FOLDER = "usr/share/datasets/fashion-mnist"
# Bytes before the data: a magic number and the size of each dimension, four bytes each.
_HEADERS = {"images-idx3": 16, "labels-idx1": 8}


def read_fashion_mnist(data_root: str | None = None) -> "dict[str, tuple[np.ndarray, np.ndarray]]":
    """ "train" and "test": pixels, uint8 of shape (n, 28, 28), and classes, int64 of shape (n,)."""
    import numpy as np

    archive = FASHION_MNIST.open(data_root)
    names = {(part, kind): f"{_FOLDER}/{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in _HEADERS}
    files = dict(zip(names, archive.unzipped(*names.values()), strict=True))
    data = {
        # A bytearray makes the array writable, as torch wants it.
        (part, kind): np.frombuffer(bytearray(content), np.uint8, offset=_HEADERS[kind])
        for (part, kind), content in files.items()
    }
    return {
        split: (data[part, "images-idx3"].reshape(-1, 28, 28), data[part, "labels-idx1"].astype(np.int64))
        for split, part in (("train", "train"), ("test", "t10k"))
    }
