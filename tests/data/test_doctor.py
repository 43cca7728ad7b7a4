"""The doctor sees everything that opening would refuse, all at once, and never falls over."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from spnas.data import decoding
from spnas.data.alike import NEAR, alike, look
from spnas.data.decoding import decode_all
from spnas.data.doctor import Diagnosis
from spnas.data.doctor import examine as examine_all
from spnas.data.open import open_data
from spnas.data.propose import propose_anchors, propose_recipe, propose_size
from spnas.data.records import CROWD
from spnas.errors import UsageError

from .conftest import Document, write_picture


def examine(*args: Any, **options: Any) -> Diagnosis:
    return examine_all(*args, **options).diagnosis


def codes(diagnosis: Diagnosis, severity: str) -> set[str]:
    return {p.code for p in diagnosis.problems if p.severity == severity}


def test_a_good_folder_is_described(coco: Any, snapshot: Any) -> None:
    folder = coco()
    before = snapshot(folder)
    diagnosis = examine(folder)
    assert not diagnosis.refused
    assert (diagnosis.format, diagnosis.problems, diagnosis.undecodable) == ("coco", (), ())
    train, val = diagnosis.splits
    assert (train.role, train.images, val.role, val.images) == ("train", 4, "val", 2)
    assert train.per_class == {"cat": 4, "dog": 4}
    assert train.box_sizes == {"small": 8, "medium": 0, "large": 0}
    assert train.boxes_per_picture == {"0": 0, "1": 0, "2-4": 4, "5-9": 0, "10-19": 0, "20+": 0}
    assert train.median_size == (60, 40)
    assert snapshot(folder) == before


def test_all_faults_are_seen_at_once(coco: Any) -> None:
    def change(document: Document, folder: Path) -> None:
        document["images"][0]["width"] = 61
        (folder / "train" / "2.png").unlink()
        document["images"][2]["file_name"] = "../../out.png"
        document["annotations"][6]["bbox"] = [5, 4, 0, 8]
        shutil.copy(folder / "train" / "4.png", folder / "train" / "3.png")

    folder = coco(change)
    shutil.copy(folder / "train" / "4.png", folder / "val" / "11.png")
    data = (folder / "val" / "12.png").read_bytes()
    (folder / "val" / "12.png").write_bytes(data[: len(data) // 2])
    diagnosis = examine(folder)
    assert diagnosis.refused
    assert codes(diagnosis, "refused") == {
        "picture-size-differs",
        "picture-missing",
        "path-outside",
        "too-many-bad",
        "splits-overlap",
        "picture-damaged",
    }
    assert codes(diagnosis, "quarantined") == {"box-zero-area", "box-of-bad-picture"}
    assert diagnosis.undecodable == (str(folder / "val" / "12.png"),)
    assert diagnosis.overlapping == (("4.png", "11.png"),)
    assert diagnosis.counts["box-of-bad-picture"] == 6
    order = [p.severity for p in diagnosis.problems]
    assert order == sorted(order, key=["refused", "quarantined", "noted"].index)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda f: shutil.rmtree(f), "data-missing"),
        (lambda f: shutil.rmtree(f / "annotations"), "layout-unknown"),
        (lambda f: (f / "annotations" / "instances_train.json").write_text("{"), "json-syntax"),
        (lambda f: (f / "annotations" / "instances_train.json").unlink(), "splits-unknown"),
        (lambda f: (f / "annotations" / "instances_val.json").write_text("[]"), "json-value"),
        (lambda f: shutil.rmtree(f / "train"), "picture-missing"),
        (lambda f: [p.write_bytes(b"") for p in (f / "train").iterdir()], "picture-empty"),
    ],
)
def test_it_goes_on_where_it_can(damage: Any, code: str, coco: Any) -> None:
    folder = coco()
    damage(folder)
    diagnosis = examine(folder, decode=False)
    assert diagnosis.refused
    assert code in diagnosis.counts
    assert json.loads(msgspec.json.encode(diagnosis))["path"] == str(folder)


def test_a_typing_error_is_the_users_not_the_datas(coco: Any) -> None:
    with pytest.raises(UsageError, match="did you mean 'coco'"):
        examine(coco(), format="coc")


def test_decoding_can_be_left_out_and_is_watched(coco: Any) -> None:
    folder = coco()
    (folder / "train" / "1.png").write_bytes((folder / "train" / "1.png").read_bytes()[:-200])
    assert examine(folder, decode=False).problems == ()
    seen: list[tuple[int, int]] = []
    assert examine(folder, progress=lambda done, total: seen.append((done, total))).counts == {"picture-damaged": 1}
    assert seen == [(n, 6) for n in range(1, 7)]


def test_a_picture_that_kills_its_decoder_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(5):
        write_picture(tmp_path / f"{index}.png", seed=index)
    real = decoding._Child.ask

    def ask(child: decoding._Child, path: Path) -> decoding.Verdict:
        if child.process is None:
            assert real(child, tmp_path / "0.png").code == ""
        if path.name == "3.png":
            assert child.process is not None
            os.kill(child.process.pid, signal.SIGSEGV)
            child.process.wait()
        return real(child, path)

    monkeypatch.setattr(decoding._Child, "ask", ask)
    faults = decode_all([tmp_path / f"{i}.png" for i in range(5)], workers=1).faults
    assert {i: e.code for i, e in faults.items()} == {3: "picture-kills-decoder"}


def test_a_decoder_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "SECONDS", 0.0)
    faults = decode_all([tmp_path / "a.png"]).faults
    assert faults[0].code == "picture-kills-decoder"


def test_nothing_to_decode_is_no_fault() -> None:
    assert decode_all([]).faults == {}


def test_the_size_suits_the_smallest_class_but_not_more_than_the_pictures(shared: Path) -> None:
    data = open_data(shared / "data" / "bccd")
    size = propose_size(data.train)
    assert 224 <= size <= 384  # platelets measure about 40 of 640 pixels
    assert size % 32 == 0
    tiny = msgspec.structs.replace(data.train, boxes=data.train.boxes / np.array(20))
    assert propose_size(tiny) == 640


@pytest.mark.parametrize(
    ("size", "pictures", "recipe"), [(640, 5000, "standard"), (640, 300, "small"), (320, 5000, "small")]
)
def test_the_standard_recipe_takes_large_pictures_and_many(size: int, pictures: int, recipe: str) -> None:
    assert propose_recipe(size, pictures) == recipe


def test_sides_density_and_hidden_shares_are_counted(bdd: Any) -> None:
    def change(frames: Any, _: Path) -> None:
        frames[0]["labels"][0]["attributes"] = {"occluded": True}
        frames[1]["labels"] = []
        frames[2]["labels"][1]["attributes"] = {"crowd": True}

    train = examine(bdd(change), decode=False).splits[0]
    assert (train.images, train.empty_images, train.boxes, train.ignored) == (4, 1, 5, 1)
    assert train.sides_px["8-16"] + train.sides_px["4-8"] + train.sides_px["16-32"] == train.boxes
    assert sum(train.sides_px.values()) == train.boxes
    assert (train.occluded, train.truncated) == (0.2, None)
    assert train.density == (1.5, 2)
    assert train.ratios is not None
    assert train.ratios[0] <= train.ratios[1] <= train.ratios[2]


def test_pictures_that_look_alike_are_noted(coco: Any) -> None:
    folder = coco()
    smooth = Image.fromarray(np.random.default_rng(5).integers(0, 255, (5, 6, 3), np.uint8))
    smooth.resize((60, 40), Image.Resampling.BICUBIC).save(folder / "train" / "1.png")
    seen = Image.open(folder / "train" / "1.png")
    seen.resize((45, 30)).resize((60, 40)).save(folder / "train" / "3.png")
    seen.point(lambda v: min(255, v + 4)).save(folder / "val" / "12.png")
    diagnosis = examine(folder)
    assert not diagnosis.refused
    assert diagnosis.counts == {"pictures-alike": 1, "splits-alike": 2}
    assert diagnosis.alike[0] == ("train/1.png", "val/12.png")
    assert diagnosis.leaks == 2
    assert examine(folder, decode=False).counts == {}


def test_looks_are_found_as_comparing_all_of_them_would() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (60, 32), np.uint8)
    for index in range(0, 60, 3):
        flips = rng.choice(256, int(rng.integers(0, 14)), replace=False)
        bits = np.unpackbits(codes[index])
        bits[flips] ^= 1
        codes[index + 1] = np.packbits(bits)
    looks = [bytes(code).hex() for code in codes]
    distance = np.bitwise_count(codes[:, None] ^ codes[None]).sum(axis=2)
    every = [(i, j) for i in range(60) for j in range(i + 1, 60) if distance[i, j] <= NEAR]
    assert alike([*looks, ""]) == every
    assert len(every) >= 10


def test_an_even_picture_looks_like_nothing() -> None:
    assert look(np.full((20, 30, 3), 200, np.uint8)) == ""
    assert alike([""] * 5) == alike([]) == []


def test_anchors_follow_the_boxes(shared: Path) -> None:
    known = open_data(shared / "data" / "bccd").train
    found = propose_anchors(known, 288, usual_scale=4.0)
    assert found is not None
    assert found.covered >= found.usual_covered - 0.01
    assert found.usual_covered > 0.9
    tall = msgspec.structs.replace(known, boxes=known.boxes * np.array([0.15, 1, 0.15, 1]))
    other = propose_anchors(tall, 288, usual_scale=4.0)
    assert other is not None
    assert other.covered > other.usual_covered
    assert other.ratios[1] > 2
    nothing = msgspec.structs.replace(known, flags=np.full_like(known.flags, CROWD))
    assert propose_anchors(nothing, 288, usual_scale=4.0) is None


def test_a_class_list_that_matches_nothing_is_named(bdd: Any) -> None:
    def change(frames: Any, _: Path) -> None:
        for frame in frames:
            for label in frame["labels"]:
                label["category"] = "vehicle"

    diagnosis = examine(bdd(change), decode=False)
    assert "classes-unknown" in diagnosis.counts
    (problem,) = [p for p in diagnosis.problems if p.code == "classes-unknown"]
    assert problem.reason.startswith("0 of 8 boxes match the class list; the boxes are of vehicle")


def test_bccd_is_healthy_but_for_two_boxes(shared: Path) -> None:
    diagnosis = examine(shared / "data" / "bccd" / "BCCD", decode=False)
    assert not diagnosis.refused
    assert diagnosis.counts == {"box-zero-area": 2}
    sizes = [sum(s.box_sizes[k] for s in diagnosis.splits) for k in ("small", "medium", "large")]
    assert sum(sizes) == 4886
