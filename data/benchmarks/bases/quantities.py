"""How pictures of a quantity, such as an angle or an age, are scored."""

import torch
from torch import Tensor, nn

from common.benchmark import Metrics
from common.evaluation.embed import Items, embed_dataset
from common.evaluation.regression import distance_correlation, regression_metrics, ridge_regression_metrics
from common.protocols import EmbedsImage, TellsQuantity

Part = tuple[Items, Tensor]
"""Pictures, uint8 of shape (n, c, h, w) however they are kept, and the quantity of each, (n,), in a random order."""


def quantity_metrics(module: nn.Module, train: Part, val: Part, test: Part, *, at_once: int = 500) -> Metrics:
    """What a ridge regression on the embeddings says of a quantity, and what the module itself says.

    Args:
        module: one that offers `embed_image`.
        train: what the regression is fitted on.
        val: what chooses its penalty.
        test: what is asked.
        at_once: pictures that a module embeds in one call.

    Returns:
        `probe_ridge/...`, see `ridge_regression_metrics`; `distances/spearman`, see `distance_correlation`, each
        picture beside another; and if the module offers `tell_image` `regressor/...`, see `regression_metrics`.
    """
    assert isinstance(module, EmbedsImage)
    rows = [embed_dataset(module.embed_image, pixels, at_once, module).cpu() for pixels, _ in (train, val, test)]
    quantities = [quantity for _, quantity in (train, val, test)]
    found = ridge_regression_metrics(*zip(rows, quantities, strict=True))
    metrics: Metrics = {f"probe_ridge/{name}": value for name, value in found.items()}
    # The order is random, so the next picture is as good as any.
    metrics["distances/spearman"] = distance_correlation(rows[-1], test[1], torch.arange(len(rows[-1])).roll(-1))
    if isinstance(module, TellsQuantity):
        said = embed_dataset(lambda pixels: module.tell_image(pixels)[:, None], test[0], at_once, module).cpu()
        metrics |= {f"regressor/{name}": value for name, value in regression_metrics(said[:, 0], test[1]).items()}
    return metrics
