"""`spnas show`: one architecture as a table like the paper's figure 1, with what every stage costs."""

import io
import itertools

import msgspec
from rich.console import Console
from rich.table import Table

from spnas.arch import Arch
from spnas.arch.notation import to_code
from spnas.arch.published import PUBLISHED, Detection, arch_of
from spnas.errors import UsageError
from spnas.export import convolutions
from spnas.nets.backbone import stage_channels
from spnas.nets.cost import cost
from spnas.tasks.catalogue import off_percent

CLASSIFIED, DETECTED = (224, 224), (800, 1333)
TABLE_WIDTH = 100


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage: `runs` are (width, blocks); costs with its copies, the stem's with the first stage's."""

    level: str
    stride: int
    output: tuple[int, int]
    channels: int
    runs: tuple[tuple[int, int], ...]
    copies: int
    gmacs: float
    gmacs_detecting: float
    params: int


class Shown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An architecture and its costs: `gmacs` at 224x224, `gmacs_detecting` at 800x1333, with what papers print of it.

    code: the authors' notation, where it can say this architecture.
    convolutions: of a block: (kernel, channels per unit of width, groups, whether it takes the stride).
    """

    name: str = ""
    arch: str
    code: str = ""
    id: str
    blocks: int
    gmacs: float
    gmacs_detecting: float
    params: int
    stem: str
    convolutions: tuple[tuple[int, int, int, bool], ...]
    stages: tuple[Stage, ...]
    paper: str = ""
    printed_gmacs: float | None = None
    printed_top1_error: float | None = None
    off_percent: float | None = None
    flagged: bool = False
    detections: tuple[Detection, ...] = ()
    remark: str = ""


def show(arch: str) -> Shown:
    """Look at a published name, a notation or a code. Raises: UsageError when it is none of them."""
    parsed = arch_of(arch)
    small, large = cost(parsed, *CLASSIFIED), cost(parsed, *DETECTED)
    name = next((name for name, known in PUBLISHED.items() if known.arch == parsed), "")
    shown = Shown(
        name=name,
        arch=parsed.text,
        code=_code(parsed),
        id=parsed.id,
        blocks=parsed.block_count,
        gmacs=round(small.gmacs, 3),
        gmacs_detecting=round(large.gmacs, 3),
        params=small.params,
        stem=parsed.stem,
        convolutions=tuple(convolutions(parsed.block)),
        stages=tuple(
            Stage(
                level=f"p{number + 2}",
                stride=4 * 2**number,
                output=(-(-CLASSIFIED[0] // (4 * 2**number)), -(-CLASSIFIED[1] // (4 * 2**number))),
                channels=channels,
                runs=tuple((width, len(list(run))) for width, run in itertools.groupby(widths)),
                copies=parsed.copies[number] if parsed.copies else 0,
                gmacs=round(small.stage_macs[number] / 1e9, 3),
                gmacs_detecting=round(large.stage_macs[number] / 1e9, 3),
                params=small.stage_params[number],
            )
            for number, (widths, channels) in enumerate(zip(parsed.stages, stage_channels(parsed), strict=True))
        ),
    )
    if not name:
        return shown
    known = PUBLISHED[name]
    return msgspec.structs.replace(
        shown,
        paper=known.paper,
        printed_gmacs=known.printed_gmacs,
        printed_top1_error=known.printed_top1_error,
        off_percent=off_percent(small.gmacs, known.printed_gmacs),
        flagged=known.misprint,
        detections=known.detections,
        remark=known.remark,
    )


def _code(arch: Arch) -> str:
    try:
        return to_code(arch)
    except UsageError:
        return ""


def describe(shown: Shown) -> list[str]:
    """Return the table, a drawing of a mark per block, and what was printed elsewhere."""
    head = f"{shown.name}: {shown.arch}" if shown.name else shown.arch
    lines = [head, *([f"code {shown.code}"] if shown.code else []), "", *_table(shown), "", *_drawing(shown), ""]
    return [*lines, *_printed(shown)]


def _table(shown: Shown) -> list[str]:
    table = Table(show_lines=True)
    for title in ("stage", "output", "blocks", "copies", "GMAC 224x224", "GMAC 800x1333", "params"):
        table.add_column(title, justify="left" if title in ("stage", "blocks") else "right")
    height, width = shown.stages[0].output
    stem = "7x7 conv, 3x3 max-pool" if shown.stem == "pool" else "3x3 conv, 3x3 conv"
    table.add_row("stem", f"{2 * height}x{2 * width}", f"{stem}, stride 4", "", "", "", "")
    for stage in shown.stages:
        table.add_row(
            f"{stage.level} /{stage.stride}",
            f"{stage.output[0]}x{stage.output[1]}",
            "\n".join(_bracket(shown, width, count) for width, count in stage.runs),
            str(stage.copies or ""),
            f"{stage.gmacs:.2f}",
            f"{stage.gmacs_detecting:.1f}",
            f"{stage.params / 1e6:.2f} M",
        )
    table.add_row("all", "", f"{shown.blocks} blocks", "", f"{shown.gmacs:.2f}", f"{shown.gmacs_detecting:.1f}",
                  f"{shown.params / 1e6:.2f} M")  # fmt: skip
    paper = io.StringIO()
    Console(file=paper, width=TABLE_WIDTH, color_system=None, legacy_windows=False).print(table)
    return [line.rstrip() for line in paper.getvalue().splitlines()]


def _bracket(shown: Shown, width: int, count: int) -> str:
    """Write one kind of block over several lines, as the paper does: its convolutions in brackets, times how many."""
    rows = [
        f"{kernel}x{kernel}, {ratio * width}" + (f", {groups} groups" if groups > 1 else "")
        for kernel, ratio, groups, _ in shown.convolutions
    ]
    longest = max(map(len, rows))
    marks = ["⎡⎤", *["⎢⎥"] * (len(rows) - 2), "⎣⎦"] if len(rows) > 1 else ["[]"]
    drawn = [f"{mark[0]}{row:{longest}}{mark[1]}" for mark, row in zip(marks, rows, strict=True)]
    drawn[len(drawn) // 2] += f" x{count}"
    return "\n".join(drawn)


def _drawing(shown: Shown) -> list[str]:
    lines = []
    for stage in shown.stages:
        row = " ".join(f"{width} {'■' * count}" for width, count in stage.runs)
        copies = f"   + {stage.copies} cop{'y' if stage.copies == 1 else 'ies'}" if stage.copies else ""
        lines.append(f"{stage.level} {'/' + str(stage.stride):>4}  {row}{copies}")
    return lines


def _printed(shown: Shown) -> list[str]:
    lines = []
    if shown.printed_gmacs is not None:
        fits = "does not fit" if shown.flagged else f"{shown.off_percent:+.1f} %"
        lines.append(f"{shown.paper} prints {shown.printed_gmacs} GMAC at 224x224; counted {shown.gmacs:.2f} ({fits})")
    if shown.printed_top1_error is not None:
        lines.append(f"ImageNet top-1 error as printed: {shown.printed_top1_error} %")
    for row in shown.detections:
        facts = {"AP": row.ap, "AP50": row.ap50, "AP small": row.ap_small, "LAMR": row.lamr, "fps": row.fps}
        words = ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)
        lines.append(f"{row.data.upper()} with {row.detector} as printed: {words}")
    return [*lines, *([f"note: {shown.remark}"] if shown.remark else [])]
