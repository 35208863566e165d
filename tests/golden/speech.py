"""Our side of the losses of the audio papers."""

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from common.encoders.audio import mean_of_real
from common.encoders.quantizer import GumbelQuantizer, Quantized
from common.encoders.sequence import Sequences
from common.losses import info_nce, symmetric_info_nce
from papers.audio.data2vec_aqc.contrast import damped_cross_entropy
from tests.golden.ours import like
from tests.golden.recorded import Case


@like("const/speech_to_text", "const/dual")
def const(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # They sum over the utterances, we take the mean.
    speech, text = (
        F.normalize(mean_of_real(Sequences.of_lengths(x[side], given[f"{side}_lengths"])), dim=1)
        for side in ("speech", "text")
    )
    if case.name == "const/dual":
        loss = symmetric_info_nce(speech, text, directions="sum", **case.arguments)
    else:
        loss = info_nce(speech, text, **case.arguments)
    return len(speech) * loss


@like("data2vec_aqc/damped", "data2vec_aqc/no_duplicate")
def data2vec_aqc(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    key = x["key"][torch.arange(len(given["rows"]))[:, None], given["rows"]]
    # The released code damps only in batches where some negative equals its positive.
    clusters = given["clusters"] if case.name.endswith("damped") else None
    codes = given["rows"][..., None]
    return damped_cross_entropy(x["query"], key, codes, given["negatives"], clusters, **case.arguments).sum()


def quantize(features: Tensor, gumbel: Tensor, choose: Tensor, book: Tensor, temperature: float) -> Quantized:
    groups, codes, width = book.shape
    ours = GumbelQuantizer(features.shape[2], groups * width, codes, groups)
    weights = {"choose.weight": choose, "choose.bias": choose.new_zeros(groups * codes), "book": book}
    return functional_call(ours, weights, (features, temperature, (-(-gumbel).exp()).exp().flatten(1)))


@like("data2vec_aqc/quantizer")
def quantizer(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    quantized = quantize(x["features"], x["gumbel"], x["choose"], x["book"], case.arguments["temperature"])
    return (quantized.vectors * x["weights"]).sum() + quantized.diversity


@like("data2vec_aqc/joined", "data2vec_aqc/joined_low_temperature")
def quantizer_and_contrast(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # In float32, where equal codes must still be equal vectors for the authors' test to find them.
    x = {name: array.float() for name, array in x.items()}
    sides = [
        quantize(x[view], x[f"gumbel_{view}"], x["choose"], x["book"], case.arguments["gumbel"])
        for view in ("clean", "augmented")
    ]
    total = 0.1 * sides[0].diversity
    for query, side, negatives, clusters in zip(
        (x["state"], x["target"]), sides, given["negatives"], given["clusters"], strict=True
    ):
        key = F.linear(side.vectors, x["quantized"])
        loss = damped_cross_entropy(
            F.linear(query, x["states"]),
            key,
            side.codes,
            negatives,
            clusters,
            temperature=case.arguments["temperature"],
            scale=case.arguments["scale"],
        )
        total = total + 0.5 * loss.mean()
    return total
