"""What guidance does to the company of an image, counted on garments before nothing and before noise."""

import torch

from common.sampling.company import same_label_share
from data.benchmarks.bases.images import AugmentedImages
from data.benchmarks.mini.fashion import Fashion
from data.benchmarks.mini.placed_fashion import PlacedFashion
from papers.vision_ssl.g_simclr.module import Company, GSimCLR, clusters_of

BATCH, AS_PUBLISHED = 10, 64
EPOCHS = 4
SOME = 10_000


def plain(seed: int) -> float:
    """False negatives of guided batches over those of random ones, on Fashion-MNIST as it is."""
    return ratio(Fashion(batch_size=BATCH, seed=seed), seed)


def released(seed: int) -> float:
    """The same of the released order, in batches of 64 by rank within 64 clusters."""
    return ratio(Fashion(train_size=SOME, batch_size=AS_PUBLISHED, seed=seed), seed, company="ranked")


def codes(seed: int) -> dict[str, float]:
    """The ratio with the clusters of learnt codes, over that with clusters that take no learning."""
    some = Fashion(train_size=SOME, batch_size=BATCH, seed=seed)
    learnt = ratio(some, seed)
    return {
        "over codes before training": learnt / ratio(some, seed, steps=0),
        "over pixels": learnt / ratio(some, seed, pixels=True),
    }


def nearly_plain(seed: int) -> float:
    """The same as `plain` with a tenth of the noise, of the inversions and of the ways to lie."""
    return ratio(PlacedFashion(batch_size=BATCH, seed=seed, nuisance=0.1), seed)


def placed(seed: int) -> float:
    """How far the ratio is from 1 on garments somewhere before noise."""
    return abs(ratio(PlacedFashion(batch_size=BATCH, seed=seed), seed) - 1)


def ratio(
    benchmark: AugmentedImages, seed: int, *, company: Company = "guided", steps: int = 200, pixels: bool = False
) -> float:
    """The share of pairs of one class in batches by cluster, over that among all pictures that they draw in an epoch.

    The latter is what random batches of the same pictures have on average.

    Args:
        benchmark: whose batches have as many pictures as there are to be clusters.
        seed: of the autoencoder and of the batches.
        company: as in `GSimCLR`.
        steps: of the autoencoder's training.
        pixels: clusters are those of the pictures themselves, without an autoencoder.
    """
    benchmark.prepare_data()
    benchmark.setup()
    size, pictures, classes = benchmark.batch_size, benchmark.train.pixels, benchmark.train.labels
    method = GSimCLR(clusters=size, company=company, autoencoder_width=8, autoencoder_steps=steps)
    torch.manual_seed(seed)  # of the autoencoder
    labels = clusters_of(pictures.flatten(1).float(), size) if pixels else method.pseudo_labels(pictures)
    order, found, drawn = method.batches(labels, classes, size, seed), [], []
    for epoch in range(EPOCHS):
        order.set_epoch(epoch)
        batches = [classes[torch.tensor(batch)] for batch in order]
        found += [same_label_share(batch) for batch in batches]
        drawn.append(same_label_share(torch.cat(batches)))
    return float(torch.stack(found).mean() / torch.stack(drawn).mean())
