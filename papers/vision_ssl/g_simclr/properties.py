"""What guidance does to the company of an image, counted on garments before nothing and before noise."""

import torch

from common.sampling.company import same_label_share
from data.benchmarks.bases.images import AugmentedImages
from data.benchmarks.mini.fashion import Fashion
from data.benchmarks.mini.placed_fashion import PlacedFashion
from papers.vision_ssl.g_simclr.module import GSimCLR

BATCH = 10
EPOCHS = 4


def plain(seed: int) -> float:
    """False negatives of guided batches over those of random ones, on Fashion-MNIST as it is."""
    return ratio(Fashion(batch_size=BATCH, seed=seed), seed)


def nearly_plain(seed: int) -> float:
    """The same with a quarter of the noise, of the inversions and of the ways to lie."""
    return ratio(PlacedFashion(batch_size=BATCH, seed=seed, nuisance=0.25), seed)


def placed(seed: int) -> float:
    """The same on garments somewhere before noise."""
    return ratio(PlacedFashion(batch_size=BATCH, seed=seed), seed)


def ratio(benchmark: AugmentedImages, seed: int) -> float:
    """The share of pairs of one class in guided batches, over that among all pictures that they draw in an epoch.

    The latter is what random batches of the same pictures have on average.
    """
    benchmark.prepare_data()
    benchmark.setup()
    method = GSimCLR(clusters=BATCH, autoencoder_width=8, autoencoder_steps=200)
    torch.manual_seed(seed)  # of the autoencoder
    labels, classes = method.pseudo_labels(benchmark.train.pixels), benchmark.train.labels
    guided, found, drawn = method.batches(labels, classes, BATCH, seed), [], []
    for epoch in range(EPOCHS):
        guided.set_epoch(epoch)
        batches = [classes[torch.tensor(batch)] for batch in guided]
        found += [same_label_share(batch) for batch in batches]
        drawn.append(same_label_share(torch.cat(batches)))
    return float(torch.stack(found).mean() / torch.stack(drawn).mean())
