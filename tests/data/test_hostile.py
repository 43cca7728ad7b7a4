"""Names that lead elsewhere and XML that explodes: refused at once, and nothing outside the data is ever opened."""

import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spnas.data.open import open_data
from spnas.errors import DataError

from .conftest import voc_object, voc_text, write_picture

WATCHED: list[list[str]] = []  # the list in which opened files are written down, while there is one
OURS = tuple(os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, Path(__file__).parents[2] / "src"))


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHED and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        WATCHED[-1].append(os.fsdecode(arguments[0]))


sys.addaudithook(_listen)  # cannot be taken away again; it does nothing while nobody watches


@contextmanager
def nothing_opened_outside(folder: Path) -> Iterator[None]:
    opened: list[str] = []
    WATCHED.append(opened)
    try:
        yield
    finally:
        WATCHED.pop()
    allowed = (os.path.realpath(folder) + os.sep, *OURS)
    outside = [p for p in opened if not os.path.realpath(p).startswith(allowed)]
    assert outside == []


def hostile_names(outside: Path) -> list[str]:
    """At least 250 names that lead to `outside`, a real picture, or to files every system has."""
    target = outside.name
    ups = [step * n for n in range(1, 9) for step in ("../", "..\\", "./../", "..//", "a/../../", "%2e%2e/", "..%2f")]
    ups += [step * n for n in range(1, 5) for step in ("%2e%2e%5c", ".%2e/", "%2E./", "..\\./", "train/../../")]
    found = [up + name for up, name in itertools.product(ups, (target, "etc/passwd", f"../{target}"))]
    absolute = [str(outside), "/etc/passwd", "/dev/zero", "/proc/self/mem", "\\etc\\passwd", "//etc/passwd", "/", "\\"]
    drives = [f"{drive}:{mark}windows\\win.ini" for drive in "Cc" for mark in ("\\", "/", "\\\\")]
    shares = ["\\\\server\\share\\1.png", "//server/share/1.png", "\\\\?\\C:\\1.png", "\\\\.\\PhysicalDrive0"]
    schemes = ("http", "https", "ftp", "file", "s3", "gs", "data", "javascript", "smb", "git+ssh")
    urls = [f"{scheme}://{host}" for scheme in schemes for host in ("example.org/1.png", "/etc/passwd")]
    empty = ["", "\0", f"1.png\0{target}", f"{target}\0", "\0/etc/passwd", "%00", f"..%00/{target}"]
    odd = [
        "..",
        "../",
        "../..",
        "..\\",
        ".",
        "./",
        "~/1.png",
        "~root/.ssh/id_rsa",
        "$HOME/1.png",
        "`id`.png",
        "x" * 5000,
    ]
    odd += [
        "／etc／passwd",
        "．．/" + target,
        "..\u2215etc",
        "%c0%ae%c0%ae/" + target,
        "%252e%252e/" + target,
        "CON",
        "NUL",
    ]
    return list(dict.fromkeys([*found, *absolute, *drives, *shares, *urls, *empty, *odd]))


def in_coco(folder: Path, name: str) -> None:
    file = folder / "annotations" / "instances_train.json"
    document = json.loads(file.read_text())
    document["images"][0]["file_name"] = name
    file.write_text(json.dumps(document))


def in_bdd(folder: Path, name: str) -> None:
    file = folder / "labels" / "det_20" / "det_train.json"
    document = json.loads(file.read_text())
    document[0]["name"] = name
    file.write_text(json.dumps(document))


def in_yolo_list(folder: Path, name: str) -> None:
    (folder / "data.yaml").write_text("train: list.txt\nval: images/val\nnames: [cat, dog]\n")
    (folder / "list.txt").write_text("".join(f"{n}\n" for n in (name, *(f"images/train/{i}.png" for i in range(1, 4)))))


def in_yolo_yaml(folder: Path, name: str) -> None:
    (folder / "data.yaml").write_text(json.dumps({"train": name, "val": "images/val", "names": ["cat", "dog"]}))


def in_voc_list(folder: Path, name: str) -> None:
    (folder / "ImageSets" / "Main" / "train.txt").write_text(f"{name}\np0\np1\n")


