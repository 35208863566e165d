"""Noise-contrastive estimation against rows of a memory bank that are drawn at random."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.checks import check_embeddings, check_number
from common.distributed import global_mean, logsumexp_over_processes, sum_over_processes
from common.errors import UserError
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import inverse
from common.scores import Scores


def _example(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    query, bank = examples.unit(draw, n), examples.unit(draw, 9)
    columns = torch.randint(9, (n, 4), generator=draw)
    shared = {"bank": bank, "temperature": examples.number(0.3), "log_z": 2.5}
    return Example({"query": query}, {"columns": columns}, shared)


@loss(_example, needs=Needs.NOTHING)
def noise_contrastive(
    query: Tensor,
    bank: Tensor,
    columns: Tensor,
    *,
    temperature: float | Tensor,
    log_z: float | Tensor,
    eps: float = 1e-7,
) -> Tensor:
    """Makes each query tell its own row of a memory bank from m rows drawn uniformly.

    With P(j) = exp(q_i b_j / t) / Z, c the columns of query i and N rows in the bank, each of which noise draws with
    the probability 1 / N, mean_i [ -log( P(c_0) / (P(c_0) + m / N) ) - sum_k log( (m / N) / (P(c_k) + m / N) ) ].

    Args:
        query: (n, d), normalized by the caller.
        bank: (N, d), the same on all processes; treated as a constant.
        columns: int64 (n, 1 + m), the query's own row and then the noise, which may hold it again.
        temperature: number, 0-d tensor (learnable) or (n,).
        log_z: the logarithm of Z, see `NormalizationConstant`.
        eps: added to the two denominators, as the released code does.

    Returns:
        The mean over the queries of all processes; the m terms of the noise are summed.

    Raises:
        UserError: embeddings of another shape or type, columns of another shape, or without noise.

    Relations: the cross-entropy over the same columns does without Z; with every row for a column it is the softmax
    over the bank.

    Source: Wu et al. 2018 (instance discrimination), eq. 4 to 7; Gutmann and Hyvärinen 2010.
    """
    check_embeddings(query=query, bank=bank)
    check_number("log_z", log_z)
    check_number("eps", eps, least=0)
    if columns.ndim != 2 or len(columns) != len(query) or columns.shape[1] < 2:
        raise UserError(f"columns {tuple(columns.shape)}: expected ({len(query)}, 1 + m), m at least 1")
    noise = (columns.shape[1] - 1) / len(bank)
    odds = Scores(query, bank.detach(), scale=inverse(temperature)).pairs(columns) - log_z - math.log(noise + eps)
    own, others = -F.logsigmoid(odds[:, 0]), -F.logsigmoid(-odds[:, 1:]) + math.log1p(eps / noise)
    return global_mean(own + others.sum(dim=1))


class NormalizationConstant(nn.Module):
    """ln Z of a bank: estimated on the first batch, and the same from then on.

    Z = N * the mean of exp(q_i b_j / t) over the columns of all queries on all processes, their own rows among them.

    Source: Wu et al. 2018, eq. 8, and the released code.
    """

    _log_z: Tensor
    _known: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_log_z", torch.zeros(()))
        # In a checkpoint as a tensor, of which a GPU is asked once after it was loaded.
        self.register_buffer("_known", torch.zeros((), dtype=torch.bool))
        self._is_known: bool | None = False
        self.register_load_state_dict_post_hook(_read_anew)

    @torch.no_grad()
    def forward(self, query: Tensor, bank: Tensor, columns: Tensor, *, temperature: float | Tensor) -> Tensor:
        """ln Z, 0-d; arguments as in `noise_contrastive`, looked at on the first call alone."""
        if self._is_known is None:
            self._is_known = bool(self._known)
        if not self._is_known:
            scores = Scores(query, bank, scale=inverse(temperature)).pairs(columns)
            total = logsumexp_over_processes(scores.flatten().logsumexp(dim=0))
            count = sum_over_processes(total.new_tensor(scores.numel()))
            self._log_z.copy_(total - count.log() + math.log(len(bank)))
            self._known.fill_(True)
            self._is_known = True
        return self._log_z


def _read_anew(constant: NormalizationConstant, keys: object) -> None:
    constant._is_known = None
