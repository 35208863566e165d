"""ALBEF term by term against plain loops, its teacher, its queues."""

from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import ImageText
from common.errors import UserError
from common.sampling.masking import IGNORED, hide_tokens_by_sample
from harness.recipes import catalog, recipe
from papers.vision_language.albef.module import ALBEF

RED = "a small red circle"
TEXTS = [RED, "a large dog and a small blue star", "a large dog", RED, "a green heart"]


def batch() -> ImageText:
    pixels = torch.rand(1, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return ImageText(pixels, [TEXTS], torch.tensor([30, 4, 11, 8, 2]), torch.tensor([7, 1, 3, 7, 5]))


def small(step: int = 0, **arguments) -> ALBEF:
    torch.manual_seed(0)
    given = dict(image_size=16, channels=4, dropout=0.0, embed_dim=8, queue_size=7, ramp_steps=0, masked=0.5)
    module = ALBEF(**given | arguments)
    module.logged = {}
    module.log = lambda name, value, **rest: module.logged.update({name: value})
    # Apart from its teacher, as after some steps.
    with torch.no_grad():
        for parameter in module.student.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    module._trainer = SimpleNamespace(global_step=step, num_training_batches=10, log_every_n_steps=1)
    module._fabric = None
    return module


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step and the batches of an epoch without a trainer."""
    monkeypatch.setattr(ALBEF, "trainer", property(lambda self: self._trainer))
    monkeypatch.setattr(ALBEF, "global_step", property(lambda self: self._trainer.global_step))


def alone(module: ALBEF, image: int, text: int, given: ImageText) -> Tensor:
    """The logits of one pair, encoded without neighbours or padding."""
    tokens = module.student.fusion.tokenize([given.text[text]])
    return module.matcher(module.student.fused(*module.student(given.pixels[image, None], tokens)))[0]


def encoded(module: ALBEF, given: ImageText) -> tuple[Tensor, ...]:
    """Unit vectors of pictures and texts, by the student and by the teacher."""
    tokens = module.student.fusion.tokenize(given.text)
    student, teacher = module.student(given.pixels, tokens), module.teacher(given.pixels, tokens)
    return student[0].vector, student[1].vector, teacher[0].vector, teacher[1].vector


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_itc_is_the_papers_with_queue_and_soft_targets(share: float) -> None:
    module, given = small(distillation=share), batch()
    queue = F.normalize(torch.randn(2, 3, 8), dim=-1)
    queued = torch.tensor([50, 1, 51])
    module.image_queue.enqueue(queue[0], queued)
    module.text_queue.enqueue(queue[1], queued)
    image, text, image_m, text_m = encoded(module, given)
    module.training_step(given, 0)
    ids, total = torch.cat([given.text_ids, queued]), 0.0
    for query, taught, keys in (
        (image, image_m, torch.cat([text_m, queue[1]])),
        (text, text_m, torch.cat([image_m, queue[0]])),
    ):
        for i in range(5):
            right = (ids == given.text_ids[i]).float()
            target = (1 - share) * right / right.sum() + share * (keys @ taught[i] / 0.07).softmax(0)
            total -= (target @ (keys @ query[i] / 0.07).log_softmax(0)).item() / 5
    assert module.logged["train/itc"] == pytest.approx(total / 2, rel=1e-5)
    # Seven places: the last of the batch stands over the oldest.
    assert module.text_queue.ids.tolist() == [5, 1, 51, 7, 1, 3, 7]
    torch.testing.assert_close(module.text_queue.keys[3:7], text_m[:4])
    torch.testing.assert_close(module.image_queue.keys[0], image_m[4])


@pytest.mark.parametrize("negatives", ["hard", "uniform"])
def test_itm_tells_pairs_from_drawn_ones(negatives: str) -> None:
    module, given = small(negatives=negatives), batch()
    online = module.student(given.pixels, module.student.fusion.tokenize(given.text))
    taught = encoded(module, given)[2:]
    image, text = module.negatives(online, list(taught), given, given.text_ids)
    module.training_step(given, 0)
    pairs = [(i, i) for i in range(5)]
    pairs += [(int(j), i) for i, j in enumerate(image)] + [(i, int(j)) for i, j in enumerate(text)]
    logits = torch.stack([alone(module, i, j, given) for i, j in pairs])
    expected = F.cross_entropy(logits, torch.tensor([1] * 5 + [0] * 10))
    assert module.logged["train/itm"] == pytest.approx(expected.item(), rel=1e-4)


def test_negatives_are_never_the_own_pair_and_hard_ones_are_alike() -> None:
    given, found = batch(), {"hard": [], "uniform": []}
    online = taught = None
    for kind, drawn in found.items():
        module = small(negatives=kind, temperature=0.02)
        online = module.student(given.pixels, module.student.fusion.tokenize(given.text))
        taught = list(encoded(module, given)[2:])
        for step in range(200):
            module._trainer.global_step = step
            drawn.append(torch.stack(module.negatives(online, taught, given, given.text_ids)))
    meaning = given.text_ids
    for kind, drawn in found.items():
        rows = torch.stack(drawn)
        assert (meaning[rows] != meaning).all(), "neither the own pair nor one that says the same"
        shares = torch.stack([(rows == j).float().mean(0) for j in range(5)], dim=-1)
        for side, (query, keys) in enumerate(((online[1].vector, taught[0]), (online[0].vector, taught[1]))):
            other = meaning[:, None] != meaning
            logits = query @ keys.T / 0.02 if kind == "hard" else torch.zeros(5, 5)
            weights = torch.where(other, logits, -torch.inf).softmax(1)
            torch.testing.assert_close(shares[side], weights.detach(), atol=0.12, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_mlm_reads_the_picture_and_half_believes_the_teacher(share: float) -> None:
    module, given = small(distillation=share), batch()
    text = module.student.fusion.text
    tokens = module.student.fusion.tokenize(given.text)
    seen, targets = hide_tokens_by_sample(tokens, 0.5, text, given.ids, *module.key("masks"))
    module.training_step(given, 0)
    losses = []
    for body, weight in ((module.student, 1 - share), (module.teacher.body, share)):
        states = body.fusion.fuse(body.fusion.states(seen), seen.mask, body.image(given.pixels))
        losses.append((body.head(states, body.fusion.table), weight))
    (student, _), (teacher, _) = losses
    total, asked = 0.0, (targets != IGNORED).nonzero().tolist()
    assert len(asked) > 8
    for i, t in asked:
        target = share * teacher[i, t].softmax(0) + (1 - share) * F.one_hot(targets[i, t], student.shape[-1])
        total -= (target @ student[i, t].log_softmax(0)).item() / len(asked)
    assert module.logged["train/mlm"] == pytest.approx(total, rel=1e-5)
    # Another picture, another loss: the words are read with it.
    swapped = given._replace(views=given.views.flip(1))
    module.training_step(swapped, 0)
    assert module.logged["train/mlm"] != pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize(
    ("ramp", "step", "expected"),
    [(None, 0, 0.0), (None, 5, 0.2), (None, 10, 0.4), (None, 99, 0.4), (4, 1, 0.1), (4, 4, 0.4), (0, 0, 0.4)],
)
def test_the_teachers_share_rises_over_the_first_epoch_or_as_told(ramp, step: int, expected: float) -> None:
    assert small(step, ramp_steps=ramp).share() == pytest.approx(expected)


def test_gradients_reach_what_is_trained_and_nothing_of_the_teacher() -> None:
    module = small()
    module.training_step(batch(), 0).backward()
    assert {name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()} == set()
    assert not any(name.startswith("teacher") for name, _ in module.named_parameters())


def test_without_itc_the_common_space_and_the_teacher_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    module = small(losses=["itm", "mlm"], negatives="uniform", distillation=0.0)
    monkeypatch.setattr(module.teacher.body, "forward", lambda *_: pytest.fail("the teacher ran"))
    module.training_step(batch(), 0).backward()
    assert module.logged.keys() == {"train/itm", "train/mlm", "train/loss"}
    still = {name for name, p in module.named_parameters() if p.grad is None}
    sides = {f"student.{side}_projection.{part}" for side in ("image", "text") for part in ("weight", "bias")}
    assert still == sides | {"temperature.units"}
    assert not any(module.get_parameter(name).requires_grad for name in still)
    with pytest.raises(UserError, match=r"model\.losses is \[\]; it must hold some of itc, itm, mlm"):
        ALBEF(losses=[])
    with pytest.raises(UserError, match=r"model\.negatives is 'hard'; without itc"):
        ALBEF(losses=["itm", "mlm"])
    with pytest.raises(UserError, match=r"model\.distillation, momentum, masked are 1\.5"):
        ALBEF(distillation=1.5)


@pytest.mark.parametrize("encoder", ["words", "tiny"])
def test_without_matching_and_words_the_fused_layers_rest(encoder: str) -> None:
    module = small(losses=["itc"], text_encoder=encoder)
    module.training_step(batch(), 0).backward()
    idle = {name for name, p in module.named_parameters() if p.grad is None}
    assert idle == {name for name, p in module.named_parameters() if not p.requires_grad}
    assert {name.split(".")[2] for name in idle if name.startswith("student.fusion")} >= {"layers"}


def test_without_matching_its_head_rests_and_smoothing_finds_all_alike() -> None:
    """The share of a teacher that finds all candidates alike is spread evenly: the control is label smoothing."""
    module, given = small(losses=["itc", "mlm"], smoothing=True), batch()
    image, text, image_m, text_m = encoded(module, given)
    module.training_step(given, 0).backward()
    assert {n for n, p in module.named_parameters() if not p.requires_grad} == {"matcher.weight", "matcher.bias"}
    total = 0.0
    for query, keys in ((image, text_m), (text, image_m)):
        for i in range(5):
            right = (given.text_ids == given.text_ids[i]).float()
            target = 0.6 * right / right.sum() + 0.4 / 5
            total -= (target @ (keys @ query[i] / 0.07).log_softmax(0)).item() / 10
    assert module.logged["train/itc"] == pytest.approx(total, rel=1e-5)


def test_scores_are_those_of_each_pair_alone() -> None:
    module = small().eval()
    pixels = (batch().pixels * 255).round().to(torch.uint8)
    given = batch()._replace(views=pixels[None].float() / 255)
    pairs = torch.tensor([[0, 1], [4, 0], [2, 2], [0, 4]])
    scores = module.match_scores(pixels, TEXTS, pairs)
    expected = torch.stack([alone(module, i, j, given)[1] for i, j in pairs.tolist()])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)
    assert module.embed_image(pixels).shape == module.embed_text(TEXTS).shape == (5, 8)


class Watching(L.Callback):
    """Keeps the student after every step."""

    def __init__(self) -> None:
        self.students: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: ALBEF, *rest) -> None:
        self.students.append(weight(module.student).clone())


def weight(body) -> Tensor:
    return body.image.project.weight.detach()


def test_the_teacher_lags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    config = dict(recipe.load_recipe(catalog.find("albef"), "mini.yaml").data)
    model = {"init_args": {"channels": 4, "momentum": 0.7, "queue_size": 20, "ramp_steps": 3}}
    changes = {"model": model, "data": {"init_args": {"batch_size": 8}}, "trainer": {"max_steps": 4}}
    config = recipe.with_seed(recipe.merge(config, changes), 3)
    watching = Watching()
    trainer, whole, benchmark = recipe.build(config, callbacks=(watching,))
    teacher = weight(whole.student).clone()
    trainer.fit(whole, benchmark)
    for student in watching.students:
        teacher = 0.7 * teacher + 0.3 * student
    torch.testing.assert_close(weight(whole.teacher.body), teacher)
    assert not torch.equal(teacher, watching.students[-1])


def test_fine_tuning_starts_from_a_checkpoint_at_another_size(tmp_path: Path) -> None:
    before = small(image_encoder="vit_mini")
    torch.save({"state_dict": before.state_dict()}, tmp_path / "pretrained.ckpt")
    path = str(tmp_path / "pretrained.ckpt")
    after = ALBEF(image_encoder="vit_mini", image_size=32, embed_dim=8, queue_size=7, losses=["itc", "itm"], start=path)
    positions = [m.student.image.body.encoder.pos_embedding for m in (before, after)]
    assert positions[1].shape == (1, 17, 96) and torch.equal(positions[0][:, 0], positions[1][:, 0])
    for name in ("student.fusion.layers.0.crossattention.self.key.weight", "teacher.body.image_projection.weight"):
        assert torch.equal(before.state_dict()[name], after.state_dict()[name])
    assert len(after.image_queue) == 0 and after.student.head is None
    with pytest.raises(UserError, match=r"model\.start: .*none\.ckpt does not exist"):
        ALBEF(start=str(tmp_path / "none.ckpt"))
    with pytest.raises(UserError, match=r"has shape \(8, 96\); the recipe's model needs \(16, 96\)"):
        ALBEF(image_encoder="vit_mini", image_size=16, embed_dim=16, start=path)
