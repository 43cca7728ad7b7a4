"""A batch that is taken in parts, weights that stand still, rates that fall with depth: each against what it equals."""

import copy
from collections.abc import Callable

import msgspec
import pytest
import torch
from torch import Tensor, nn

from spnas.data.batches import Batch
from spnas.errors import UsageError
from spnas.train.loop import TrainKey, train
from spnas.train.optimizer import freeze, make_optimizer, training_mode
from spnas.train.settings import PRESETS, TrainSettings, refuse_impossible

SGD = TrainSettings(optimizer="sgd", rate=0.01, batch_size=4, schedule="cosine", norm="frozen")
KEY = TrainKey(0, 0, "a")


def apart(a: nn.Module, b: nn.Module) -> float:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return max(float((x.float() - y.float()).abs().max()) for x, y in pairs)


def trained(
    detector: nn.Module, batch_of: Callable[[int], Batch], settings: TrainSettings, steps: int = 4
) -> nn.Module:
    net = copy.deepcopy(detector)
    train(net, batch_of, settings, steps=steps, key=KEY)
    return net


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_is_the_batch(detector: nn.Module, batch_of: Callable[[int], Batch], parts: int) -> None:
    """Where BN counts no statistics; and it is a net that has moved, so that parts which were lost would show."""
    whole = trained(detector, batch_of, SGD)
    in_parts = trained(detector, batch_of, msgspec.structs.replace(SGD, accumulate=parts))
    assert apart(whole, in_parts) < 2e-5
    assert apart(whole, detector) > 1e-3


def test_with_statistics_of_batches_parts_are_not_the_batch(
    detector: nn.Module, batch_of: Callable[[int], Batch]
) -> None:
    settings = msgspec.structs.replace(SGD, norm="batch")
    in_parts = trained(detector, batch_of, msgspec.structs.replace(settings, accumulate=4))
    assert apart(trained(detector, batch_of, settings), in_parts) > 1e-4


def test_frozen_norms_stay_as_they_were_and_all_else_moves(
    detector: nn.Module, batch_of: Callable[[int], Batch]
) -> None:
    norms = {name for name, m in detector.named_modules() if isinstance(m, nn.BatchNorm2d)}
    after = trained(detector, batch_of, SGD).state_dict()
    for name, value in detector.state_dict().items():
        assert torch.equal(after[name], value) is (name.rpartition(".")[0] in norms), name
    assert norms


def test_sync_norms_of_one_process_are_plain_ones(detector: nn.Module, batch_of: Callable[[int], Batch]) -> None:
    plain = msgspec.structs.replace(SGD, norm="batch")
    sync = msgspec.structs.replace(SGD, norm="sync")
    assert apart(trained(detector, batch_of, plain), trained(detector, batch_of, sync)) == 0


@pytest.mark.parametrize(
    ("stages", "still"), [(0, ("backbone.stem",)), (2, ("backbone.stem", "backbone.stages.0", "backbone.stages.1"))]
)
def test_frozen_stages_stand_still_with_their_statistics(
    detector: nn.Module, batch_of: Callable[[int], Batch], stages: int, still: tuple[str, ...]
) -> None:
    settings = msgspec.structs.replace(SGD, norm="batch", frozen_stages=stages)
    after = trained(detector, batch_of, settings).state_dict()
    for name, value in detector.state_dict().items():
        assert torch.equal(after[name], value) is name.startswith(still), name


