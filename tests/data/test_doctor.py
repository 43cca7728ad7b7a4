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

from spnas.data import decoding
from spnas.data.decoding import undecodable
from spnas.data.doctor import Diagnosis, examine, propose_preset, propose_size
from spnas.data.open import open_data
from spnas.errors import UsageError

from .conftest import Document, write_picture


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
    faults = undecodable([tmp_path / f"{i}.png" for i in range(5)], workers=1)
    assert {i: e.code for i, e in faults.items()} == {3: "picture-kills-decoder"}


def test_a_decoder_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "SECONDS", 0.0)
    faults = undecodable([tmp_path / "a.png"])
    assert faults[0].code == "picture-kills-decoder"


def test_nothing_to_decode_is_no_fault() -> None:
    assert undecodable([]) == {}


def test_the_size_suits_the_smallest_class_but_not_more_than_the_pictures(shared: Path) -> None:
    data = open_data(shared / "data" / "bccd")
    size = propose_size(data.train)
    assert 224 <= size <= 384  # platelets measure about 40 of 640 pixels
    assert size % 32 == 0
    tiny = msgspec.structs.replace(data.train, boxes=data.train.boxes / np.array(20))
    assert propose_size(tiny) == 640


@pytest.mark.parametrize(
    ("size", "pictures", "preset"), [(640, 5000, "standard"), (640, 300, "small"), (320, 5000, "small")]
)
def test_the_standard_preset_takes_large_pictures_and_many(size: int, pictures: int, preset: str) -> None:
    assert propose_preset(size, pictures) == preset


def test_bccd_is_healthy_but_for_two_boxes(shared: Path) -> None:
    diagnosis = examine(shared / "data" / "bccd" / "BCCD", decode=False)
    assert not diagnosis.refused
    assert diagnosis.counts == {"box-zero-area": 2}
    sizes = [sum(s.box_sizes[k] for s in diagnosis.splits) for k in ("small", "medium", "large")]
    assert sum(sizes) == 4886
