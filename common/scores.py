"""The score matrix that is never materialised.

Nearly every loss here is a reduction of one matrix of similarities. `Scores` names the matrix; its methods reduce it
tile by tile, forward and backward, so that memory grows with the batch and not with its square:

    scores = Scores(query, key, scale=1 / temperature)
    loss = (scores.logsumexp(dim=1) - scores.diagonal()).mean()

A small matrix is built whole, once for all reductions, since computing it again only pays from about a thousand rows.
Of a large one a bounded number of tiles is kept for the backward pass, see `common.tiled.tiles.Tiling`.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self, overload

import torch
from torch import Tensor

from common.checks import check_embeddings, check_ids, check_number
from common.distributed import (
    Exchange,
    Shards,
    gather,
    global_mean,
    logsumexp_over_processes,
    shards,
    sum_over_processes,
)
from common.errors import UserError
from common.observing import compared
from common.tiled import reference
from common.tiled.backends import Backend, chosen
from common.tiled.fused import usable
from common.tiled.logsumexp import LogSumExp, WholeLogSumExp
from common.tiled.matrices import Own, Pairwise, Where, as_matrix
from common.tiled.softplus import SoftplusTotal, WholeSoftplusTotal
from common.tiled.stream import StreamedLogSumExp
from common.tiled.sums import Sum, apply
from common.tiled.tiles import Edits, Matrix, Tiles, current, full_precision
from common.tiled.whole import Gram, OwnCrossEntropy, Product


class Positives(NamedTuple):
    """For each query, over the keys of its id: the sum of the scores and the number of the keys, both (m,)."""

    total: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody calls


class CrossEntropy(NamedTuple):
    """For each query: the cross-entropy against the keys of its id, and the number of these, both (m,)."""

    value: Tensor
    count: Tensor  # type: ignore[assignment]  # as in `Positives`


class Scores:
    """s_ij = scale_i <query_i, key_j> + bias, a matrix of our queries x all keys the exchange reaches.

    Args:
        query: (m, d), as given: normalize before if the loss wants cosines.
        key: (n, d). On several processes each gives its own shard; shards may be uneven.
        scale: 1 / temperature: a number, a 0-d tensor (may be learnable), or (m,), one for each query.
        bias: a number or a 0-d tensor (may be learnable).
        exchange: which keys a query meets on several processes.
        backend: which code reduces the matrix; by default that of the device, see `common.tiled.backends`.

    Row i of the queries goes with row i of our keys, its "own" key. Vectors that methods take hold one value for each
    of our own queries or keys, and the methods pass them around. Values by column are returned for our own keys, with
    the queries of all processes in them.

    bf16 and fp16 are computed in float32, and autocast does not reach inside. The gradients of query, key, scale and
    bias are exact.

    Raises:
        UserError: shapes that do not fit, embeddings without a floating point, a scale or bias that is not finite.
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        *,
        scale: float | Tensor = 1.0,
        bias: float | Tensor | None = None,
        exchange: Exchange = Exchange.LOCAL,
        backend: Backend | str | None = None,
    ) -> None:
        check_embeddings(query=query, key=key)
        check_number("scale", scale, rows=len(query))
        check_number("bias", bias)
        compared(query, key, scale)
        query_is_key = query is key
        double = torch.float64 in (query.dtype, key.dtype)
        self.dtype = torch.float64 if double else torch.float32
        self.device = query.device
        self.backend = chosen(self.device, backend)
        self.exchange = Exchange(exchange)  # A recipe may give the plain name.
        self.layout = shards(len(key), key.device, self.exchange)
        if isinstance(scale, Tensor):
            scale = scale.to(self.dtype)
            scale = scale[:, None] if scale.ndim else scale
        self._scale = scale
        self._unscaled = query.to(self.dtype)
        self._own_key = key.to(self.dtype)
        self._bias = bias.to(self.dtype) if isinstance(bias, Tensor) else bias
        travels = self.exchange is Exchange.RING and self.backend is not Backend.REFERENCE
        self._ring = travels and len(self.layout.sizes) > 1
        self._key = self._own_key if self._ring else gather(self._own_key, self.layout)
        self._edits = Edits()
        self._built: dict[tuple[str, bool], Tensor] = {}  # one for the same scores under all edits
        # A set against itself: the matrix equals its transpose, so half of it is enough.
        self._mirrored = query_is_key and len(self.layout.sizes) == 1 and getattr(scale, "ndim", 0) == 0

    @property
    def shape(self) -> tuple[int, int]:
        """(our queries, all keys)."""
        return self._unscaled.shape[0], self.layout.total

    # --- which pairs count, and by how much -------------------------------------------------------------------------

    def pairwise(
        self, function: Callable[..., Tensor], rows: Sequence[Tensor] = (), keys: Sequence[Tensor] = ()
    ) -> Pairwise:
        """The lazy matrix function(*rows, *keys) over these pairs, of vectors (m,) and (our n,)."""
        self._check_vectors(rows, keys)
        return Pairwise(function, tuple(rows), tuple(gather(x, self.layout) for x in keys))

    def equal(self, row_ids: Tensor, key_ids: Tensor, own: bool = True) -> Pairwise:
        """True where the ids of query and key agree; `own=False` leaves out each query's own key."""
        self._check_ids(row_ids, key_ids)
        if own:
            return self.pairwise(torch.eq, (row_ids,), (key_ids,))
        places = [self.layout.start + torch.arange(n, device=self.device) for n in (len(row_ids), len(key_ids))]
        return self.pairwise(
            lambda i, row, j, column: (i == j) & (row != column), (row_ids, places[0]), (key_ids, places[1])
        )

    def own(self) -> Own:
        """True where a query meets its own key."""
        return Own(self.layout.start, self.device)

    @overload
    def add(self, offset: Matrix | Tensor) -> Self: ...
    @overload
    def add(self, offset: float, where: Matrix) -> Self: ...
    def add(self, offset: Any, where: Matrix | None = None) -> Self:
        """The same scores with constants added: a matrix (the log of a weight), or a number at the pairs `where`.

        -inf, the log of a weight of 0, leaves a pair out of the log-sum-exp.
        """
        matrix = Where(where, offset, self.dtype) if where is not None else as_matrix(offset, self.shape)
        return self._edited(add=(*self._edits.add, matrix), exclude=self._edits.exclude)

    def exclude(self, pairs: Matrix | Tensor) -> Self:
        """The same scores with these pairs left out of every reduction."""
        return self._edited(add=self._edits.add, exclude=(*self._edits.exclude, as_matrix(pairs, self.shape)))

    def _edited(self, **edits: tuple[Matrix, ...]) -> Self:
        other = copy.copy(self)
        other._edits = Edits(**edits)
        return other

    # --- reductions -------------------------------------------------------------------------------------------------

    def logsumexp(self, dim: int) -> Tensor:
        """log sum exp over the keys of each query (dim 1, (m,)) or over all queries of each own key (dim 0)."""
        return self._logsumexp((dim,))[0]

    def logsumexps(self) -> tuple[Tensor, Tensor]:
        """By row and by column, from one sweep over the matrix."""
        row, column = self._logsumexp((1, 0))
        return row, column

    def _logsumexp(self, dims: tuple[int, ...]) -> list[Tensor]:
        if self._is_whole and self.backend is Backend.CPU:
            totals = WholeLogSumExp.apply(self._product, self._edits, dims)
        elif self._is_whole:
            totals = [reference.logsumexp(self._product, self._edits, dim) for dim in dims]
        else:
            mirrored = self._mirrored and dims == (1,) and self._edits.mirrored
            given = self._query, self._key, self._edits, self._travelling, dims
            on_cpu = self.backend is Backend.CPU
            fuse = self.backend is Backend.TRITON and usable(self._query, self._key)
            totals = LogSumExp.apply(*given, mirrored) if on_cpu else StreamedLogSumExp.apply(*given, fuse)
            totals = totals if self._bias is None else [total + self._bias for total in totals]
        return [
            total if dim == 1 else self._own_columns(total, log=True) for dim, total in zip(dims, totals, strict=True)
        ]

    def own_cross_entropy(self, dims: Sequence[int] = (1,)) -> Tensor:
        """The mean over the queries of all processes of log-sum-exp less own score, summed over these directions, 0-d.

        Each query has a key of its own.
        """
        if self._is_plain:
            total = OwnCrossEntropy.apply(self._unscaled, self._own_key, self._scale, tuple(dims))
            return total / len(self._unscaled)
        totals = self._logsumexp(tuple(dims))
        return global_mean(sum(totals[1:], start=totals[0]) - len(dims) * self.diagonal())

    @property
    def _is_plain(self) -> bool:
        """Whether it is a small matrix of one process and one scale, without bias and edits."""
        rows, columns = self.shape
        alone = self.backend is Backend.CPU and self._is_whole and len(self.layout.sizes) == 1 and rows == columns
        number = not isinstance(self._scale, Tensor) or self._scale.ndim == 0
        return alone and number and self._bias is None and self._edits == Edits()

    def sum(
        self,
        f: Callable[..., Tensor],
        dim: int = 1,
        rows: Sequence[Tensor] = (),
        keys: Sequence[Tensor] = (),
        pairs: Sequence[Matrix | Tensor] = (),
    ) -> Tensor:
        """The sum of f(s, *rows, *keys, *pairs) by row (dim 1, (m,)) or by column (dim 0, our keys).

        Args:
            f: elementwise over a tile of scores; vectors arrive as (r, 1) and (1, c), pairs as (r, c).
            rows: vectors (m,) and
            keys: vectors (our n,); gradients flow to both.
            pairs: matrices that are constants, such as another `Scores` or a mask.
        """
        self._check_vectors(rows, keys)
        columns = [gather(x, self.layout) for x in keys]
        matrices = [as_matrix(x, self.shape) for x in pairs]
        if self._is_whole:
            vectors = [x[:, None] for x in rows] + [x[None, :] for x in columns]
            total = apply(f, self._edited_product, vectors, matrices, self._edits, *self._whole).sum(dim)
        elif self._bias is not None:
            bias = torch.as_tensor(self._bias, dtype=self.dtype, device=self.device).expand(self.shape[0])
            total = self._sum(lambda s, b, *rest: f(s + b, *rest), dim, [bias, *rows], columns, matrices)
        else:
            total = self._sum(f, dim, list(rows), columns, matrices)
        return total if dim == 1 else self._own_columns(total)

    def _sum(
        self, f: Callable[..., Tensor], dim: int, rows: list[Tensor], columns: list[Tensor], pairs: list[Matrix]
    ) -> Tensor:
        arguments = (f, self._edits, self._travelling, dim, pairs, len(rows))
        return Sum.apply(self._query, self._key, *arguments, *rows, *columns)

    def softplus_total(self, own_positive: bool = False) -> Tensor:
        """The sum of softplus(s) over all our queries and all keys, 0-d: log(1 + e^s), each pair for itself.

        With `own_positive` it is softplus(-s) where a query meets its own key, which must not be excluded.
        Faster than `sum` with the same function, as the gradient comes out of the same sweep.
        """
        bias = torch.as_tensor(0.0 if self._bias is None else self._bias, dtype=self.dtype, device=self.device)
        positive = self.own() if own_positive else None
        if self.backend is Backend.REFERENCE:
            return reference.softplus_total(self._product, self._edits, positive)
        if self._is_whole:
            return WholeSoftplusTotal.apply(self._query, self._key, bias, self._edits, positive)
        arguments = self._edits, self._travelling, positive, torch.is_grad_enabled()
        return SoftplusTotal.apply(self._query, self._key, bias, *arguments)

    def diagonal(self) -> Tensor:
        """The score of each query with its own key, (m,), whatever `add` and `exclude` say."""
        queries, keys = self._query.shape[0], self._own_key.shape[0]
        if keys < queries:
            raise UserError(f"{queries} queries and {keys} keys: a query has no key of its own")
        built = self._built.get(("product", torch.is_grad_enabled()))
        if built is not None:
            return built.diagonal(self.layout.start)
        own = self._own_key if keys == queries else self._own_key[:queries]
        return self._plus_bias((self._query * own).sum(dim=1))

    def pairs(self, columns: Tensor) -> Tensor:
        """The scores at given columns, (m, p) -> (m, p), whatever `add` and `exclude` say. Not on a ring."""
        return self._plus_bias((self._query[:, None] * self._all_keys("pairs")[columns]).sum(dim=-1))

    def topk(self, k: int) -> tuple[Tensor, Tensor]:
        """The k largest scores of each query and their columns, both (m, k): its hardest keys. Not on a ring."""
        keys = self._all_keys("topk")
        if k > len(keys) and len(self._query):
            raise UserError(f"topk {k}: expected at most {len(keys)}, the number of keys")
        with torch.no_grad(), full_precision(self.device):
            best = self._query.new_full((len(self._query), k), -math.inf)
            where = torch.zeros_like(best, dtype=torch.int64)

            def visit(tiles: Tiles, rows: slice, columns: slice, _: slice) -> None:
                tile = tiles.masked(rows, columns, keys[columns])
                value, index = tile.topk(min(k, tile.shape[1]))
                value, index = torch.cat([best[rows], value], 1), torch.cat([where[rows], index + columns.start], 1)
                best[rows], order = value.topk(k)
                where[rows] = index.gather(1, order)

            Tiles(self._query, self._edits).sweep(0, keys, visit, by_row=True)
        # Searched without a gradient, scored again with one; what `add` adds is a constant, -inf marks a lack of keys.
        scores = self.pairs(where)
        return scores + (self._plus_bias(best) - scores).detach(), where

    def total(self, dim: int = 1) -> Tensor:
        """The sum of scores of each query (dim 1) or own key (dim 0), in O((m + n) d)."""
        if self._edits != Edits():
            return self.sum(lambda s: s, dim)
        ours, others = (self._query, self._own_key) if dim == 1 else (self._own_key, self._query)
        number = torch.tensor(float(len(others)), dtype=self.dtype, device=self.device)
        direction = others.sum(dim=0)
        if self.exchange is not Exchange.LOCAL:
            number, direction = sum_over_processes(number), sum_over_processes(direction)
        return self._plus_bias((ours * direction).sum(dim=1), number)

    def positives(self, row_ids: Tensor, key_ids: Tensor, dim: int = 1) -> Positives:
        """Sum and number of each query's scores with the keys of its id (dim 1), or of own keys with queries (dim 0).

        Needs no sweep over a large matrix but on a ring, or where other pairs are excluded than own ones of one set.
        """
        self._check_ids(row_ids, key_ids)
        if self._is_whole and len(self.layout.sizes) == 1:
            same = self._same_id(row_ids, key_ids)
            return Positives((self._edited_product * same).sum(dim), same.sum(dim))
        added, excluded = self._edits.add, self._edits.exclude
        own_excluded = bool(excluded) and row_ids is key_ids and all(isinstance(matrix, Own) for matrix in excluded)
        if self._ring or added or (excluded and not own_excluded):
            pairs = (self.equal(row_ids, key_ids),)
            total = self.sum(lambda s, positive: torch.where(positive, s, 0.0), dim, pairs=pairs)
            return Positives(total, self.sum(lambda s, positive: positive + 0.0 * s, dim, pairs=pairs).detach())
        ours, others, ids, other_ids = self._query, self._key, row_ids, gather(key_ids, self.layout)
        if dim == 0:
            layout = shards(len(self._query), self.device, self.exchange)
            ours, others, ids = self._own_key, gather(self._query, layout), key_ids
            other_ids = gather(row_ids, layout)
        # Scores are linear in either side: sum the vectors of each id once, and score the sums.
        kinds, kind = _kinds(torch.cat([ids, other_ids]), self.backend)
        mine, theirs = kind.split([len(ids), len(other_ids)])
        sums = others.new_zeros(kinds, others.shape[1]).index_add(0, theirs, others)
        count = others.new_zeros(kinds).index_add(0, theirs, others.new_ones(len(theirs)))[mine]
        positives = Positives(self._plus_bias((ours * sums[mine]).sum(dim=1), count), count)
        # Every sum holds the own pair: taken out again, exactly as it went in.
        return Positives(positives.total - self.diagonal(), count - 1) if own_excluded else positives

    def cross_entropy(self, row_ids: Tensor, key_ids: Tensor) -> CrossEntropy:
        """Of each query's softmax over the keys, against the uniform distribution over those of its id.

        The log-sum-exp less the mean score of the positives. Without a positive it is the log-sum-exp alone.
        """
        self._check_ids(row_ids, key_ids)
        if self._is_whole and self.backend is Backend.CPU and len(self.layout.sizes) == 1 and not self._edits.add:
            same = self._same_id(row_ids, key_ids)
            count = same.sum(1)
            targets = same.div_(count.clamp(min=1).unsqueeze(1))
            return CrossEntropy(WholeLogSumExp.apply(self._product, self._edits, (1,), targets), count)
        positives = self.positives(row_ids, key_ids)
        return CrossEntropy(self.logsumexp(dim=1) - positives.total / positives.count.clamp(min=1), positives.count)

    def _same_id(self, row_ids: Tensor, key_ids: Tensor) -> Tensor:
        """1.0 at the pairs of one id that are not left out, (m, n); one process only."""
        # Straight into floats, which multiply and sum several times faster than booleans.
        same = torch.eq(row_ids[:, None], key_ids[None], out=self._own_key.new_empty(self.shape))
        return self._edits.fill(same, *self._whole, 0.0)

    # --- pieces -----------------------------------------------------------------------------------------------------

    def tile(self, rows: slice, columns: slice) -> Tensor:
        """A block of the matrix, built with ordinary operations; excluded pairs are -inf. Not on a ring."""
        keys = self._all_keys("tile")
        with full_precision(self.device):
            scores = self._plus_bias(self._edits.apply(self._query[rows] @ keys[columns].T, rows, columns))
        excluded = self._edits.excluded(rows, columns)
        return scores if excluded is None else scores.masked_fill(excluded, -math.inf)

    def matrix(self) -> Tensor:
        """The matrix whole, (m, n). Not on a ring."""
        return self.tile(*self._whole)

    def _check_ids(self, row_ids: Tensor, key_ids: Tensor) -> None:
        check_ids("ids of the queries", row_ids, len(self._unscaled))
        check_ids("ids of the keys", key_ids, len(self._own_key))

    def _check_vectors(self, rows: Sequence[Tensor], keys: Sequence[Tensor]) -> None:
        for vectors, side, count in ((rows, "query", len(self._unscaled)), (keys, "key", len(self._own_key))):
            for vector in vectors:
                if vector.shape != (count,):
                    raise UserError(f"vector {tuple(vector.shape)}: expected ({count},), one value a {side}")

    @property
    def _whole(self) -> tuple[slice, slice]:
        return slice(0, self.shape[0]), slice(0, self.shape[1])

    @property
    def _is_whole(self) -> bool:
        """Whether the matrix is built whole: always as the reference, else where it is small."""
        if self.backend is Backend.REFERENCE:
            return True
        return not self._ring and 0 < self.shape[0] * self.shape[1] <= current(self.device).whole_entries

    def _once(self, name: str, build: Callable[[], Tensor]) -> Tensor:
        """Built at first use; without a gradient it is another tensor."""
        key = name, torch.is_grad_enabled()
        if key not in self._built:
            self._built[key] = build()
        return self._built[key]

    @property
    def _query(self) -> Tensor:
        """The queries times their scale, whose exact gradient then costs nothing: <query, d loss / d query>."""
        if isinstance(self._scale, float) and self._scale == 1.0:
            return self._unscaled
        return self._once("query", lambda: self._unscaled * self._scale)

    @property
    def _product(self) -> Tensor:
        """The matrix whole with its bias, whatever `add` and `exclude` say."""
        return self._once("product", self._multiply)

    def _multiply(self) -> Tensor:
        if self.backend is Backend.REFERENCE:
            with full_precision(self.device):
                return self._plus_bias(self._query @ self._key.T)
        if self._mirrored:
            return self._plus_bias(Gram.apply(self._key, self._scale))
        bias = self._bias
        if bias is not None:
            bias = torch.as_tensor(bias, dtype=self.dtype, device=self.device)
        return Product.apply(self._query, self._key, bias)

    @property
    def _edited_product(self) -> Tensor:
        """The same with what `add` adds."""
        return self._edits.apply(self._product.clone(), *self._whole) if self._edits.add else self._product

    @property
    def _travelling(self) -> Shards:
        return self.layout if self._ring else Shards((len(self._key),), 0)

    def _all_keys(self, what: str) -> Tensor:
        if self._ring:
            raise UserError(f"exchange 'ring': {what} needs all keys at once; use 'gather'")
        return self._key

    def _plus_bias(self, scores: Tensor, times: float | Tensor = 1.0) -> Tensor:
        return scores if self._bias is None else scores + self._bias * times

    def _own_columns(self, by_column: Tensor, log: bool = False) -> Tensor:
        if self.exchange is Exchange.LOCAL:
            return by_column
        everywhere = logsumexp_over_processes(by_column) if log else sum_over_processes(by_column)
        return everywhere[self.layout.own]


def _kinds(ids: Tensor, backend: Backend) -> tuple[int, Tensor]:
    """At most how many different ids there are, and for each, (n,), which of them it is."""
    if backend.waits:
        different, kind = ids.unique(return_inverse=True)
        return len(different), kind
    # A GPU would have to wait until it is known how many there are.
    ordered, order = ids.sort()
    kind = torch.zeros_like(ids)
    kind[order[1:]] = (ordered[1:] != ordered[:-1]).cumsum(0).to(kind.dtype)
    return len(ids), kind