def test_rates_fall_by_the_block_and_what_follows_the_backbone_gets_the_whole(detector: nn.Module) -> None:
    optimizer = make_optimizer(detector, TrainSettings(layer_decay=0.5))
    shares = {id(p): group["share"] for group in optimizer.param_groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(shares) == sum(1 for _ in detector.parameters())
    expected = {
        "backbone.stem": 0.5**5,
        "backbone.stages.0": 0.5**4,
        "backbone.stages.3": 0.5,
        "neck": 1.0,
        "head": 1.0,
    }
    for name, parameter in detector.named_parameters():
        assert decays[id(parameter)] == (0.05 if parameter.ndim > 1 else 0.0)
        for start, share in expected.items():
            if name.startswith(start + "."):
                assert shares[id(parameter)] == share, name


def test_without_a_decay_there_are_the_two_groups_of_old(detector: nn.Module) -> None:
    assert [len(g["params"]) for g in make_optimizer(detector, TrainSettings()).param_groups] == [
        sum(p.ndim > 1 for p in detector.parameters()),
        sum(p.ndim <= 1 for p in detector.parameters()),
    ]


def test_a_decay_of_the_rate_is_felt_where_it_should_be(detector: nn.Module, batch_of: Callable[[int], Batch]) -> None:
    """After one plain step from rest, a weight has moved by its share of what it moves without a decay."""
    settings = msgspec.structs.replace(SGD, momentum=0.0, weight_decay=0.0, average=0.0)

    def moved(decay: float) -> dict[str, Tensor]:
        net = trained(detector, batch_of, msgspec.structs.replace(settings, layer_decay=decay), steps=1)
        return {n: p - q for (n, p), q in zip(net.named_parameters(), detector.parameters(), strict=True)}

    plain, decayed = moved(1.0), moved(0.5)
    for name, share in (("backbone.stem.0.weight", 0.5**5), ("neck.lateral.0.weight", 1.0)):
        assert plain[name].abs().max() > 0
        assert torch.allclose(decayed[name], share * plain[name], rtol=1e-3, atol=1e-8)


def test_what_stands_still_is_not_handed_to_the_optimiser(detector: nn.Module) -> None:
    settings = TrainSettings(norm="frozen", frozen_stages=1)
    freeze(detector, settings)
    training_mode(detector, settings)
    held = [p for group in make_optimizer(detector, settings).param_groups for p in group["params"]]
    assert len(held) == sum(p.requires_grad for p in detector.parameters()) < sum(1 for _ in detector.parameters())
    assert not any(m.training for m in detector.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_learns_about_the_same(
    detector: nn.Module, batch_of: Callable[[int], Batch], precision: str
) -> None:
    """Gradients of 16-bit floats are scaled and brought back; the weights stay 32-bit."""
    lower = trained(detector, batch_of, msgspec.structs.replace(SGD, precision=precision))
    assert 0 < apart(trained(detector, batch_of, SGD), lower) < 0.02
    assert {p.dtype for p in lower.parameters()} == {torch.float32}


def test_settings_written_before_there_were_so_many_are_read() -> None:
    old = b'{"optimizer":"sgd","rate":0.02,"batch_size":16,"precision":"bf16","augment":true}'
    read = msgspec.json.decode(old, type=TrainSettings)
    assert (read.accumulate, read.norm, read.layer_decay, read.frozen_stages, read.sides) == (1, "batch", 1.0, -1, ())
    assert (read.evaluate_epochs, read.best_by, read.patience) == (0, None, 0)
    assert msgspec.json.decode(msgspec.json.encode(PRESETS["standard"]), type=TrainSettings) == PRESETS["standard"]


@pytest.mark.parametrize(
    ("changes", "ranks", "reason"),
    [
        ({"accumulate": 3}, 1, "--batch-size 8 cannot be taken in 3 parts; give a multiple of 3"),
        ({"accumulate": 2}, 3, "2 parts by each of 3 processes; give a multiple of 6"),
        ({"precision": "fp16"}, 1, "--precision fp16 needs a GPU"),
        ({"norm": "sync"}, 2, "--norm sync needs GPUs"),
        ({"frozen_stages": 4}, 1, "--frozen-stages 4: the net has 4"),
        ({"drops": (16.0, 22.0)}, 1, "--drops 16.0, 22.0: give shares"),
        ({"patience": 2}, 1, "--patience goes by evaluations"),
        ({"best_by": "ap"}, 1, "--best-by goes by evaluations"),
        ({"accumulate": 8}, 1, "--batch-size 8 in 8 parts: one picture of 32 px ends as one pixel after 4 stages"),
        ({"accumulate": 2}, 4, "8 parts: one picture .*; give larger pictures, more of them a part, or --norm frozen"),
        ({"batch_size": 1, "norm": "sync"}, 1, "--batch-size 1 in 1 parts: one picture"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes: dict[str, object], ranks: int, reason: str) -> None:
    settings = msgspec.structs.replace(TrainSettings(), **changes)
    with pytest.raises(UsageError, match=reason):
        refuse_impossible(settings, device="cpu", ranks=ranks, stages=4, side=32)
    refuse_impossible(TrainSettings(), device="cpu", ranks=2, stages=4, side=32)


def test_one_picture_is_enough_for_bn_where_more_than_a_pixel_is_left_of_it() -> None:
    single = TrainSettings(batch_size=1)
    for settings, side, stages in (
        (single, 64, 4),
        (single, 32, 3),
        (msgspec.structs.replace(single, norm="frozen"), 32, 4),
    ):
        refuse_impossible(settings, device="cpu", ranks=1, stages=stages, side=side)
