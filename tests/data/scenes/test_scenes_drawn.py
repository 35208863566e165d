"""Scenes as drawn from their ids: splits apart, changes of one attribute, masks and boxes that fit the pictures."""

import pytest
import torch

from data.scenes.layout import ASPECTS, Placed, draw_splits, kept, one_changed, split_of
from data.scenes.painting import RGB, SIDE, boxes_of
from data.scenes.pictures import COUNTS, changed_scenes, read_changed_pictures, read_instances, read_pictures, scenes_of
from data.scenes.words import CLASSES, THINGS, meaning, related
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS


def test_counts_and_apart() -> None:
    scenes = scenes_of()
    assert {split: len(part) for split, part in scenes.items()} == COUNTS
    said = {split: {meaning(placed.scene) for placed in part} for split, part in scenes.items()}
    assert not said["train"] & said["test"] and not said["train"] & said["val"] and not said["val"] & said["test"]
    assert all(split_of(meaning(placed.scene)) == split for split, part in scenes.items() for placed in part)
    numbers = [placed.number for part in scenes.values() for placed in part]
    assert len(set(numbers)) == len(numbers)


def test_scenes_are_what_they_should_be() -> None:
    for placed in scenes_of()["train"]:
        scene = placed.scene
        assert 1 <= len(scene) <= 5
        assert len({thing[:2] for thing in scene}) == len({thing.place for thing in scene}) == len(scene)
        assert all((thing.kind < len(THINGS)) == (thing.colour < 0) for thing in scene)
        assert len(scene) != 2 or related(scene) is not None
    kinds = torch.tensor([thing.kind for placed in scenes_of()["train"] for thing in placed.scene]).bincount()
    assert len(kinds) == len(CLASSES) and kinds.min() > 500


def test_the_first_scenes_do_not_depend_on_how_many_are_drawn() -> None:
    few = draw_splits({"train": 50, "val": 5, "test": 5})
    assert few["test"] == scenes_of()["test"][:5]


def test_tiny_objects_have_their_share() -> None:
    scenes = draw_splits({"train": 2000, "val": 1, "test": 1}, tiny=0.3)["train"]
    sizes = torch.tensor([thing.size for placed in scenes for thing in placed.scene]).bincount().double()
    assert sizes[2] / sizes.sum() == pytest.approx(0.3, abs=0.02)
    # None of them is a scene of the plain draw with other sizes.
    assert not {placed.number for placed in scenes} & {p.number for part in scenes_of().values() for p in part}


def test_a_variant_differs_in_one_attribute() -> None:
    for placed in scenes_of()["val"]:
        scene = placed.scene
        for aspect in ASPECTS:
            changed = one_changed(placed, aspect)
            if changed is None:
                assert aspect == "colour" and all(thing.colour < 0 for thing in scene)
                continue
            assert meaning(changed) != meaning(scene)
            places = [(a.place, b.place) for a, b in zip(scene, changed, strict=True) if a.place != b.place]
            others = [(a, b) for a, b in zip(scene, changed, strict=True) if a._replace(place=0) != b._replace(place=0)]
            if aspect == "place":
                assert not others and len(places) == min(2, len(scene))
            else:
                assert not places and len(others) == 1
                fields = {"class": "kind", "colour": "colour", "size": "size"}
                old, new = others[0]
                assert old == new._replace(**{fields[aspect]: getattr(old, fields[aspect])})


def test_omission_keeps_at_least_one() -> None:
    scenes = scenes_of()["train"][:2000]
    told = kept(scenes, 0.4, seed=0)
    assert all(scene and set(scene) <= set(placed.scene) for scene, placed in zip(told, scenes, strict=True))
    several = [(len(scene), len(p.scene)) for scene, p in zip(told, scenes, strict=True) if len(p.scene) >= 4]
    assert sum(left for left, _ in several) / sum(whole for _, whole in several) == pytest.approx(0.6, abs=0.04)
    assert all(len(scene) == 1 for scene in kept(scenes, 1.0, seed=0))
    assert kept(scenes, 0.0, seed=0) == [placed.scene for placed in scenes]
    assert kept(scenes, 0.4, seed=1) != told
    assert kept(scenes[7:9], 0.4, seed=0) == told[7:9]


def test_boxes() -> None:
    instances = torch.zeros(2, 6, 8, dtype=torch.uint8)
    instances[0, 1:3, 2:7] = 1
    instances[0, 5, 7] = 3
    boxes = boxes_of(instances)
    assert boxes[0, 0].tolist() == [2, 1, 7, 3]
    assert boxes[0, 2].tolist() == [7, 5, 8, 6]
    assert not boxes[0, 1].any() and not boxes[1].any()


def test_masks_show_the_objects(fetched) -> None:
    fetched(TUXPAINT_STAMPS)
    scenes, pixels = scenes_of()["val"], read_pictures("val")
    instances, boxes = read_instances("val")
    assert pixels.shape == (1000, 3, SIDE, SIDE) and pixels.dtype == torch.uint8
    for row, placed in enumerate(scenes):
        assert instances[row].unique().tolist()[-1] == len(placed.scene), "an object is hidden"
        for k, thing in enumerate(placed.scene):
            mask = instances[row] == k + 1
            left, top, right, bottom = boxes[row, k].tolist()
            assert mask[top:bottom, left:right].sum() == mask.sum()
            # The centre of the box is in the cell of the grid that the caption names, or at its border.
            assert abs((left + right) / 2 - (thing.place % 3 * 16 + 8)) <= 10
            if thing.colour >= 0:
                shown = pixels[row].permute(1, 2, 0)[mask].double().median(dim=0).values
                nearest = min(range(8), key=lambda c: float((shown - torch.tensor(RGB[c])).norm()))
                assert nearest == thing.colour


def test_a_variant_is_painted_alike_but_for_the_change(fetched) -> None:
    fetched(TUXPAINT_STAMPS)
    originals, pictures, variants = read_pictures("val"), read_changed_pictures("val"), changed_scenes("val")
    for variant, picture in list(zip(variants, pictures, strict=True))[:200]:
        assert isinstance(variant.placed, Placed)
        same = (picture == originals[variant.row]).all(dim=0).double().mean()
        assert 0.5 < same < 1
