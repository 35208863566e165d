"""Our side of the losses of the audio papers."""

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from common.encoders.audio import mean_of_real
from common.encoders.quantizer import GumbelQuantizer
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
    return damped_cross_entropy(x["query"], key, given["negatives"], clusters, **case.arguments).sum()


@like("data2vec_aqc/quantizer")
def quantizer(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    groups, codes, width = x["book"].shape
    ours = GumbelQuantizer(x["features"].shape[2], groups * width, codes, groups).double()
    weights = {"choose.weight": x["choose"], "choose.bias": torch.zeros(groups * codes).double(), "book": x["book"]}
    noise = (-(-x["gumbel"]).exp()).exp().flatten(1)
    quantized = functional_call(ours, weights, (x["features"], case.arguments["temperature"], noise))
    return (quantized.vectors * x["weights"]).sum() + quantized.diversity
