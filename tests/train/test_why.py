"""Each cause of learning nothing is found where it is, and not where it is not."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from spnas.data.batches import Resize
from spnas.data.records import CROWD, Annotations, DataSet
from spnas.nets.settings import PRESETS
from spnas.train.log import Line
from spnas.train.settings import TrainSettings
from spnas.train.why import why_nothing

FALLING = [Line(step=10 * i, epoch=i, loss=2.0 / i) for i in range(1, 41)]


def why(
    train: Annotations,
    val: Annotations,
    lines: Sequence[Line] = FALLING,
    *,
    steps: int = 400,
    resize: Resize | None = None,
) -> list[str]:
    return why_nothing(
        train,
        val,
        lines,
        steps=steps,
        settings=TrainSettings(batch_size=4),
        detector=PRESETS["small"],
        resize=resize or Resize(None, 64),
    )


def boxed(sides: tuple[float, float], size: int = 64) -> Annotations:
    """Ten pictures of `size` px with a box of these sides in each."""
    boxes = np.tile([2.0, 2.0, 2.0 + sides[0], 2.0 + sides[1]], (10, 1))
    return Annotations(
        name="boxed",
        root=Path(),
        classes=("cat", "dog"),
        files=tuple(f"{i}.png" for i in range(10)),
        image_ids=tuple(range(10)),
        box_ids=tuple(range(10)),
        category_ids=(1, 2),
        sizes=np.full((10, 2), size, np.int32),
        first=np.arange(11),
        boxes=boxes,
        labels=np.zeros(10, np.int64),
        flags=np.zeros(10, np.uint8),
        areas=np.full(10, sides[0] * sides[1]),
    )


def test_where_nothing_is_wrong_no_cause_is_made_up(tiny: DataSet) -> None:
    (line,) = why(tiny.train, tiny.val)
    assert line.startswith("none of the usual causes")
    assert why(boxed((16, 16)), boxed((16, 16))) == [line]


def test_nothing_to_learn_from() -> None:
    train = boxed((16, 16))
    crowds = msgspec.structs.replace(train, flags=np.full(10, CROWD, np.uint8))
    assert "none of the 10 boxes of train is an object to be found" in why(crowds, train)[0]
    assert "none of the 0 boxes" in why(train.select(np.zeros(0, np.int64), name="none"), train)[0]


def test_classes_that_are_judged_but_never_learned() -> None:
    train, val = boxed((16, 16)), msgspec.structs.replace(boxed((16, 16)), labels=np.array([1] * 6 + [0] * 4))
    assert why(train, val) == ["60% of the objects of val are of classes that train has none of (dog); check the split"]


@pytest.mark.parametrize(
    ("losses", "what"), [([1.0] * 40, "did not fall"), ([1.0 + i / 10 for i in range(40)], "rose")]
)
def test_a_loss_that_does_not_fall(losses: list[float], what: str) -> None:
    lines = [Line(step=10 * i + 10, epoch=i, loss=loss) for i, loss in enumerate(losses)]
    lines.append(Line(step=400, epoch=40, val={"ap": 0.0}))
    (cause,) = why(boxed((16, 16)), boxed((16, 16)), lines)
    assert cause.startswith(f"the loss {what} (1")
    assert cause.endswith("try --rate 0.0002")


def test_objects_too_small_for_the_input() -> None:
    small = boxed((40, 40), size=1000)
    assert any("100% of the objects are narrower than 4 px" in cause for cause in why(small, small))
    assert not any("narrower" in cause for cause in why(small, small, resize=Resize(None, 500)))


def test_boxes_that_no_anchor_covers() -> None:
    long = boxed((60, 8))
    (cause,) = why(long, long)
    assert cause.startswith("100% of the boxes have no anchor that overlaps them by half")


def test_too_few_steps(tiny: DataSet) -> None:
    assert "20 steps, 3.33 epochs, are few" in why(tiny.train, tiny.val, FALLING[:2], steps=20)[0]
    assert "none of the usual" in why(tiny.train, tiny.val, steps=300)[0]
