"""Our side of the losses over the logits of a classifier."""

from torch import Tensor

from papers.classification.squentropy.module import RescaledSquare, Squentropy
from papers.vision_language.catlip.module import CatLIP
from tests.golden.ours import like
from tests.golden.recorded import Case


@like("squentropy/mixed", "squentropy/mixed_large_logits", "squentropy/mixed_two_classes", "squentropy/mixed_one_row")
@like("squentropy/sqen_vision")
def squentropy(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return Squentropy().losses(x["logits"], given["labels"]).mean()


@like("squentropy/square", "squentropy/square_rescaled", "squentropy/square_weighted")
def rescaled_square(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return RescaledSquare(**case.arguments).losses(x["logits"], given["labels"]).mean()


@like("catlip/nouns", "catlip/one_row", "catlip/large_logits", "catlip/none_told", "catlip/one_label")
def catlip(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return CatLIP.classify(x["logits"], given["told"].bool())
