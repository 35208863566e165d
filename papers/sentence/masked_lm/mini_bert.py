"""Makes the checkpoint `mini-bert`: its vocabulary before the training, its files after it.

python -m papers.sentence.masked_lm.mini_bert vocabulary
papers fit masked_lm --config data/checkpoints/mini_bert/recipe.yaml
python -m papers.sentence.masked_lm.mini_bert export logs/mini_bert/checkpoints/last.ckpt logs/mini_bert
"""

import csv
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from common.encoders.pretrained import ARCHITECTURES
from data.benchmarks.english import English
from data.sources.minilm import read_minilm
from papers.sentence.masked_lm.module import MaskedLM
from papers.sentence.masked_lm.narrow import cut_vocabulary

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


def write_log(logs: Path, folder: Path = FOLDER) -> None:
    """Joins the logs of a run, which may have been resumed, into one table; the last word on a step counts."""
    rows: dict[int, dict[str, str]] = {}
    last: dict[str, str] = {}
    for file in sorted(logs.glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        with file.open(newline="") as table:
            for row in csv.DictReader(table):
                # Lightning writes the last value of a term again where there is none, as of the teacher's once it is
                # silent; to all digits no measurement repeats.
                fresh = {
                    key: value for key, value in row.items() if value and key != "epoch" and last.get(key) != value
                }
                last |= fresh
                rows.setdefault(int(row["step"]), {"step": row["step"]}).update(fresh)
    columns = ["step", *sorted({key for row in rows.values() for key in row} - {"step"})]
    with (folder / "log.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{float(v):.4f}" if k != "step" else v for k, v in rows[step].items()} for step in sorted(rows)
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["vocabulary"]:
            write_vocabulary()
        case ["export", checkpoint, logs]:
            export(Path(checkpoint))
            write_log(Path(logs))
        case _:
            sys.exit(__doc__)
