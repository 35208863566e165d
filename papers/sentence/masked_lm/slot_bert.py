"""Makes the files of the checkpoint `slot-bert`: the vocabulary before its training, the rest after it.

python -m papers.sentence.masked_lm.slot_bert vocabulary
papers fit masked_lm --config data/checkpoints/slot_bert/recipe.yaml
python -m papers.sentence.masked_lm.slot_bert export logs/slot_bert/checkpoints/last.ckpt logs/slot_bert
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional as F

from common.encoders.static import ppmi_svd
from common.training.log_table import write_log
from data.slot_language import vocabulary
from papers.sentence.masked_lm.mini_bert import export
from papers.sentence.masked_lm.module import MaskedLM

FOLDER = Path(__file__).parents[3] / "data" / "checkpoints" / "slot_bert"
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


def write_vocabulary(folder: Path = FOLDER) -> None:
    """The words of the language as they are, special tokens first."""
    ids = {word: at for at, word in enumerate([*SPECIAL, *vocabulary()])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Known to the tokenizer as special, "[SEP]" may also stand in a text, between two sentences.
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["vocabulary"]:
            write_vocabulary()
        case ["export", checkpoint, logs]:
            export(Path(checkpoint), FOLDER)
            write_log(Path(logs), FOLDER / "log.csv")
        case _:
            sys.exit(__doc__)
