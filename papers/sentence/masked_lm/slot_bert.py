"""Makes the files of the checkpoint `slot-bert`: the vocabulary before its training, the rest after it.

python -m papers.sentence.masked_lm.slot_bert vocabulary
papers fit masked_lm --config data/checkpoints/slot_bert/recipe.yaml
python -m papers.sentence.masked_lm.slot_bert export logs/slot_bert/checkpoints/last.ckpt logs/slot_bert
"""

import sys
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors

from common.training.log_table import write_log
from data.slot_language import vocabulary

# A checkpoint is loaded by a class that is imported already.
from papers.sentence.masked_lm.from_counts import SPECIAL
from papers.sentence.masked_lm.mini_bert import export

FOLDER = Path(__file__).parents[3] / "data" / "checkpoints" / "slot_bert"


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
