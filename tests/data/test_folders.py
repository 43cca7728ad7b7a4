"""Image folders are read whole, divided the same way every time, or refused in one line."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.data.conftest import contents, write_picture

from spnas.data.folders import open_folders
from spnas.data.labelled import LabelledSet
from spnas.errors import DataError


def write(folder: Path, *, train: str = "train", val: str | None = "val", each: int = 4) -> Path:
    """Cats, dogs and eels: so many pictures of each in train, two in val."""
    for number, name in enumerate(("cat", "dog", "eel")):
        for index in range(each):
            write_picture(folder / train / name / f"{index}.png", seed=100 * number + index)
        for index in range(2 if val else 0):
            write_picture(folder / str(val) / name / f"v{index}.png", seed=1000 + 100 * number + index)
    return folder


@pytest.mark.parametrize("val", ["val", "validation", "valid"])
def test_every_picture_has_the_class_of_its_folder(val: str, tmp_path: Path) -> None:
    data = open_folders(write(tmp_path, val=val))
    assert data.train.classes == data.val.classes == ("cat", "dog", "eel")
    for part, count in ((data.train, 12), (data.val, 6)):
        assert len(part) == count
        assert all(f.split("/")[1] == part.classes[c] for f, c in zip(part.files, part.labels, strict=True))
        assert all(part.path(i).is_file() for i in range(len(part)))
        assert (part.sizes == (60, 40)).all()
        assert part.counts.tolist() == [count // 3] * 3


def test_other_folders_are_read_when_they_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    shutil.copytree(tmp_path / "val", tmp_path / "test")
    assert open_folders(tmp_path, val="test").val.name == "test"
    with pytest.raises(DataError, match=r"no folder 'tset' in it; its folders are: test, train, val \[splits-unknown"):
        open_folders(tmp_path, val="tset")


def test_a_tenth_of_every_class_is_set_aside_where_there_is_no_val(tmp_path: Path) -> None:
    """By the bytes of the pictures: under other names it is the same ones."""
    folder = write(tmp_path / "a", train=".", val=None, each=20)
    data = open_folders(folder)
    assert data.val.counts.tolist() == [2, 2, 2]
    assert data.train.counts.tolist() == [18, 18, 18]
    assert not set(data.train.files) & set(data.val.files)
    assert data.reports[0].counts == {"val-carved": 1}
    assert open_folders(folder).fingerprint == data.fingerprint

    def aside(data: LabelledSet) -> set[bytes]:
        return {data.val.path(i).read_bytes() for i in range(len(data.val))}

    kept = aside(data)
    for path in list(folder.rglob("*.png")):
        path.rename(path.with_name(f"z{path.name}"))
    assert aside(open_folders(folder)) == kept


def test_copies_of_a_picture_stay_on_one_side(tmp_path: Path) -> None:
    folder = write(tmp_path, train=".", val=None, each=10)
    for path in list(folder.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    data = open_folders(folder)
    assert all(name.replace("copy-", "") in data.val.files for name in data.val.files)
    assert data.val.counts.tolist() == [2, 2, 2]


def test_a_class_may_be_missing_in_val_and_labels_are_matched_by_name(tmp_path: Path) -> None:
    shutil.rmtree(write(tmp_path) / "val" / "cat")
    data = open_folders(tmp_path)
    assert data.val.classes == ("cat", "dog", "eel")
    assert data.val.counts.tolist() == [0, 2, 2]


def test_what_is_hidden_or_no_picture_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path)
    before = open_folders(tmp_path).fingerprint
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "train" / "cat" / "._0.png").write_bytes(b"x")
    (tmp_path / "README.txt").write_text("x")
    assert open_folders(tmp_path).fingerprint == before


@pytest.mark.parametrize("change", ["bytes", "name", "class"])
def test_the_fingerprint_changes_with_the_data(change: str, tmp_path: Path) -> None:
    before = open_folders(write(tmp_path)).fingerprint
    path = tmp_path / "train" / "cat" / "0.png"
    if change == "bytes":
        write_picture(path, seed=77)
    else:
        path.rename(path.with_name("new.png") if change == "name" else tmp_path / "train" / "dog" / "new.png")
    assert open_folders(tmp_path).fingerprint != before


def test_a_bad_picture_is_quarantined_and_too_many_are_refused(tmp_path: Path) -> None:
    write(tmp_path, each=10)
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"<html>no such page</html>")
    data = open_folders(tmp_path, max_bad=0.05)
    report = data.reports[0]
    assert (report.images, report.quarantined_images, len(data.train)) == (30, 1, 29)
    assert report.counts == {"picture-not-one": 1}
    assert all(c.read == c.used + c.quarantined for c in report.per_class.values())
    with pytest.raises(DataError, match=r"1 of 30 pictures \(3\.3%\) cannot be read.*looks like.*\[too-many-bad\]"):
        open_folders(tmp_path)
    for path in (tmp_path / "train" / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"cat: not one of its 10 pictures can be read.*\[no-pictures\]"):
        open_folders(tmp_path, max_bad=1)


def nothing(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def annotated(folder: Path) -> None:
    nothing(folder)
    (folder / "train" / "images").mkdir(parents=True)


def nested(folder: Path) -> None:
    for path in list((folder / "train" / "cat").iterdir()):
        (folder / "train" / "cat" / "old").mkdir(exist_ok=True)
        path.rename(folder / "train" / "cat" / "old" / path.name)


def alone(folder: Path) -> None:
    for part in ("train", "val"):
        shutil.rmtree(folder / part / "dog")
        shutil.rmtree(folder / part / "eel")


def linked(folder: Path) -> None:
    outside = folder.parent / "outside"
    write_picture(outside / "secret.png", seed=5)
    (folder / "train" / "cat" / "9.png").symlink_to(outside / "secret.png")


def linked_class(folder: Path) -> None:
    write_picture(folder.parent / "outside" / "secret.png", seed=5)
    (folder / "train" / "fox").symlink_to(folder.parent / "outside")


def shared_picture(folder: Path) -> None:
    shutil.copy(folder / "train" / "cat" / "0.png", folder / "val" / "dog" / "9.png")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (shutil.rmtree, r"data: there is no such file or folder; check the path \[data-missing\]"),
        (nothing, r"data: has no folder of a class; expected ROOT/train/CLASS.*\[layout-unknown\]"),
        (annotated, r"data/train: none of its folders holds a picture; expected.*\[layout-unknown\]"),
        (lambda f: shutil.rmtree(f / "train"), r"data: has val but no train; name the folder.*\[layout-unknown\]"),
        (lambda f: shutil.copytree(f / "val", f / "valid"), r"data: has val and valid; choose.*\[splits-ambiguous\]"),
        (lambda f: (f / "train" / "fox").mkdir(), r"train/fox: holds no picture; add pictures.*\[no-pictures\]"),
        (nested, r"train/cat: has its pictures in folders such as 'old'; move them.*\[no-pictures\]"),
        (alone, r"data: has one class only, 'cat'; add a folder for a second one \[no-classes\]"),
        (lambda f: (f / "train" / "eel").rename(f / "train" / "el"), r"val/eel: is a class of .*\[classes-differ\]"),
        (linked, r"9\.png.* leads outside .*data; move the file inside.*\[path-outside\]"),
        (linked_class, r"fox/secret\.png.* leads outside .*data; .*\[path-outside\]"),
        (shared_picture, r"val/dog/9\.png: has the bytes of train/cat/0\.png in train \(1 such.*\[splits-overlap\]"),
        (lambda f: os.mkfifo(f / "train" / "cat" / "9.png"), r"9\.png: is not a regular file.*\[file-not-regular\]"),
        (lambda f: write_picture(f / "train" / "cat" / "9.gif"), r"9\.gif: is GIF; only JPEG or PNG.*\[picture-format"),
        (lambda f: (f / "train" / "e\x1b[2J").mkdir(), r"train/e\\x1b\[2J: holds no picture"),
        (lambda f: (f / "train" / os.fsdecode(b"\xff")).mkdir(), r"folder '\\\\udcff': its name is not UTF-8"),
        (lambda f: (f / "train" / "dog").rename(f / "train" / " cat"), r"is called 'cat' like class 0.*\[class-repea"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    change: Callable[[Path], object], match: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "data")
    change(folder)
    before = contents(tmp_path)
    with pytest.raises(DataError, match=match) as caught:
        open_folders(folder)
    assert str(caught.value).isprintable()
    assert contents(tmp_path) == before


def test_links_may_lead_where_it_is_allowed_and_shared_pictures_be_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    linked(folder)
    shared_picture(folder)
    data = open_folders(folder, allow_outside=tmp_path / "outside", allow_overlap=True)
    assert (len(data.train), len(data.val)) == (13, 7)


def test_one_picture_of_a_class_cannot_be_divided(tmp_path: Path) -> None:
    folder = write(tmp_path, train=".", val=None, each=3)
    write_picture(folder / "fox" / "0.png", seed=9)
    with pytest.raises(DataError, match=r"fox: 1 picture\(s\).*cannot be divided in two.*\[too-few-pictures\]"):
        open_folders(folder)


def test_real_image_folders_are_read(shared: Path) -> None:
    """Clothing, 96 px: 3,068 and 341 pictures of ten classes, and a test part beside them."""
    folder = shared / "data" / "clothing96"
    data = open_folders(folder)
    assert (len(data.train), len(data.val), len(data.train.classes)) == (3068, 341, 10)
    assert data.train.counts.tolist() == [241, 123, 455, 184, 468, 290, 198, 202, 112, 795]
    assert np.unique(data.train.sizes).tolist() == [96]
    assert len(open_folders(folder, val="test").val) == 372
