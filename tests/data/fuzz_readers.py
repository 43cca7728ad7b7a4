"""Fuzz a reader: whatever its file becomes, it is read with every box accounted for, or refused by a DataError.

    uv run python -m tests.data.fuzz_readers yolo --runs 200000 --seed 1

With atheris installed the mutations are guided by coverage; without, they are drawn from the seed. A file that
breaks the promise is left in the folder that the last line names.
"""

import argparse
import importlib.util
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from spnas.data.open import open_data
from spnas.errors import DataError

from .conftest import (
    YOLO_CAT,
    YOLO_DOG,
    YOLO_YAML,
    bdd_document,
    check_conserved,
    coco_document,
    ecp_frame,
    ecp_node,
    voc_object,
    voc_text,
    write_picture,
)

SCRAPS = (
    b"[", b"]", b"{", b"}", b'"', b",", b":", b"NaN", b"1e999", b"-", b"9" * 400, b"true", b"null", b"\xff", b"\0",
    b'"id":1,', b"0.5", b"../", b"\\u0000", b"\n", b"\t", b" ", b"<", b">", b"</", b"<!DOCTYPE", b"&a;", b"&x ", b"*x ",
    b"!!python/name:os ", b"- ", b"---\n", b"#", b"%", b"'", b"1e30", b"-0.0", b"\xe2\x80\xae", b"[[[[[[[[", b"{}",
)  # fmt: skip


class Fuzzed(NamedTuple):
    """A folder, the file in it that is mutated, and what that file holds when it is good."""

    folder: Path
    file: Path
    good: bytes


def _fill(folder: Path, texts: dict[str, str], pictures: list[str], *, fuzzed: str) -> Fuzzed:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for seed, name in enumerate(pictures):
        write_picture(folder / name, seed=seed, width=60, height=40)
    return Fuzzed(folder, folder / fuzzed, (folder / fuzzed).read_bytes())


def coco(folder: Path) -> Fuzzed:
    texts = {"train.json": json.dumps(coco_document(2)), "val.json": json.dumps(coco_document(1, 11))}
    return _fill(folder, texts, ["images/1.png", "images/2.png", "images/11.png"], fuzzed="train.json")


def bdd(folder: Path) -> Fuzzed:
    texts = {
        f"labels/det_20/det_{n}.json": json.dumps(bdd_document(c, f)) for n, c, f in (("train", 2, 1), ("val", 1, 11))
    }
    pictures = ["images/100k/train/1.png", "images/100k/train/2.png", "images/100k/val/11.png"]
    return _fill(folder, texts, pictures, fuzzed="labels/det_20/det_train.json")


def ecp(folder: Path) -> Fuzzed:
    rider = ecp_node("rider", (30, 20, 50, 32), children=[ecp_node("bicycle", (28, 24, 52, 36))])
    frame = json.dumps(ecp_frame(ecp_node(tags=["occluded>40"]), rider))
    names = ["train/rome/a", "train/rome/b", "val/lyon/c"]
    texts = {f"labels/{name}.json": frame for name in names}
    return _fill(folder, texts, [f"img/{name}.png" for name in names], fuzzed="labels/train/rome/a.json")


def voc(folder: Path) -> Fuzzed:
    texts = {f"Annotations/{n}.xml": voc_text(n, voc_object() + voc_object("dog", (31, 21, 50, 32))) for n in "abc"}
    texts |= {"ImageSets/Main/train.txt": "a\nb\n", "ImageSets/Main/val.txt": "c\n"}
    return _fill(folder, texts, [f"JPEGImages/{n}.png" for n in "abc"], fuzzed="Annotations/a.xml")


def _yolo(folder: Path, fuzzed: str) -> Fuzzed:
    names = ["train/a", "train/b", "val/c"]
    texts = {f"labels/{name}.txt": f"{YOLO_CAT}\n{YOLO_DOG}\n" for name in names} | {"data.yaml": YOLO_YAML}
    return _fill(folder, texts, [f"images/{name}.png" for name in names], fuzzed=fuzzed)


def yolo(folder: Path) -> Fuzzed:
    return _yolo(folder, "labels/train/a.txt")


def yolo_yaml(folder: Path) -> Fuzzed:
    return _yolo(folder, "data.yaml")


READERS: dict[str, Callable[[Path], Fuzzed]] = {
    "coco": coco, "voc": voc, "bdd": bdd, "ecp": ecp, "yolo": yolo, "yolo-yaml": yolo_yaml,
}  # fmt: skip


def mutate(good: bytes, rng: random.Random) -> bytes:
    """Damage a text in one to four places: bytes exchanged, cut, doubled, or replaced by scraps."""
    text = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(text) + 1), rng.choice((0, 1, 1, 3, 12, 60))
        kind = rng.randrange(5)
        if kind == 0:
            text[at : at + length] = rng.choice(SCRAPS)
        elif kind == 1:
            text[at : at + length] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 4)))
        elif kind == 2:
            text[at:at] = text[at : at + length] * rng.randint(1, 3)
        elif kind == 3:
            del text[at : at + length]
        else:
            other = rng.randrange(len(text) + 1)
            text[at:at] = text[other : other + length]
    return bytes(text)


def check(fuzzed: Fuzzed, text: bytes) -> bool:
    """Open the folder with this text in it, and say whether it could be used."""
    fuzzed.file.write_bytes(text)
    try:
        data = open_data(fuzzed.folder, max_bad=1.0)
    except DataError as error:
        refusal = error
    else:
        check_conserved(data)
        return True
    assert str(refusal).isprintable()
    assert refusal.code
    return False


def main() -> None:
    """Run as the words above say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{options.reader}-"))
    fuzzed = READERS[options.reader](folder)
    print(f"folder: {folder}")
    if importlib.util.find_spec("atheris"):
        import atheris

        atheris.instrument_all()
        arguments = [sys.argv[0], f"-runs={options.runs}", f"-seed={options.seed}"]
        atheris.Setup(arguments, lambda text: check(fuzzed, text) and None)
        atheris.Fuzz()
        return
    rng = random.Random(options.seed)
    used = sum(check(fuzzed, mutate(fuzzed.good, rng)) for _ in range(options.runs))
    print(f"{options.runs:,} mutations: {used:,} could be used, the others were refused")


if __name__ == "__main__":
    main()
