"""Contrastive losses: pure functions of embeddings. Each registers itself, and its tests follow from that."""

from common.losses.info_nce import HardNegatives, info_nce, symmetric_info_nce
from common.losses.nt_xent import decoupled_nt_xent, nt_xent
from common.losses.queue import queue_info_nce
from common.losses.sigmoid import sigmoid_pairwise
from common.losses.sup_con import sup_con
from common.losses.temperature import LearnableTemperature

__all__ = [
    "HardNegatives",
    "LearnableTemperature",
    "decoupled_nt_xent",
    "info_nce",
    "nt_xent",
    "queue_info_nce",
    "sigmoid_pairwise",
    "sup_con",
    "symmetric_info_nce",
]
