"""Graph attention: each node becomes a weighted mean of its neighbours and itself."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GraphAttention(nn.Module):
    """One layer with one head: with h = W x, node i becomes the sum over its neighbours j and itself of a_ij h_j.

    a_ij is the softmax over these of LeakyReLU(q h_i + k h_j), q and k learnt.

    Args:
        inputs, outputs: width of the nodes' vectors, before and after.

    Source: Velickovic et al. 2018, eq. 1 to 4, with its slope of 0.2 and Glorot's initialization.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.attention = nn.Parameter(torch.empty(2, outputs))
        nn.init.xavier_uniform_(self.weight)
        nn.init.xavier_uniform_(self.attention)

    def forward(self, nodes: Tensor, linked: Tensor, own: slice = slice(None)) -> Tensor:
        """The new vectors of some nodes, shape (m, outputs).

        Args:
            nodes: vectors of all nodes, shape (n, inputs).
            linked: which nodes are neighbours of those that are asked for, bool (m, n).
            own: which m of the n nodes are asked for.
        """
        hidden = nodes @ self.weight.T
        asking, asked = (hidden @ self.attention.T).unbind(1)
        itself = torch.eye(len(nodes), dtype=torch.bool, device=nodes.device)[own]
        scores = F.leaky_relu(asking[own, None] + asked, 0.2).masked_fill(~(linked | itself), -torch.inf)
        return scores.softmax(dim=1) @ hidden
