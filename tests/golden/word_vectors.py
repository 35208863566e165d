"""Our side of word vectors."""

from torch import Tensor, nn

from papers.sentence.cwm_analogies.module import CWM
from tests.golden.ours import like
from tests.golden.recorded import Case


@like(*(f"cwm_analogies/{name}" for name in ("step", "step_weighted", "step_active", "step_odd")))
def cwm(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    method = CWM(words=len(x["rows"]), dim=x["rows"].shape[1], negatives=1, **case.arguments)
    del method.vectors
    method.vectors = lambda index: nn.functional.embedding(index, x["rows"])
    return method.contrast(given["neighbour"], given["centre"], given["noise"]).sum()
