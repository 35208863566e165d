"""Contrastive losses: pure functions of embeddings. Each registers itself, and its tests follow from that."""

from common.losses.attraction_repulsion import attraction_repulsion
from common.losses.auc import mann_whitney
from common.losses.barlow_twins import barlow_twins
from common.losses.blocks import block_contrast
from common.losses.class_pairs import class_pairs
from common.losses.contrastive_margin import contrastive_margin
from common.losses.distillation import distilled_cross_entropy, momentum_contrast
from common.losses.filtered import filtered_info_nce
from common.losses.focal import focal_info_nce, focal_sigmoid, focal_sup_con
from common.losses.geometry import alignment, cross_uniformity, uniformity
from common.losses.hinge import pairwise_hinge
from common.losses.info_nce import HardNegatives, info_nce, symmetric_info_nce
from common.losses.listwise import circle, circle_list, listwise_kl
from common.losses.multi_label import decoupled_softmax, multi_label_softmax, one_vs_all, soft_top_k
from common.losses.multi_similarity import multi_similarity
from common.losses.multi_view import cross_view_info_nce, multi_view_info_nce
from common.losses.nce import NormalizationConstant, noise_contrastive
from common.losses.nt_xent import decoupled_nt_xent, nt_xent
from common.losses.queue import queue_info_nce
from common.losses.reweighted import reweighted_nt_xent
from common.losses.self_labelled import self_labelled
from common.losses.sigmoid import sigmoid_pairwise
from common.losses.skewed_kl import skewed_kl, skewed_reverse_kl
from common.losses.soft_targets import distilled, same_id, soft_target_cross_entropy
from common.losses.spectral import spectral_contrastive
from common.losses.sup_con import sup_con
from common.losses.temperature import LearnableTemperature, PlainTemperature
from common.losses.triplet import triplet

__all__ = [
    "HardNegatives",
    "LearnableTemperature",
    "NormalizationConstant",
    "PlainTemperature",
    "alignment",
    "attraction_repulsion",
    "barlow_twins",
    "block_contrast",
    "circle",
    "circle_list",
    "class_pairs",
    "contrastive_margin",
    "cross_uniformity",
    "cross_view_info_nce",
    "decoupled_nt_xent",
    "decoupled_softmax",
    "distilled",
    "distilled_cross_entropy",
    "filtered_info_nce",
    "focal_info_nce",
    "focal_sigmoid",
    "focal_sup_con",
    "info_nce",
    "listwise_kl",
    "mann_whitney",
    "momentum_contrast",
    "multi_label_softmax",
    "multi_similarity",
    "multi_view_info_nce",
    "noise_contrastive",
    "nt_xent",
    "one_vs_all",
    "pairwise_hinge",
    "queue_info_nce",
    "reweighted_nt_xent",
    "same_id",
    "self_labelled",
    "sigmoid_pairwise",
    "skewed_kl",
    "skewed_reverse_kl",
    "soft_target_cross_entropy",
    "soft_top_k",
    "spectral_contrastive",
    "sup_con",
    "symmetric_info_nce",
    "triplet",
    "uniformity",
]
