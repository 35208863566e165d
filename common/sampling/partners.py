"""Who goes with whom in a batch."""

from torch import Tensor

from common.distributed import gather, shards


def permuted(values: Tensor, draws: Tensor) -> Tensor:
    """The values of other rows: a random permutation over the rows of all processes.

    Args:
        values: one for each of our rows, (n,).
        draws: two uniform numbers for each row, (n, 2), such as `common.random.uniform` gives by the sample's id. The
            permutation follows from them alone, so a row has the same partner on any number of processes.

    Returns:
        (n,).
    """
    layout = shards(len(values), values.device)
    leaving, arriving = gather(draws, layout).unbind(dim=1)
    place = leaving.argsort(stable=True).argsort()
    return gather(values, layout)[arriving.argsort(stable=True)[place]][layout.own]
