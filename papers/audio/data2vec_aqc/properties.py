"""What the cluster filter does: to the gradient of a damped negative, and to negatives that are the same sound."""

from pathlib import Path

import lightning as L
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from common.evaluation.embed import evaluating
from common.sampling.clusters import cosine_clusters
from data.benchmarks.bases.speech_probes import SYLLABLE_VOICES, VOWELS, vowel_of
from data.benchmarks.mini.spoken import Spoken
from papers.audio.data2vec_aqc.contrast import damped_cross_entropy, draw_negatives
from papers.audio.data2vec_aqc.module import Data2VecAQC

TEMPERATURE, SCALE = 0.1, 0.3
STEPS = 300
FRAMES = 4
"""Of each recording."""
STARTS = 5
"""Of k-means; one start more or less moves the ratio by a few hundredths."""


def gradient(seed: int) -> dict[str, float]:
    """The gradient by autograd against the formula: a damped logit has 0.3 times its softmax weight, others have it.

    Returns:
        The largest difference in any entry, for queries and for keys.
    """
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, 4, 12, 8, generator=generator, dtype=torch.float64).requires_grad_()
    codes, negatives = torch.arange(12).expand(4, 12)[..., None], draw_negatives(torch.arange(4), 12, 9, seed)
    clusters = torch.randint(3, (4, 12), generator=generator)
    loss = damped_cross_entropy(query, key, codes, negatives, clusters, temperature=TEMPERATURE, scale=SCALE).sum()
    found = torch.autograd.grad(loss, (query, key), retain_graph=True)

    cosine = F.normalize(query, dim=2) @ F.normalize(key, dim=2).transpose(1, 2)
    slope = torch.zeros_like(cosine)
    for n, m in torch.cartesian_prod(torch.arange(4), torch.arange(12)).tolist():
        candidates = [m, *negatives[n, m].tolist()]
        damped = [clusters[n, j] == clusters[n, m] for j in candidates]
        factor = torch.tensor([1.0, *(SCALE if one else 1.0 for one in damped[1:])], dtype=torch.float64)
        weight = (factor * cosine[n, m, candidates].detach() / TEMPERATURE).softmax(0)
        for place, (j, f, w) in enumerate(zip(candidates, factor.tolist(), weight.tolist(), strict=True)):
            slope[n, m, j] += (f * w - (place == 0)) / TEMPERATURE
    expected = torch.autograd.grad(cosine, (query, key), slope)
    names = ("queries", "keys")
    return {name: float((a - b).abs().max()) for name, a, b in zip(names, found, expected, strict=True)}


def same_vowel(seed: int) -> float:
    """How often a negative is of the positive's vowel: the share at large, over that among those the filter damps.

    After 300 steps of the laptop recipe, on four voices that were never trained on. Pairs are of two recordings of one
    voice, so that what stands beside a frame does not count, and not of equal codes, which are no candidates.
    """
    module, benchmark = untrained(seed)
    train(module, benchmark)
    return ratio(module, benchmark, seed)


def truer_by_training(seed: int) -> float:
    """The ratio of `same_vowel` over that of the same network before its first step."""
    module, benchmark = untrained(seed)
    benchmark.setup()
    before = ratio(module, benchmark, seed)
    train(module, benchmark)
    return ratio(module, benchmark, seed) / before


def untrained(seed: int) -> tuple[Data2VecAQC, Spoken]:
    """Method and data of the laptop recipe."""
    config = yaml.safe_load(Path(__file__).with_name("mini.yaml").read_text(encoding="utf-8"))
    L.seed_everything(seed, verbose=False)
    return Data2VecAQC(**config["model"]["init_args"]), Spoken(**config["data"]["init_args"], seed=seed)


def train(module: Data2VecAQC, benchmark: Spoken) -> None:
    """The first steps of the laptop recipe."""
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    L.Trainer(max_steps=STEPS, accelerator="cpu", use_distributed_sampler=False, **quiet).fit(module, benchmark)


def ratio(module: Data2VecAQC, benchmark: Spoken, seed: int) -> float:
    """Share of pairs of one vowel at large, over that among pairs of one cluster, averaged over starts of k-means."""
    keys, vowels, recordings, voices = voiced_frames(module, benchmark)
    pairs = (voices[:, None] == voices) & (recordings[:, None] != recordings)
    clusters = max(2, benchmark.crop // module.cluster_factor)
    starts = [shares(keys, vowels, pairs, clusters, seed * STARTS + start) for start in range(STARTS)]
    return sum(at_large / damped for at_large, damped in starts) / STARTS


def voiced_frames(module: Data2VecAQC, benchmark: Spoken) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Quantized frames out of the second half, the vowel, of every syllable that the held-out voices say.

    Returns:
        Vectors, (n, d), and of each the number of its vowel, of its recording and of its voice, (n,).
    """
    recordings = benchmark.recordings
    keys, labels = [], []
    with evaluating(module):
        for number, voice in enumerate((*SYLLABLE_VOICES["val"], *SYLLABLE_VOICES["test"])):
            for i, one in enumerate(recordings.known):
                vowel = vowel_of(one)
                if one.voice != voice or vowel is None:
                    continue
                clip = recordings.clip(i)
                places = (torch.linspace(0.5, 0.9, FRAMES) * len(clip)).long()
                features = module.encoder.norm(module.encoder.features(clip[None].to(module.device)))[:, places]
                keys.append(module.project_quantized(module.quantizer(features, 1.0).vectors)[0].cpu())
                labels += [(VOWELS.index(vowel), i, number)] * FRAMES
    return torch.cat(keys), *torch.tensor(labels).unbind(1)


def shares(keys: Tensor, vowels: Tensor, pairs: Tensor, clusters: int, seed: int) -> tuple[float, float]:
    """The share of pairs of one vowel among all pairs, and among those of one cluster.

    Args:
        keys: (n, d).
        vowels: (n,).
        pairs: (n, n), true where two frames may be compared; those of equal keys are left out.

    Raises:
        ArithmeticError: no pair is of one cluster, or all are, so there is nothing to compare.
    """
    labels = cosine_clusters(keys, clusters, seed)
    codes = keys.unique(dim=0, return_inverse=True)[1]
    pairs = pairs & (codes[:, None] != codes)
    same, damped = vowels[:, None] == vowels, pairs & (labels[:, None] == labels)
    if not damped.any() or torch.equal(damped, pairs):
        raise ArithmeticError(f"{int(damped.sum())} of {int(pairs.sum())} pairs are of one cluster")
    return float(same[pairs].double().mean()), float(same[damped].double().mean())
