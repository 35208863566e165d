"""The checkpoint of the generated language: its words, its start from counts, and that it can be made again."""

import csv
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from torch.nn import functional as F
from transformers import BertForMaskedLM

import data.checkpoints
from common.encoders.static import ppmi_svd
from common.encoders.text import TextEncoder
from data.benchmarks.worlds.slots import SlotSentences
from data.slot_language import vocabulary
from harness.recipes import recipe
from papers.sentence.masked_lm.from_counts import SPECIAL, MaskedLMFromCounts
from papers.sentence.masked_lm.slot_bert import FOLDER, write_vocabulary

assert data.checkpoints
RECIPE = FOLDER / "recipe.yaml"


class Stop(L.Callback):
    """Ends a training early without a change to its schedule."""

    def __init__(self, steps: int) -> None:
        self.steps, self.losses = steps, []

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: dict, *args: object) -> None:
        self.losses.append(float(outputs["loss"]))
        trainer.should_stop = trainer.global_step >= self.steps


def test_the_vocabulary_is_that_of_the_language(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (FOLDER / "tokenizer.json").read_bytes()
    encoder = TextEncoder.named("slot-bert")
    words = vocabulary()
    ids = encoder.tokenize([" ".join(words[:20]), f"{words[0]} [SEP] {words[1]}"]).ids.tolist()
    assert ids[0] == [2, *range(5, 25), 3] and ids[1][:5] == [2, 5, 3, 6, 3]
    assert encoder.body.config.vocab_size == len(words) + len(SPECIAL)


def test_the_checkpoint_is_a_masked_language_model_of_transformers() -> None:
    theirs = BertForMaskedLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    ours = MaskedLMFromCounts(encoder="slot-bert", pretrained=True, max_length=32).eval()
    tokens = ours.encoder.tokenize([" ".join(vocabulary()[:9]), "[MASK]"])
    logits = ours.head(ours.encoder.hidden_states(tokens)[-1], ours.table)
    torch.testing.assert_close(logits, theirs(input_ids=tokens.ids, attention_mask=tokens.mask).logits)
    assert (FOLDER / "model.safetensors").stat().st_size < 1_000_000


def test_it_knows_more_than_words_tell_and_fills_blanks() -> None:
    slots = SlotSentences()
    slots.setup()
    language_model = MaskedLMFromCounts(encoder="slot-bert", pretrained=True, max_length=32)
    texts = slots.worlds["home"].rated["val"].texts[:512]
    untrained = MaskedLMFromCounts(encoder="slot-bert", max_length=32).masked_accuracy(texts)
    assert untrained < 0.1 < 0.4 < language_model.masked_accuracy(texts)


def test_the_training_begins_as_its_log_says() -> None:
    """Ten steps of the recipe give the loss that the log has for them."""
    config = yaml.safe_load(RECIPE.read_text())
    config["trainer"] = {key: value for key, value in config["trainer"].items() if key not in ("logger", "callbacks")}
    stop = Stop(10)
    trainer, module, benchmark = recipe.build(recipe.with_seed(config, 0), callbacks=(stop,))
    trainer.fit(module, benchmark)
    with (FOLDER / "log.csv").open(newline="") as file:
        logged = {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}
    assert stop.losses[-1] == pytest.approx(logged[9], abs=1e-3)


def test_the_table_starts_from_counts() -> None:
    module = MaskedLMFromCounts(encoder="slot-bert", max_length=32)
    before = module.table.detach().clone()
    trainer = L.Trainer(max_steps=0, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.fit(module, benchmark := SlotSentences(train="neighbours", learnt="both"))
    rows = module.table.detach()[5:]
    assert module.table[:5].equal(before[:5])
    torch.testing.assert_close(rows.square().mean(dim=1), torch.full((825,), 0.01))
    vectors = ppmi_svd(benchmark.splits["train"].text, vocabulary(), 128)
    torch.testing.assert_close(F.cosine_similarity(rows, vectors), torch.ones(825))
