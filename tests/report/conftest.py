"""A finished study and an interrupted one, filled in by hand."""

import math

import numpy as np
import pytest

from spnas.arch import Arch, Candidate, Move, Outcome, parse
from spnas.report import (
    Axes,
    CandidateRow,
    ClassRow,
    ClassTable,
    Command,
    DrawnArch,
    Fact,
    FinalRow,
    Finding,
    PictureRow,
    StudyPage,
    Verdict,
    View,
    draw_boxes,
    encode,
)

ROOT = parse("basic: 32x2 / 64x2 / 128x2 / 256x2")
SEARCHED = parse("basic: 32x2 64x1 / 64x4 128x1 / 128x9 256x1 / 256x2 + 0-0-1-0")
RIVAL = parse("basic: 40x2 / 80x3 / 160x5 / 320x3")
CLASSES = ("car", "van", "truck", "pedestrian", "bicycle rider", "traffic light")


def _row(number: int, rng: np.random.Generator) -> CandidateRow:
    parent = None if number == 0 else 5 * (int(rng.integers(0, number)) // 5)
    blocks = 2 + number // 6
    arch = Arch("basic", ((32,) * 2, (64,) * (2 + number // 12), (128,) * blocks, (256,) * 2))
    moves = () if number == 0 else (Move("expand-block", 5, 1), Move("swap-boundary", 2, -1))[: 1 + number % 2]
    one = Candidate(
        number=number,
        role="root" if number == 0 else "child",
        arch=arch,
        steps=400,
        seed=1,
        parent=parent,
        moves=moves,
    )
    if number % 13 == 8:
        return CandidateRow(candidate=one, outcome=Outcome(number=number, failure="out of memory: 6144 MiB asked for"))
    ap = 0.262 + 0.09 * (1 - math.exp(-number / 18)) + float(rng.normal(0, 0.008))
    cost = 3.2 + 0.045 * number + float(rng.uniform(-0.6, 0.2)) * (number > 0)
    outcome = Outcome(number=number, metrics={"ap": ap}, gmacs=cost, params=4_800_000 + number * 9000, seconds=96.0)
    gain = None if number == 0 else float(rng.normal(0.004, 0.009))
    return CandidateRow(candidate=one, outcome=outcome, fitness=ap, gain=gain)


def _with_front(rows: list[CandidateRow]) -> tuple[CandidateRow, ...]:
    done = [row for row in rows if row.outcome and row.outcome.failure is None]
    front, best = set(), 0.0
    for row in sorted(done, key=lambda row: row.outcome.gmacs):
        if row.outcome.metrics["ap"] > best:
            best = row.outcome.metrics["ap"]
            front.add(row.candidate.number)
    return tuple(
        CandidateRow(
            candidate=row.candidate,
            outcome=row.outcome,
            fitness=row.fitness,
            gain=row.gain,
            on_front=row.candidate.number in front,
        )
        for row in rows
    )


def _picture(name: str, *, seed: int) -> PictureRow:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(70, 190, 96, dtype=np.uint8)
    image = np.stack([ramp[:, None].repeat(128, 1)] * 3, axis=2) + rng.integers(0, 4, (96, 128, 3), dtype=np.uint8)
    boxes = np.array([[10, 30, 60, 80], [64, 20, 92, 60], [90, 50, 126, 94]], dtype=np.float32)
    labels = [CLASSES[int(i)] for i in rng.integers(0, len(CLASSES), 3)]
    views = [
        View(caption, encode(draw_boxes(image, boxes + shift, labels=labels, scores=scores, classes=CLASSES, scale=5)))
        for caption, shift, scores in (
            ("truth", 0, None),
            ("searched", 1, [0.97, 0.83, 0.51]),
            ("rival", 3, [0.91, 0.44, 0.38]),
        )
    ]
    return PictureRow(name=name, views=tuple(views), labels=tuple(labels))


@pytest.fixture(scope="session")
def finished() -> StudyPage:
    rng = np.random.default_rng(5)
    return StudyPage(
        title="Street scenes",
        subtitle="12 000 pictures, 6 classes · finished 14 May 2026",
        verdict=Verdict(
            answer="better",
            headline="The searched backbone beats a ResNet of the same cost by 1.8 AP.",
            sentences=(
                "With three seeds each, the difference on val lies between +0.9 and +2.7 AP (95 % interval).",
                "It was found among 60 candidates in 5 h 12 min; most of the gain comes from blocks moved to stage p4.",
            ),
            gain=0.018,
            interval=(0.009, 0.027),
            numbers=(
                Fact("AP, searched", "41.3", "rival 39.5"),
                Fact("Cost", "5.91 GMACs", "rival 5.94, budget 6.0"),
                Fact("Parameters", "7.9 M", "rival 9.1 M"),
                Fact("Time spent", "5 h 12 min", "of 8 h"),
            ),
        ),
        axes=Axes(band=(5.4, 6.0)),
        candidates=_with_front([_row(number, rng) for number in range(60)]),
        winner=58,
        finals=(
            FinalRow(
                name="searched 58", role="searched", arch=SEARCHED, gmacs=5.91, params=7_900_000,
                aps=(0.416, 0.409, 0.414), interval=(0.404, 0.422), seconds=5400.0, from_candidate=58,
            ),
            FinalRow(
                name="ResNet, scaled to the same cost", role="rival", arch=RIVAL, gmacs=5.94, params=9_100_000,
                aps=(0.392, 0.399, 0.394), interval=(0.386, 0.404), seconds=5300.0,
            ),
        ),
        archs=(
            DrawnArch(name="searched 58", role="searched", arch=SEARCHED, stage_gmacs=(1.1, 1.52, 2.6, 0.69)),
            DrawnArch(name="rival", role="rival", arch=RIVAL, stage_gmacs=(1.4, 1.5, 1.9, 1.14)),
            DrawnArch(name="root", role="root", arch=ROOT, stage_gmacs=(0.9, 0.8, 0.8, 0.7), note="where it began"),
        ),
        by_class=ClassTable(
            columns=("searched", "rival"),
            rows=tuple(
                ClassRow(name=name, boxes=4200 // i, aps=(0.56 - 0.04 * i, 0.52 - 0.03 * i) if i < 6 else (None,) * 2)
                for i, name in enumerate(CLASSES, start=1)
            ),
        ),
        classes=CLASSES,
        pictures=(_picture("val/000031.jpg", seed=1), _picture("val/000207.jpg", seed=2)),
        data=(
            Fact("Data set", "/data/street (COCO format)"),
            Fact("Train", "10 000 pictures, 81 224 boxes", "1 000 of them carved out to rank candidates"),
            Fact("Val", "2 000 pictures, 16 004 boxes", "seen by the finals only"),
        ),
        findings=(
            Finding(kind="quarantined", text="boxes of width or height 0", count=3),
            Finding(kind="noted", text="boxes that reach over the edge of their picture were clipped", count=118),
        ),
        settings=(Fact("Preset", "plus"), Fact("Budget", "6 GMACs, 8 h"), Fact("Seed", "1")),
        run=(Fact("Machine", "1 x 24 GiB GPU, 16 cores"), Fact("Time", "5 h 12 min"), Fact("spnas", "0.1.0")),
        commands=(
            Command("Find objects in pictures of your own", "spnas predict street.study --images holiday/*.jpg"),
            Command("Use it without spnas", "spnas export street.study --onnx street.onnx"),
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def interrupted() -> StudyPage:
    root = Candidate(number=0, role="root", arch=ROOT, steps=800, seed=1)
    child = Candidate(number=1, role="child", arch=SEARCHED, steps=400, seed=1, parent=0, moves=(Move("expand-stage"),))
    later = Candidate(number=2, role="child", arch=ROOT, steps=400, seed=1, parent=0)
    return StudyPage(
        title="Street scenes",
        verdict=Verdict(
            answer="unfinished",
            headline="The study was interrupted before any final was trained.",
            sentences=("Run the same command again to go on.",),
        ),
        candidates=(
            CandidateRow(candidate=root, outcome=Outcome(number=0, metrics={"ap": 0.21}, gmacs=3.2, params=4_800_000)),
            CandidateRow(candidate=child, outcome=Outcome(number=1, failure="its loss was not finite at step 31")),
            CandidateRow(candidate=later),
        ),
    )
