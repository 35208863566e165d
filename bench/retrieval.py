"""Recall of a full gallery against faiss' flat index, which is exact too. One thread, float32, width 256."""

import torch

from bench.losses import WIDTH, pair
from bench.measure import Run, Task


def _ours(size: int) -> Run:
    from common.evaluation.retrieval import retrieval_metrics

    query, key = (x.detach() for x in pair(size))
    return lambda: retrieval_metrics(query, key)


def _faiss(size: int) -> Run:
    import faiss

    faiss.omp_set_num_threads(1)
    query, key = (x.detach().numpy() for x in pair(size))

    def run() -> dict[int, float]:
        index = faiss.IndexFlatIP(WIDTH)
        index.add(key)
        _, found = index.search(query, 10)
        hit = torch.from_numpy(found) == torch.arange(size)[:, None]
        return {k: float(hit[:, :k].any(1).double().mean()) for k in (1, 5, 10)}

    return run


RECALL = Task(
    "recall",
    "Recall@1, 5 and 10 of N queries in a gallery of N, D = 256",
    (10_000, 50_000),
    {"ours: retrieval_metrics": _ours, "faiss IndexFlatIP": _faiss},
    unit="N",
    floating_point_operations=lambda n: 2 * n**2 * WIDTH,
    warm=1000,
)

TASKS = (RECALL,)
