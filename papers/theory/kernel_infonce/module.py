"""Kernel-InfoNCE (Tan et al. 2024): contrast is spectral clustering of the graph of positives, by any kernel."""

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from common.batches import Graph, Images
from common.checks import check_number
from common.distributed import global_mean
from common.encoders.points import FreePoints, degrees
from common.errors import UserError
from common.evaluation.clusters import spectral_embedding
from common.training.method import Method
from papers.theory.kernel_infonce.kernels import exponential, kernel_nt_xent, kernel_sum, log_total
from papers.vision_ssl.simclr.module import SimCLR

Mixture = Literal["none", "kernels", "losses", "halves"]


class KernelSimCLR(SimCLR):
    """SimCLR in which a kernel of the distance takes the place of the exponential of the cosine.

    Args:
        gamma: of the kernel exp(-d^gamma / temperature), d the distance of two unit vectors; 2 is SimCLR itself at half
            of the temperature.
        mixture: what the kernel is mixed with a Gaussian by: "none"; the sum of both "kernels", the paper's simple sum;
            the sum of both "losses", as released for it; or the sum of losses of the two "halves" of each unit vector,
            the paper's concatenation.
        gaussian_temperature: of the Gaussian; None for the same.
        share: of the first loss, where losses are summed; the Gaussian's has the rest.
        floor: see `kernel_nt_xent`.
        temperature: of the kernel.
        simclr: the other arguments of `SimCLR`.
    """

    def __init__(
        self,
        *,
        gamma: float = 1.0,
        mixture: Mixture = "kernels",
        gaussian_temperature: float | None = None,
        share: float = 0.5,
        floor: float = 0.0,
        temperature: float = 0.2,
        **simclr,
    ) -> None:
        super().__init__(temperature=temperature, **simclr)
        if mixture not in get_args(Mixture):
            raise UserError(f"model.mixture is {mixture!r}; it must be one of {', '.join(get_args(Mixture))}")
        check_number("model.gamma", gamma, above=0)
        check_number("model.gaussian_temperature", gaussian_temperature, above=0)
        check_number("model.share", share, least=0, most=1)
        check_number("model.floor", floor, least=0)
        self.kernel = exponential(gamma, temperature)
        self.gaussian = exponential(2.0, gaussian_temperature or temperature)
        self.mixture, self.share, self.floor = mixture, share, floor

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        return self.log_loss(self.contrast(*self.network(torch.cat(batch.pair())).chunk(2)))

    def contrast(self, view_a: Tensor, view_b: Tensor) -> Tensor:
        """The loss of unit vectors of two views, (n, projection_dim) each."""
        width = view_a.shape[1] // 2
        one, other = ((view_a[:, part], view_b[:, part]) for part in (slice(width), slice(width, None)))
        whole = view_a, view_b
        parts = {
            "none": ((1.0, whole, self.kernel),),
            "kernels": ((1.0, whole, kernel_sum(self.kernel, self.gaussian)),),
            "losses": ((self.share, whole, self.kernel), (1 - self.share, whole, self.gaussian)),
            "halves": ((self.share, one, self.kernel), (1 - self.share, other, self.gaussian)),
        }[self.mixture]
        terms = [weight * kernel_nt_xent(*views, kernel, floor=self.floor) for weight, views, kernel in parts]
        return global_mean(torch.stack(terms).sum(dim=0))


class KernelPoints(Method):
    """A unit vector for each node of a graph, by the loss whose expectation InfoNCE is where edges are positives.

    mean_i [ log sum_{l != i} k(z_i, z_l) - mean over neighbours j of log k(z_i, z_j) ]: H_pi / n, pi the graph.

    The whole graph is one batch, whatever nodes a step is about.

    Args:
        count: nodes of the graph.
        dim: of the space around the sphere.
        gamma, temperature: of the kernel exp(-d^gamma / temperature).
        optimization: the arguments of `Method`.
    """

    def __init__(
        self, *, count: int = 900, dim: int = 8, gamma: float = 2.0, temperature: float = 1.0, **optimization
    ) -> None:
        super().__init__(**optimization)
        self.points, self.kernel = FreePoints(count, dim), exponential(gamma, temperature)

    def training_step(self, batch: Graph, batch_idx: int) -> Tensor:
        return self.log_loss(self.contrast(self.points.all_of(len(batch.features)), batch.edges))

    def contrast(self, rows: Tensor, edges: Tensor) -> Tensor:
        """The loss of vectors of all nodes, (n, dim), and edges (node, neighbour), int64 (2, e)."""
        node, neighbour = edges
        pull = self.kernel(-(rows[node] - rows[neighbour]).square().sum(dim=1))
        degree = degrees(node, len(rows))
        return log_total(rows, self.kernel).mean() - (pull / degree[node]).sum() / len(rows)

    def embed_graph(self, graph: Graph) -> Tensor:
        return self.points.all_of(len(graph.features))


class SpectralClustering(Method):
    """Nodes by the leading eigenvectors of their normalized adjacency matrix: nothing is trained.

    Args:
        dim: number of eigenvectors.
        regularization: added to the weight of every pair, as a share of the weight that pairs have in the mean; about 1
            keeps nodes of few edges from having an eigenvector of their own (Amini et al. 2013).
        optimization: the arguments of `Method`.
    """

    added_later: ClassVar = {"regularization": 0.0}

    def __init__(self, *, dim: int = 3, regularization: float = 0.0, **optimization) -> None:
        super().__init__(**optimization)
        check_number("model.regularization", regularization, least=0)
        self.dim, self.regularization = dim, regularization

    def training_step(self, batch: Graph, batch_idx: int) -> Tensor:
        raise UserError("trainer.max_steps must be 0: spectral clustering trains nothing")

    def embed_graph(self, graph: Graph) -> Tensor:
        weights = graph.adjacency()
        return spectral_embedding(weights + self.regularization * weights.mean(), self.dim)
