"""Simulated electrocardiograms with reports that repeat. Generated: no package ships real ones with their reports."""

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import SignalTexts
from common.benchmark import Benchmark, Metrics, digest
from common.evaluation.embed import embed_dataset
from common.protocols import EmbedsSignal, EmbedsText
from common.random import normal, uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, cut
from data.cache import cached_tensors

RATE, SECONDS, LEADS = 100, 4, 3
SIZES = {"train": 4000, "val": 500, "test": 1500}
LABELLED = 200
"""Train recordings whose findings the probe is told: 5%."""
FINDINGS = {
    "atrial fibrillation": ("atrial fibrillation", "irregular rhythm without p waves", "af"),
    "bradycardia": ("bradycardia", "slow heart rate", "slow ventricular rate"),
    "tachycardia": ("tachycardia", "fast heart rate", "rapid ventricular rate"),
    "st elevation": ("st elevation", "elevated st segment", "st segment raised"),
    "st depression": ("st depression", "depressed st segment", "st segment lowered"),
    "wide qrs": ("wide qrs complex", "broad qrs", "conduction delay"),
    "t wave inversion": ("t wave inversion", "inverted t waves", "negative t waves"),
}
"""Each finding, and how reports say it."""
CHANCES = (0.15, 0.2, 0.2, 0.1, 0.1, 0.15, 0.15)
NORMAL = ("normal ecg", "sinus rhythm, within normal limits", "no abnormality")
# Centre (share of the beat), width (s) and height in each lead of the waves P, Q, R, S, T.
_WAVES = ((-0.2, 0.025, (0.12, 0.15, 0.08)), (-0.03, 0.01, (-0.1, -0.12, -0.05)), (0.0, 0.012, (1.0, 1.2, 0.6)),
          (0.03, 0.01, (-0.25, -0.2, -0.5)), (0.3, 0.05, (0.3, 0.35, 0.25)))  # fmt: skip


