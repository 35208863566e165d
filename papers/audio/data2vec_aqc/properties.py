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
SYLLABLES, FRAMES = 6, 4
"""Of an excerpt, and of each syllable in it."""


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

    After 300 steps of the laptop recipe. Excerpts are joined of six syllables of one voice that was never trained on;
    of each there are four frames out of its second half, the vowel. Pairs are of two recordings, so that what stands
    beside a frame does not count, and not of equal codes, which are no candidates.
    """
    config = yaml.safe_load(Path(__file__).with_name("mini.yaml").read_text(encoding="utf-8"))
    L.seed_everything(seed, verbose=False)
    module, benchmark = Data2VecAQC(**config["model"]["init_args"]), Spoken(**config["data"]["init_args"], seed=seed)
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    L.Trainer(max_steps=STEPS, accelerator="cpu", use_distributed_sampler=False, **quiet).fit(module, benchmark)
    keys, vowels = excerpts(module, benchmark, seed)
    at_large, damped = shares(keys, vowels, max(2, benchmark.crop // module.cluster_factor), seed)
    return at_large / damped


def excerpts(module: Data2VecAQC, benchmark: Spoken, seed: int) -> tuple[Tensor, Tensor]:
    """Quantized frames of excerpts, (n, m, d), and the number of the vowel of each, (n, m)."""
    generator = torch.Generator().manual_seed(seed)
    known, rows = benchmark.recordings.known, []
    for voice in (*SYLLABLE_VOICES["val"], *SYLLABLE_VOICES["test"]):
        theirs = [i for i, one in enumerate(known) if one.voice == voice and vowel_of(one) is not None]
        order = torch.tensor(theirs)[torch.randperm(len(theirs), generator=generator)]
        rows += [*order[: len(order) // SYLLABLES * SYLLABLES].view(-1, SYLLABLES)]
    index = torch.stack(rows)
    frames = []
    with evaluating(module):
        for i in index.flatten().tolist():
            clip = benchmark.recordings.clip(i)
            places = (torch.linspace(0.5, 0.9, FRAMES) * len(clip)).long()
            features = module.encoder.norm(module.encoder.features(clip[None].to(module.device)))[:, places]
            frames.append(module.project_quantized(module.quantizer(features, 1.0).vectors)[0].cpu())
    vowels = torch.tensor([VOWELS.index(vowel_of(known[i])) for i in index.flatten().tolist()])
    keys = torch.stack(frames).view(len(index), SYLLABLES * FRAMES, -1)
    return keys, vowels.repeat_interleave(FRAMES).view(len(index), -1)


def shares(keys: Tensor, vowels: Tensor, clusters: int, seed: int) -> tuple[float, float]:
    """The share of pairs of one vowel among all pairs of an excerpt, and among those of one cluster.

    Raises:
        ArithmeticError: no pair is of one cluster, or all are, so there is nothing to compare.
    """
    labels = cosine_clusters(keys.flatten(0, 1), clusters, seed).view(vowels.shape)
    recording = torch.arange(vowels.shape[1]) // FRAMES
    pairs = (recording[:, None] != recording) & (keys[:, :, None] != keys[:, None]).any(3)
    same, damped = vowels[:, :, None] == vowels[:, None], pairs & (labels[:, :, None] == labels[:, None])
    if not damped.any() or torch.equal(damped, pairs):
        raise ArithmeticError(f"{int(damped.sum())} of {int(pairs.sum())} pairs are of one cluster")
    return float(same[pairs].double().mean()), float(same[damped].double().mean())