WRITERS: dict[str, tuple[Callable[[Path, str], None], int]] = {
    "coco": (in_coco, 1),
    "bdd": (in_bdd, 4),
    "yolo, a list": (in_yolo_list, 4),
    "yolo, data.yaml": (in_yolo_yaml, 4),
    "voc": (in_voc_list, 4),
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    write_picture(tmp_path / "secret.png", seed=1)
    return tmp_path / "secret.png"


@pytest.mark.parametrize("where", WRITERS)
def test_no_name_leads_outside(where: str, outside: Path, request: pytest.FixtureRequest) -> None:
    write, stride = WRITERS[where]
    folder = request.getfixturevalue(where.partition(",")[0])()
    open_data(folder)  # whatever is imported late has been
    names = hostile_names(outside)
    assert len(names) >= 250
    for name in names[::stride]:
        if "\n" in name or (not name.strip("\0 ") and where != "coco"):
            continue  # an empty line of a list is none
        write(folder, name)
        begun = time.process_time()
        with nothing_opened_outside(folder), pytest.raises(DataError) as caught:
            open_data(folder)
        assert time.process_time() - begun < 0.5, name
        assert str(caught.value).isprintable(), name


@pytest.mark.parametrize("kind", ["file", "folder", "a link to a link", "a root"])
def test_no_link_leads_outside(kind: str, outside: Path, coco: Any) -> None:
    folder = coco()
    train = folder / "train"
    if kind == "file":
        (train / "1.png").unlink()
        (train / "1.png").symlink_to(outside)
    elif kind == "a link to a link":
        (train / "1.png").unlink()
        (train / "link.png").symlink_to(outside)
        (train / "1.png").symlink_to("link.png")
    elif kind == "folder":
        (train / "up").symlink_to(outside.parent)
        in_coco(folder, "up/secret.png")
    else:
        train.rename(outside.parent / "train")
        train.symlink_to(outside.parent / "train")
    with nothing_opened_outside(folder) if kind != "a root" else nothing_opened_outside(folder.parent):
        if kind == "a root":  # a folder of pictures may be mounted from elsewhere: the user placed it
            open_data(folder)
        else:
            with pytest.raises(DataError, match="path-outside"):
                open_data(folder)


def entities(levels: int, width: int) -> str:
    chain = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * width if i else "ha"}">' for i in range(levels))
    return f"<!DOCTYPE a [{chain}]><annotation>&e{levels - 1};</annotation>"


GOOD = voc_text("p1", voc_object())
SECRET = "file:///etc/passwd"
BOMBS = {
    "billion laughs": entities(10, 10),
    "many laughs": entities(30, 2),
    "quadratic": f'<!DOCTYPE a [<!ENTITY a "{"x" * 50_000}">]><annotation>{"&a;" * 50_000}</annotation>',
    "an entity of itself": '<!DOCTYPE a [<!ENTITY a "&a;">]><annotation>&a;</annotation>',
    "a file": f'<!DOCTYPE a [<!ENTITY x SYSTEM "{SECRET}">]><annotation>&x;</annotation>',
    "a file, public": f'<!DOCTYPE a [<!ENTITY x PUBLIC "p" "{SECRET}">]><annotation>&x;</annotation>',
    "a URL": '<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]><annotation>&x;</annotation>',
    "an outside DTD": f'<!DOCTYPE annotation SYSTEM "{SECRET}">{GOOD}',
    "a DTD by URL": f'<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/a.dtd">{GOOD}',
    "a parameter entity": f'<!DOCTYPE a [<!ENTITY % p SYSTEM "{SECRET}"> %p;]>{GOOD}',
    "a parameter chain": '<!DOCTYPE a [<!ENTITY % a "x"><!ENTITY % b "%a;%a;"> %b;]>' + GOOD,
    "an empty DTD": f"<!DOCTYPE annotation>{GOOD}",
    "attributes by DTD": f'<!DOCTYPE a [<!ATTLIST annotation x CDATA "y">]>{GOOD}',
    "a notation": f'<!DOCTYPE a [<!NOTATION n SYSTEM "{SECRET}">]>{GOOD}',
    "an unparsed entity": f'<!DOCTYPE a [<!NOTATION n SYSTEM "n"><!ENTITY e SYSTEM "{SECRET}" NDATA n>]>{GOOD}',
    "after a comment": f"<!-- x --><!DOCTYPE a [<!ENTITY e 'x'>]>{GOOD}",
    "deep": "<annotation>" + "<a>" * 200_000,
    "wide and deep": "<annotation>" + ("<a>" * 70 + "</a>" * 70) * 10,
    "many attributes": "<annotation " + " ".join(f'a{i}="1"' for i in range(20_000)) + "><b></annotation>",
    "a long name": f"<{'a' * 5_000_000}>",
    "a long text": f"<annotation><object>{'x' * 5_000_000}</annotation>",
    "unclosed": "<annotation>" + "<object>" * 60,
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_xml_explodes(name: str, voc: Any) -> None:
    folder = voc(text=BOMBS[name])
    begun = time.process_time()
    with nothing_opened_outside(folder), pytest.raises(DataError) as caught:
        open_data(folder)
    assert time.process_time() - begun < 0.5
    assert re.search(r"\[(xml|voc)-[a-z-]+\]$", str(caught.value))


def test_the_watch_sees_what_it_is_there_to_see(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    with pytest.raises(AssertionError), nothing_opened_outside(tmp_path / "inside"):
        (tmp_path / "secret").write_text("x")
