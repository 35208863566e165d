"""A training step through Lightning against a bare loop doing the same work, and against what the peers offer for it.

Every implementation of a task has the same encoder, batch and optimizer. The batches stand ready in memory; what
loading costs is measured in `loaders`.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bench.measure import Run, Task
from common.batches import Images, Sentences
from common.losses import info_nce, nt_xent
from common.training.method import Method

WARM, STEPS = 5, 20
LR = 1e-3


def loader(batches: list) -> DataLoader:
    """The batches over and over, as they are."""
    return DataLoader(batches * ((WARM + STEPS) // len(batches)), batch_size=None, collate_fn=lambda batch: batch)


class Clock:
    """Ticks at the end of every step. A step's cost is the median between ticks, after the warm-up."""

    def __init__(self) -> None:
        self.ticks: list[float] = []

    def tick(self) -> None:
        self.ticks.append(time.process_time())

    @property
    def seconds(self) -> float:
        return statistics.median(b - a for a, b in pairwise(self.ticks[WARM - 1 :]))


class _Tick(L.Callback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(self, *_) -> None:
        self.clock.tick()


def through_lightning(module: L.LightningModule, batches: list) -> Run:
    """Trains with the Trainer as an unattended run sets it up."""

    def run() -> float:
        clock = Clock()
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=WARM + STEPS,
            callbacks=[_Tick(clock)],
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader(batches))
        return clock.seconds

    return run


def bare(model: nn.Module, loss: Callable[..., Tensor], batches: Iterable) -> Run:
    """The loop that everybody writes: loss, backward, step of the optimizer and of the schedule."""

    def run() -> float:
        model.train()
        decay = [p for p in model.parameters() if p.ndim >= 2]
        others = [p for p in model.parameters() if p.ndim < 2]
        optimizer = torch.optim.AdamW([{"params": decay}, {"params": others, "weight_decay": 0.0}], lr=LR)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, WARM + STEPS)
        clock = Clock()
        for batch in loader(batches):
            value = loss(batch)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            clock.tick()
        return clock.seconds

    return run


# SimCLR: a small residual network on 28x28 pictures


def pictures(size: int) -> list[Images]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.arange(size)
    return [Images(torch.rand(2, size, 1, 28, 28, generator=generator), ids % 10, ids) for _ in range(5)]


def _simclr() -> Method:
    from papers.vision_ssl.simclr.module import SimCLR

    torch.manual_seed(0)
    return SimCLR(lr=LR)


def _our_simclr(size: int) -> Run:
    return through_lightning(_simclr(), pictures(size))


def _bare_simclr(size: int) -> Run:
    module = _simclr()

    def loss(batch: Images) -> Tensor:
        return nt_xent(*module.network(batch.views.flatten(0, 1)).chunk(2), temperature=module.temperature)

    return bare(module.network, loss, pictures(size))


