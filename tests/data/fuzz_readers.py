"""Fuzz a reader: whatever its file becomes, it is read with every box accounted for, or refused by a DataError.

    uv run python -m tests.data.fuzz_readers yolo --runs 200000 --seed 1
    uv run --with atheris python -m tests.data.fuzz_readers yolo --runs 200000 --seed 1

With atheris the mutations are guided by coverage of the data room; without, they are drawn from the seed. A file that
breaks the promise is left in the folder that the first line names. Data are written below TMPDIR: one in memory
(TMPDIR=/dev/shm) is several times as fast.
"""

import argparse
import importlib.util
import json
import random
import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from spnas.data import formats, scan
from spnas.data.checks import check as check_raw
from spnas.data.formats import Format
from spnas.data.open import open_data
from spnas.errors import DataError
from spnas.shelf import take

from .conftest import (
    YOLO_CAT,
    YOLO_DOG,
    YOLO_YAML,
    bdd_document,
    check_conserved,
    check_part_conserved,
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

TOKEN = re.compile(rb'-?\d+(?:\.\d+)?|"[^"]*"|[A-Za-z_]+')
ODD = (
    b"0", b"-1", b"1", b"2", b"7", b"1e30", b"-0.0", b"0.5", b"60", b"40", b"61", b"1e999", b"5e-324", b"NaN", b"null",
    b"true", b'""', b'"1"', b'"a/b.png"', b'"../1.png"', b"[]", b"[1]", b"{}", b"18446744073709551616", b"65536",
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
    """Change a text in one to four places: values exchanged, or bytes exchanged, cut, doubled, replaced by scraps."""
    text = bytearray(good)
    values = rng.random() < 0.5  # only these: the text stays what it is, and what it says is wrong
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(text) + 1), rng.choice((0, 1, 1, 3, 12, 60))
        kind = rng.randrange(5)
        tokens = list(TOKEN.finditer(text)) if values else []
        if tokens:
            token = rng.choice(tokens)
            text[slice(*token.span())] = rng.choice((*ODD, *(rng.choice(tokens)[0] for _ in range(len(ODD)))))
            continue
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

    def use() -> None:
        check_conserved(open_data(fuzzed.folder, max_bad=1.0))

    return _survives(fuzzed, text, use)


def check_reader(fuzzed: Fuzzed, text: bytes, reader: Format) -> bool:
    """Do the same with this reader and the checks behind it alone."""

    def use() -> None:
        checked = check_raw(reader.read(fuzzed.folder, split="train"), max_bad=1.0)
        check_part_conserved(checked.report, checked.annotations, whole=True)

    return _survives(fuzzed, text, use)


def _survives(fuzzed: Fuzzed, text: bytes, use: Callable[[], None]) -> bool:
    fuzzed.file.write_bytes(text)
    try:
        use()
    except DataError as error:
        refusal = error
    else:
        return True
    assert str(refusal).isprintable()
    assert refusal.code
    return False


class _InTurn:
    """Takes the place of a pool of threads, which would cost more than what they do here."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> "_InTurn":
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, make: Callable[[Any], Any], keys: Iterable[Any]) -> Iterator[Any]:
        return map(make, keys)


def guided(reader: str, fuzzed: Fuzzed, *, runs: int, seconds: int, seed: int) -> None:
    """Fuzz with atheris, which ends the process; the pictures do not change and are looked at once."""
    import atheris

    scan.ThreadPoolExecutor = _InTurn  # type: ignore[assignment, misc]
    scan.inspect = lru_cache(maxsize=64)(scan.inspect)
    for name, module in list(sys.modules.items()):
        if name.startswith("spnas.data."):
            for thing in vars(module).values():
                if isinstance(thing, types.FunctionType) and thing.__module__ == name:
                    atheris.instrument_func(thing)
    corpus = fuzzed.folder.parent / f"{fuzzed.folder.name}-corpus"
    corpus.mkdir()
    (corpus / "good").write_bytes(fuzzed.good)
    scraps = corpus.with_suffix(".dict")
    scraps.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in scrap) + '"\n' for scrap in SCRAPS))
    options = {"runs": runs, "max_total_time": seconds, "seed": seed, "max_len": 4 * len(fuzzed.good), "timeout": 10}
    places = [f"-artifact_prefix={fuzzed.folder}/", f"-dict={scraps}", str(corpus)]
    module = cast(Format, take(formats, reader.partition("-")[0]))
    counts = [0, 0]

    def one(text: bytes) -> None:
        counts[check_reader(fuzzed, text, module)] += 1
        if sum(counts) % 10_000 == 0:
            print(f"{sum(counts):,} executions: {counts[1]:,} could be used, the others were refused", flush=True)

    def change(text: bytes, most: int, draw: int) -> bytes:
        return bytes(mutate(text, random.Random(draw))[:most] if draw % 2 else atheris.Mutate(text, most))

    words = [sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), *places]
    atheris.Setup(words, one, custom_mutator=change)
    atheris.Fuzz()


def main() -> None:
    """Run as the words above say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=0, help="stop after so long; only with atheris")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{options.reader}-"))
    fuzzed = READERS[options.reader](folder)
    print(f"folder: {folder}", flush=True)
    if importlib.util.find_spec("atheris"):
        guided(options.reader, fuzzed, runs=options.runs, seconds=options.seconds, seed=options.seed)
    rng = random.Random(options.seed)
    used = sum(check(fuzzed, mutate(fuzzed.good, rng)) for _ in range(options.runs))
    print(f"{options.runs:,} mutations: {used:,} could be used, the others were refused")


if __name__ == "__main__":
    main()
