"""Our side of the contrastive embedding of graphs, and of the studies of pictures beside it."""

from torch import Tensor
from torch.nn import functional as F

from papers.theory.cl_harm.module import GraphContrast
from papers.theory.cl_harm.pictures import ClampedSimCLR
from papers.theory.kernel_infonce.module import KernelSimCLR
from tests.golden.ours import like
from tests.golden.recorded import Case


@like("cl_harm/graph", "cl_harm/graph_cold", "cl_harm/graph_wide")
def cl_harm(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    method = GraphContrast(count=1, **case.arguments)
    return method.contrast(F.normalize(x["rows"], dim=1), given["edges"])


@like("cl_harm/pictures", "cl_harm/pictures_cold")
def cl_harm_pictures(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    rows = F.normalize(x["rows"], dim=1)
    return ClampedSimCLR(width=8, **case.arguments).contrast(rows[::2], rows[1::2])


GAMMA_LOSSES = ("gaussian", "gaussian_cold", "laplacian", "root", "sum", "product", "product_odd")


@like(*(f"kernel_infonce/{name}" for name in GAMMA_LOSSES))
def kernel_infonce(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    mixture = {"sum": "losses", "product": "halves"}.get(case.name.split("/")[1].split("_")[0], "none")
    a = {name: value for name, value in case.arguments.items() if name != "feat_dim"}
    return KernelSimCLR(width=8, mixture=mixture, floor=1e-6, **a).contrast(x["a"], x["b"])
