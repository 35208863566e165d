"""The base of benchmarks of graphs that are learnt from as a whole."""

from common.batches import Graph, HeteroGraph
from common.table import Rows, Table


def steps(graph: Graph | HeteroGraph) -> Table[Rows]:
    """The data set of one graph: it is whole in every batch, whose `ids` are the nodes that the step is about."""
    return Table(Rows(graph.ids), lambda nodes, seed, epoch: graph._replace(ids=nodes.index))
