"""Every format, from a folder on disk to a trained and judged detector, through the command.

PASCAL VOC and BDD100K are read where they lie; COCO, YOLO and EuroCity Persons sets are written here from a dozen
pictures of the first.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tests.data.conftest import contents

from spnas.cli import main
from spnas.data.formats import coco, yolo
from spnas.data.open import open_data
from spnas.data.records import Annotations

PICTURES = {"train": 9, "val": 3}
CELLS = ("Platelets", "RBC", "WBC")
PERSONS = {"RBC": "pedestrian", "WBC": "rider", "Platelets": "person-group-far-away"}
ARCH = "basic: 8x1 / 16x1 / 32x1 / 64x1"


class Journey(NamedTuple):
    """A data set's format as recognised, its classes, pictures to learn from and to judge on, and its own metric."""

    format: str
    classes: tuple[str, ...]
    pictures: tuple[int, int]
    metric: str
    figure: str  # one number of that metric


JOURNEYS = {
    "voc": Journey("voc", CELLS, (292, 72), "voc", "ap50"),
    "bdd": Journey("bdd", ("pedestrian", "rider", "car", "truck", "bus"), (170, 60), "bdd", "ap"),
    "coco": Journey("coco", CELLS, (9, 3), "coco", "ap"),
    "yolo": Journey("yolo", CELLS, (9, 3), "coco", "ap"),
    "ecp": Journey("ecp", ("pedestrian", "rider"), (9, 3), "ecp", "pedestrian_reasonable"),
}


@pytest.fixture(scope="module")
def cells(shared: Path) -> list[Annotations]:
    """The first pictures of each split that have cells of every class."""
    data = open_data(shared / "data" / "bccd" / "BCCD")
    few = []
    for (split, count), known in zip(PICTURES.items(), (data.train, data.val), strict=True):
        classes = (set(known.labels[known.rows(i)].tolist()) for i in range(len(known)))
        rich = [i for i, labels in enumerate(classes) if labels == {0, 1, 2}]
        few.append(known.select(np.array(rich[:count]), name=split))
    return few


def put(folder: Path, files: dict[str, bytes], pictures: dict[str, Path]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for name, source in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)


def write_coco(folder: Path, known: Annotations) -> None:
    names = [Path(name).name for name in known.files]
    document = json.loads(coco.write_ground_truth(known))
    for image, name in zip(document["images"], names, strict=True):
        image["file_name"] = name
    pictures = {f"{known.name}/{name}": known.path(i) for i, name in enumerate(names)}
    put(folder, {f"annotations/instances_{known.name}.json": json.dumps(document).encode()}, pictures)


def write_yolo(folder: Path, known: Annotations) -> None:
    files = {name: text.encode() for name, text in yolo.write_labels(known).items()}
    files["data.yaml"] = files["data.yaml"].replace(b"images/val", b"images/train") + b"val: images/val\n"
    put(folder, files, {place: known.path(i) for i, place in enumerate(yolo.picture_places(known))})


def write_ecp(folder: Path, known: Annotations) -> None:
    for index, city in enumerate(("rome", "köln", "lyon") * (len(known) // 3)):
        width, height = known.sizes[index].tolist()
        rows = known.rows(index)
        children = [
            {"identity": PERSONS[known.classes[label]], **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))}
            for label, box in zip(known.labels[rows].tolist(), known.boxes[rows].tolist(), strict=True)
        ]
        frame = {"identity": "frame", "imagewidth": width, "imageheight": height, "tags": [], "children": children}
        place = f"{known.name}/{city}/{city}_{index:05d}"
        put(folder, {f"labels/{place}.json": json.dumps(frame).encode()}, {f"img/{place}.jpg": known.path(index)})


WRITERS: dict[str, Callable[[Path, Annotations], None]] = {
    "coco": write_coco, "yolo": write_yolo, "ecp": write_ecp,
}  # fmt: skip


@pytest.fixture
def folder(request: pytest.FixtureRequest, shared: Path, tmp_path: Path) -> Path:
    """The data set of the format that is asked for."""
    name = request.param
    if name in WRITERS:
        for known in request.getfixturevalue("cells"):
            WRITERS[name](tmp_path / "data", known)
        return tmp_path / "data"
    return shared / "data" / {"voc": "bccd/BCCD", "bdd": "carla_bdd_dev"}[name]


@pytest.fixture
def spnas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Return a function that runs the command in this process and returns what it prints as JSON."""

    def run(*words: str | Path) -> Any:
        monkeypatch.setattr("sys.argv", ["spnas", *map(str, words), "--json"])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        assert stopped.value.code == 0, said.err
        return json.loads(said.out)

    return run


@pytest.mark.parametrize(("name", "folder"), [(name, name) for name in JOURNEYS], indirect=["folder"], ids=JOURNEYS)
def test_a_data_set_is_examined_learned_from_and_judged(
    name: str, folder: Path, spnas: Callable[..., Any], tmp_path: Path
) -> None:
    expected = JOURNEYS[name]
    before = contents(folder)

    diagnosis = spnas("doctor", folder, "--quiet")
    assert diagnosis["format"] == expected.format
    assert [p["code"] for p in diagnosis["problems"] if p["severity"] == "refused"] == []
    assert tuple(split["images"] for split in diagnosis["splits"]) == expected.pictures
    learned = diagnosis["splits"][0]["per_class"]
    assert set(expected.classes) <= set(learned)
    for report in diagnosis["reports"]:
        counts = report["per_class"].values()
        assert all(c["read"] == c["used"] + c["ignored"] + c["quarantined"] for c in counts)

    size = ("--recipe", "small", "--image-size", "96", "--batch-size", "4")
    trained = spnas("train", ARCH, "--data", folder, "--out", tmp_path / "net", "--steps", "50", *size, "--quiet")
    assert trained["steps"] == 50
    assert 0 <= trained["metrics"]["ap"] <= 1
    config = json.loads((Path(trained["model"]) / "config.json").read_text())
    assert list(config["classes"]) == list(learned)

    judged = spnas("evaluate", trained["model"], "--data", folder, "--metric", expected.metric, "--quiet")
    assert expected.figure in judged["scores"][expected.metric]["values"]
    assert contents(folder) == before