class _LightlyModule(L.LightningModule):
    """The shape of lightly's examples: a forward pass a view, the criterion, one log."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        from lightly.loss import NTXentLoss

        self.network, self.criterion = network, NTXentLoss(temperature)

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        view_a, view_b = batch.views
        loss = self.criterion(self.network(view_a), self.network(view_b))
        self.log("train_loss", loss, batch_size=len(view_a))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=LR)


def _lightly_module(size: int) -> Run:
    module = _simclr()
    return through_lightning(_LightlyModule(module.network, module.temperature), pictures(size))


def _lightly_bare(size: int) -> Run:
    from lightly.loss import NTXentLoss

    module, criterion = _simclr(), NTXentLoss(0.5)

    def loss(batch: Images) -> Tensor:
        view_a, view_b = batch.views
        return criterion(module.network(view_a), module.network(view_b))

    return bare(module.network, loss, pictures(size))


SIMCLR = Task(
    "simclr_step",
    "A step of SimCLR: a small residual network on 28x28 pictures",
    (256,),
    {
        "ours: SimCLR through Lightning": _our_simclr,
        "bare PyTorch loop, our network and loss": _bare_simclr,
        "lightly's loss through Lightning, as its examples": _lightly_module,
        "lightly's loss in a bare loop": _lightly_bare,
    },
    unit="images",
    warm=0,
)


# SimCSE: a three-layer BERT on sentences of 8 to 24 words, tokenized in the step


def sentences(size: int) -> list[Sentences]:
    generator = torch.Generator().manual_seed(0)
    words = _vocabulary()

    def sentence() -> str:
        length = int(torch.randint(8, 25, (), generator=generator))
        return " ".join(words[i] for i in torch.randint(len(words), (length,), generator=generator))

    return [Sentences([sentence() for _ in range(size)], torch.arange(size)) for _ in range(5)]


def _vocabulary() -> list[str]:
    consonants, vowels = "bcdfghjklmnprstvwz", "aeiou"
    return [a + b + c + d for a in consonants for b in vowels for c in consonants[:6] for d in vowels]


_FOLDER = tempfile.TemporaryDirectory(prefix="bench-bert-")


def bert() -> str:
    """A folder with a freshly initialized BERT of the shape of mini-bert and a tokenizer, as every library reads it."""
    folder = _FOLDER.name
    if any(Path(folder).iterdir()):
        return folder
    from transformers import BertConfig, BertModel, BertTokenizer

    from common.encoders.text import ARCHITECTURES

    shape = ARCHITECTURES["mini-bert"]
    config = BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.positions,
    )
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    BertTokenizer(vocab={word: i for i, word in enumerate(special + _vocabulary())}).save_pretrained(folder)
    return folder


def _simcse() -> Method:
    from papers.sentence.simcse.module import SimCSE

    return SimCSE(encoder="mini-bert", weights=bert(), lr=LR)


def _our_simcse(size: int) -> Run:
    return through_lightning(_simcse(), sentences(size))


def _bare_simcse(size: int) -> Run:
    module = _simcse()
    encoder, head = module.encoder, module.head

    def loss(batch: Sentences) -> Tensor:
        query, key = head(encoder(batch.twice())).chunk(2)
        return info_nce(F.normalize(query, dim=-1), F.normalize(key, dim=-1), temperature=module.temperature)

    return bare(nn.ModuleList([encoder, head]), loss, sentences(size))


def _sentence_transformer():
    """The same encoder and head out of sentence-transformers' own parts, and its loss for SimCSE."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

    # Without the pooler, which this loss never uses.
    body = Transformer(bert(), max_seq_length=32, model_kwargs={"add_pooling_layer": False})
    width = body.get_embedding_dimension()
    model = SentenceTransformer(modules=[body, Pooling(width, pooling_mode="cls"), Dense(width, width)], device="cpu")
    return model, MultipleNegativesRankingLoss(model, scale=20.0)


def _peer_simcse_bare(size: int) -> Run:
    model, criterion = _sentence_transformer()

    def loss(batch: Sentences) -> Tensor:
        columns = [model.preprocess(batch.text), model.preprocess(batch.text)]
        return criterion(columns, None)

    return bare(model, loss, sentences(size))


def _peer_simcse(size: int) -> Run:
    """sentence-transformers' own Trainer."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from transformers import TrainerCallback

    class Tick(TrainerCallback):
        def on_step_end(self, args, state, control, **_) -> None:
            clock.tick()

    clock = Clock()
    model, criterion = _sentence_transformer()
    texts = [text for batch in loader(sentences(size)) for text in batch.text]

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            arguments = SentenceTransformerTrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=size,
                max_steps=WARM + STEPS,
                learning_rate=LR,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
                logging_strategy="no",
                use_cpu=True,
            )
            SentenceTransformerTrainer(
                model=model,
                args=arguments,
                train_dataset=Dataset.from_dict({"anchor": texts, "positive": texts}),
                loss=criterion,
                callbacks=[Tick()],
            ).train()
        return clock.seconds

    return run


SIMCSE = Task(
    "simcse_step",
    "A step of SimCSE: a BERT of 3 layers and width 192, sentences of 8 to 24 words",
    (64,),
    {
        "ours: SimCSE through Lightning": _our_simcse,
        "bare PyTorch loop, our encoder and loss": _bare_simcse,
        "sentence-transformers, its Trainer": _peer_simcse,
        "sentence-transformers' model and loss in a bare loop": _peer_simcse_bare,
    },
    unit="sentences",
    warm=0,
)

TASKS = (SIMCLR, SIMCSE)
