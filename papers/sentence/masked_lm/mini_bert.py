"""Makes the checkpoint `mini-bert`: its vocabulary before the training, its files after it.

python -m papers.sentence.masked_lm.mini_bert vocabulary
papers fit masked_lm --config data/checkpoints/mini_bert/recipe.yaml
python -m papers.sentence.masked_lm.mini_bert export logs/mini_bert/checkpoints/last.ckpt logs/mini_bert
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from common.encoders.narrow import cut_vocabulary
from common.encoders.pretrained import ARCHITECTURES
from common.training.log_table import write_log
from data.benchmarks.mini.english import English
from data.sources.minilm import read_minilm
from papers.sentence.masked_lm.module import MaskedLM

FOLDER = Path(__file__).parents[3] / "data" / "checkpoints" / "mini_bert"


def write_vocabulary(folder: Path = FOLDER) -> None:
    """Cuts the vocabulary of MiniLM to the commonest pieces of the corpus."""
    corpus = English()
    corpus.setup()
    whole = read_minilm("tokenizer.json")["tokenizer.json"].decode()
    cut = cut_vocabulary(whole, corpus.splits["train"], ARCHITECTURES["mini-bert"].vocab_size)
    (folder / "tokenizer.json").write_text(cut, encoding="utf-8")


def export(checkpoint: Path, folder: Path = FOLDER) -> None:
    """Writes a trained student in the layout of transformers' `BertForMaskedLM`, in half precision.

    The teacher and the maps to its width stay behind.
    """
    module = MaskedLM.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    tensors = {f"bert.{key}": tensor for key, tensor in module.encoder.body.state_dict().items()}
    tensors |= module.head.published()
    save_file(
        {key: tensor.to(torch.float16).contiguous() for key, tensor in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = module.encoder.body.config.to_diff_dict() | {"architectures": ["BertForMaskedLM"], "dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["vocabulary"]:
            write_vocabulary()
        case ["export", checkpoint, logs]:
            export(Path(checkpoint))
            write_log(Path(logs), FOLDER / "log.csv")
        case _:
            sys.exit(__doc__)
