"""A masked language model that begins with counted word vectors."""

import torch
from torch.nn import functional as F

from common.encoders.static import ppmi_svd
from papers.sentence.masked_lm.module import MaskedLM

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SCALE = 0.1
"""Root mean square of a row of the table at the start."""


class MaskedLMFromCounts(MaskedLM):
    """A masked language model whose token table begins with what words tell by their company.

    The rows of all words but the special ones are `ppmi_svd` of the training texts, brought to one length, with a root
    mean square of 0.1.
    """

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and not self.pretrained and self.trainer.ckpt_path is None:
            ids = self.encoder.tokenizer.get_vocab()
            words = sorted(ids, key=ids.__getitem__)[len(SPECIAL) :]
            rows = ppmi_svd(self.trainer.datamodule.splits["train"].text, words, self.encoder.width)
            with torch.no_grad():
                self.table[len(SPECIAL) :] = F.normalize(rows, dim=1) * SCALE * self.encoder.width**0.5
