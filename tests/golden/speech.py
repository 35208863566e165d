"""Our side of the losses of the audio papers."""

from torch import Tensor
from torch.nn import functional as F

from common.encoders.audio import mean_of_real
from common.encoders.sequence import Sequences
from common.losses import info_nce, symmetric_info_nce
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