class Ecg(Benchmark):
    """Recordings of 4 seconds at 100 Hz in three leads, made of waves, with reports: 4,000 train, 500 val, 1,500 test.

    Seven findings (rhythm, rate, ST segment, QRS, T wave) shape the signal and are listed in the report in one of three
    wordings each. There are some 400 different reports, and three of them make up a third of all, so random negatives
    are often no negatives. It is a simulation: methods can be compared on it, hearts cannot.

    Arguments as in `Benchmark`.
    """

    name = "ecg"
    primary = "probe_linear_5pct/macro_auc"
    findings = tuple(FINDINGS)

    def __init__(self, batch_size: int = 128, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        self.splits: dict[str, SignalTexts] = {}

    def build(self) -> None:
        ids = torch.arange(sum(SIZES.values()))
        self.labels = _findings(ids)
        reports = _reports(self.labels, ids)
        number = {text: at for at, text in enumerate(sorted(set(reports)))}

        def draw() -> dict[str, Tensor]:
            return {"signal": signals(self.labels, ids)}

        # Seconds of work; what it is made from is in this file, whose changes `version` counts.
        signal = cached_tensors("ecg", draw, (), version=1)["signal"]
        text_ids = torch.tensor([number[text] for text in reports])
        self.splits = cut(SignalTexts(signal, reports, text_ids, ids), SIZES)

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.splits["train"]).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """How well each finding is told from its absence, the mean area under the ROC curve of the seven.

        Returns:
            `probe_linear_5pct/macro_auc`: a logistic regression a finding, fitted on 200 train recordings; and, if the
            module embeds texts, `zero_shot/macro_auc`: the cosine with the finding's first wording less that with
            "normal ecg".

        Raises:
            UserError: the module does not offer `embed_signal`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsSignal)
        few, scored = self.splits["train"].ids[:LABELLED], self.splits[split]
        train = embed_dataset(module.embed_signal, self.splits["train"].signal[:LABELLED], 256, module).cpu()
        test = embed_dataset(module.embed_signal, scored.signal, 256, module).cpu()
        truth = self.labels[scored.ids]
        areas = []
        for column in range(len(self.findings)):
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
            probe.fit(train.numpy(), self.labels[few, column].numpy())
            areas.append(roc_auc_score(truth[:, column], probe.decision_function(test.numpy())))
        metrics = {"probe_linear_5pct/macro_auc": sum(areas) / len(areas)}
        if isinstance(module, EmbedsText):
            prompts = [wordings[0] for wordings in FINDINGS.values()] + [NORMAL[0]]
            text = F.normalize(embed_dataset(module.embed_text, prompts, len(prompts), module).cpu(), dim=1)
            scores = F.normalize(test, dim=1) @ (text[:-1] - text[-1:]).T
            areas = [roc_auc_score(truth[:, c], scores[:, c]) for c in range(len(self.findings))]
            metrics["zero_shot/macro_auc"] = sum(areas) / len(areas)
        return {name: float(value) for name, value in metrics.items()}

    def floor(self) -> dict[str, Metrics]:
        """Chance, the samples as they are, and the strengths of their frequencies, which know no place in time."""
        raw, spectrum = self.evaluate(_Samples()), self.evaluate(_Spectrum())
        return {"chance": dict.fromkeys(raw, 0.5), "samples": raw, "spectrum": spectrum}

    def example(self) -> str:
        self.setup()
        return "\n".join(f"{LEADS} leads, {RATE * SECONDS} samples: {text}" for text in self.splits["train"].text[:5])

    def fingerprint(self) -> str:
        """Of what fixes the recordings exactly on every machine: findings, reports and draws, not the rounding."""
        self.setup()
        reports = [part.text for part in self.splits.values()]
        return digest((1, SIZES, RATE, SECONDS, _WAVES, LABELLED, self.labels.tolist(), reports))


def signals(labels: Tensor, ids: Tensor) -> Tensor:
    """Recordings with these findings, float32 of shape (n, leads, time).

    Args:
        labels: 1 for each finding that is present, int64 of shape (n, findings).
        ids: what else each recording depends on, int64 of shape (n,).
    """
    has = {name: labels[:, column, None].float() for column, name in enumerate(FINDINGS)}
    draw = uniform(ids, 4, 40)
    beats = 12  # at 135 a minute nine fit; the first ones may lie before the beginning
    rate = 60 + 30 * draw[:, :1] + has["tachycardia"] * 45 - has["bradycardia"] * 20
    gap = 60 / rate
    jitter = normal(ids, beats, 41) * (0.02 + 0.18 * has["atrial fibrillation"])
    at = (draw[:, 1:2] - 2) * gap + (gap * (1 + jitter)).cumsum(dim=1)  # (n, beats), of each R wave in s
    time = torch.arange(RATE * SECONDS) / RATE
    gain = 1 + 0.2 * normal(ids, LEADS, 42)
    phase = time - at[:, :, None]  # (n, beats, time)
    trace = torch.zeros(len(ids), LEADS, len(time))
    for name, (centre, width, height) in zip("PQRST", _WAVES, strict=True):
        spread = width * (1 + 1.2 * has["wide qrs"] if name in "QRS" else torch.ones_like(gap))
        wave = torch.exp(-0.5 * ((phase - (centre * gap)[:, :, None]) / spread[:, :, None]) ** 2).sum(dim=1)
        share = 1 - has["atrial fibrillation"] if name == "P" else torch.ones_like(gap)
        if name == "T":
            share = 1 - 2 * has["t wave inversion"]
        trace += share[:, :, None] * torch.tensor(height)[:, None] * wave[:, None]
    st = 0.2 * (has["st elevation"] - has["st depression"])
    segment = torch.sigmoid((phase - 0.05) / 0.01) * torch.sigmoid((0.22 * gap[:, :, None] - phase) / 0.01)
    trace += st[:, :, None] * segment.sum(dim=1)[:, None]
    drift = 0.1 * torch.sin(2 * torch.pi * (0.3 * time + draw[:, 2:3]))
    noise = normal(ids, LEADS * len(time), 43).view_as(trace)
    return gain[:, :, None] * trace + drift[:, None] + 0.05 * noise


def _findings(ids: Tensor) -> Tensor:
    drawn = (uniform(ids, len(FINDINGS), 38) < torch.tensor(CHANCES)).long()
    names = list(FINDINGS)
    for first, second in (("bradycardia", "tachycardia"), ("st elevation", "st depression")):
        # They exclude each other.
        drawn[:, names.index(second)] *= 1 - drawn[:, names.index(first)]
    return drawn


def _reports(labels: Tensor, ids: Tensor) -> list[str]:
    wording = (uniform(ids, len(FINDINGS) + 1, 39) * 3).long().tolist()
    said = list(FINDINGS.values())
    reports = []
    for found, choice in zip(labels.tolist(), wording, strict=True):
        parts = [said[column][choice[column]] for column, present in enumerate(found) if present]
        reports.append(", ".join(parts) if parts else NORMAL[choice[-1]])
    return reports


class _Samples(nn.Module):
    def embed_signal(self, signal: Tensor) -> Tensor:
        return signal.flatten(1)


class _Spectrum(nn.Module):
    def embed_signal(self, signal: Tensor) -> Tensor:
        return torch.fft.rfft(signal).abs()[:, :, :80].flatten(1)
