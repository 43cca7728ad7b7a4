"""A batch is a function of its key, whoever asks, in whatever order."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from spnas.data.batches import Batch, Pictures, eval_batches, train_batch
from spnas.data.generate import GeneratorSettings
from spnas.data.open import open_data
from spnas.data.prefetch import prefetch
from spnas.data.records import CROWD, Annotations
from spnas.data.transforms import MILD, Augment, Resize
from spnas.errors import DataError

from .conftest import write_picture


@pytest.fixture
def known(tmp_path: Path) -> Annotations:
    settings = GeneratorSettings(train=10, val=1, side_px=48, size_px=(10, 24))
    return open_data(None, generated=settings, cache=tmp_path).train


@pytest.fixture
def mixed(tmp_path: Path) -> Annotations:
    """Three pictures of different sizes with 2, 0 and 1 boxes, the last one a crowd."""
    sizes = [(60, 40), (40, 60), (30, 20)]
    for index, (width, height) in enumerate(sizes):
        write_picture(tmp_path / f"{index}.png", width=width, height=height, seed=index)
    return Annotations(
        name="mixed",
        root=tmp_path,
        classes=("cat", "dog"),
        files=("0.png", "1.png", "2.png"),
        image_ids=(1, 2, 3),
        box_ids=(1, 2, 3),
        category_ids=(1, 2),
        sizes=np.array(sizes, np.int32),
        first=np.array([0, 2, 2, 3]),
        boxes=np.array([[0, 0, 30, 20], [10, 10, 60, 40], [3, 2, 9, 8]], np.float64),
        labels=np.array([0, 1, 1]),
        flags=np.array([0, 0, CROWD], np.uint8),
        areas=np.array([600.0, 1500, 36]),
    )


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_batch_holds_what_its_legend_says(mixed: Annotations) -> None:
    (batch,) = eval_batches(Pictures(mixed, Resize(None, 60)), batch_size=3)
    assert batch.images.shape == (3, 3, 64, 64)
    assert batch.images.dtype == torch.float32
    assert batch.sizes.tolist() == [[40, 60], [60, 40], [40, 60]]
    assert batch.scale.tolist() == [[1, 1], [1, 1], [2, 2]]
    assert batch.labels.tolist() == [[0, 1], [-1, -1], [1, -1]]
    assert batch.ignore.tolist() == [[False, False], [False, False], [True, False]]
    assert batch.boxes[2].tolist() == [[6, 4, 18, 16], [0, 0, 0, 0]]
    assert batch.index.tolist() == [0, 1, 2]
    for image, (h, w) in zip(batch.images, batch.sizes.tolist(), strict=True):
        assert image[:, h:].abs().sum() == 0
        assert image[:, :, w:].abs().sum() == 0
        assert image[:, :h, :w].abs().min() > 0


def test_pictures_without_boxes_still_make_a_batch(mixed: Annotations) -> None:
    empty = mixed.select(np.array([1]), name="empty")
    (batch,) = eval_batches(Pictures(empty, Resize(None, 60)), batch_size=4)
    assert batch.labels.tolist() == [[-1]]


@pytest.mark.parametrize("rule", [Resize(None, 64), Resize(56, 100)], ids=["long side", "drawn short side"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_same_key_gives_the_same_batch_in_any_order(threads: int, rule: Resize, known: Annotations) -> None:
    def batch(pictures: Pictures, step: int) -> Batch:
        return train_batch(pictures, batch_size=4, step=step, seed=3, candidate=5, augment=MILD)

    forwards = Pictures(known, rule)
    ours = [batch(forwards, step) for step in range(6)]
    backwards = Pictures(known, rule, cache_bytes=0, threads=threads)
    theirs = [batch(backwards, step) for step in reversed(range(6))][::-1]
    backwards.close()
    assert all(same(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("other", [{"seed": 1}, {"candidate": 1}, {"step": 1}, {"augment": None}])
def test_every_part_of_the_key_matters(other: dict[str, int | None], known: Annotations) -> None:
    pictures = Pictures(known, Resize(None, 64))
    key = {"batch_size": 10, "step": 0, "seed": 0, "candidate": 0, "augment": MILD}
    assert not same(train_batch(pictures, **key), train_batch(pictures, **(key | other)))  # type: ignore[arg-type]


def test_an_epoch_visits_every_picture_once(known: Annotations) -> None:
    pictures = Pictures(known, Resize(None, 64))
    seen = torch.cat([train_batch(pictures, batch_size=4, step=s, seed=0).index for s in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_the_short_side_is_drawn_for_each_batch_and_for_nothing_else(mixed: Annotations) -> None:
    pictures = Pictures(mixed, Resize(80, 200))
    plain = msgspec.structs.replace(MILD, short=(1.0, 1.0))

    def shorts(augment: Augment | None, seed: int = 0) -> list[set[int]]:
        batches = (train_batch(pictures, batch_size=3, step=s, seed=seed, augment=augment) for s in range(40))
        return [set(batch.sizes.min(dim=1).values.tolist()) for batch in batches]

    drawn = shorts(MILD)
    assert all(len(sides) == 1 for sides in drawn)
    sides = [side for batch in drawn for side in batch]
    assert (min(sides), max(sides)) == (64, 80)
    assert len(set(sides)) > 8
    assert shorts(MILD) == drawn != shorts(MILD, seed=1)
    assert shorts(plain) == shorts(None) == [{80}] * 40
    assert {int(b.sizes.min()) for b in eval_batches(pictures, batch_size=3)} == {80}
    long = Pictures(mixed, Resize(None, 96))
    assert {int(train_batch(long, batch_size=3, step=s, seed=0).sizes.max()) for s in range(9)} == {96}


def test_the_long_side_stays_within_its_limit(mixed: Annotations) -> None:
    pictures = Pictures(mixed, Resize(80, 100))
    sizes = [train_batch(pictures, batch_size=3, step=s, seed=0).sizes for s in range(20)]
    assert int(torch.stack(sizes).max()) <= 100


def test_boxes_and_scales_follow_the_drawn_size(mixed: Annotations) -> None:
    half = Augment(flip=0, short=(0.5, 0.5), scale=(1, 1), brightness=0, contrast=0, saturation=0)
    batch = train_batch(Pictures(mixed, Resize(80, 200)), batch_size=3, step=0, seed=0, augment=half)
    plain = train_batch(Pictures(mixed, Resize(40, 200)), batch_size=3, step=0, seed=0, augment=None)
    for name in ("boxes", "labels", "ignore", "index", "scale", "sizes"):
        assert torch.allclose(getattr(batch, name), getattr(plain, name))
    assert batch.images.shape == plain.images.shape
    assert sorted(batch.scale[:, 0].tolist()) == [1, 1, 2]


def test_a_batch_may_be_larger_than_the_data(mixed: Annotations) -> None:
    batch = train_batch(Pictures(mixed, Resize(None, 32)), batch_size=7, step=2, seed=0)
    assert len(batch.index) == 7


def test_training_boxes_lie_inside_their_pictures(known: Annotations) -> None:
    pictures = Pictures(known, Resize(None, 64))
    for step in range(20):
        batch = train_batch(pictures, batch_size=4, step=step, seed=0)
        real = batch.labels >= 0
        limits = batch.sizes.flip(1).repeat(1, 2)[:, None].expand_as(batch.boxes)
        assert (batch.boxes >= 0).all()
        assert (batch.boxes <= limits).all()
        assert (batch.boxes[..., 2:] > batch.boxes[..., :2]).all(-1)[real].all()
        assert torch.isfinite(batch.images).all()


def test_only_so_much_is_kept(known: Annotations) -> None:
    pictures = Pictures(known, Resize(None, 64), cache_bytes=3 * 64 * 64 * 3)
    list(eval_batches(pictures, batch_size=4))
    assert len(pictures._cache) == 3


def test_a_picture_that_broke_is_named(known: Annotations) -> None:
    known.path(4).write_bytes(b"")
    with pytest.raises(DataError, match=r"000004\.png.*picture-empty"):
        list(eval_batches(Pictures(known, Resize(None, 64)), batch_size=4))


def test_a_picture_of_another_size_is_named(known: Annotations) -> None:
    write_picture(known.path(4), width=20, height=10)
    with pytest.raises(DataError, match=r"000004\.png: is now 20 x 10, it was 48 x 48"):
        list(eval_batches(Pictures(known, Resize(None, 64)), batch_size=4))


def test_a_picture_that_comes_back_is_read(known: Annotations, monkeypatch: pytest.MonkeyPatch) -> None:
    data = known.path(0).read_bytes()
    known.path(0).unlink()
    monkeypatch.setattr("spnas.data.batches.time.sleep", lambda _: known.path(0).write_bytes(data))
    assert Pictures(known, Resize(None, 64)).sample(0).pixels.shape == (64, 64, 3)


def test_prefetching_changes_nothing_but_the_thread() -> None:
    makers: list[str] = []

    def items() -> Iterator[int]:
        for item in range(20):
            makers.append(threading.current_thread().name)
            yield item

    assert list(prefetch(items(), ahead=2)) == list(range(20))
    assert set(makers) == {"prefetch"}


def test_prefetching_hands_errors_on() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise DataError("a", "b", "c", "d", "e")

    made = prefetch(items())
    assert next(made) == 1
    with pytest.raises(DataError, match="a: b: d; e"):
        next(made)


def test_prefetching_stops_with_its_reader() -> None:
    def items() -> Iterator[int]:
        number = 0
        while True:
            yield (number := number + 1)

    made = prefetch(items(), ahead=3)
    assert next(made) == 1
    made.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name == "prefetch"]
