"""The command `spnas`: argv -> one function of `spnas.tasks`.

stdout carries results (JSON with --json), stderr carries talk. Exit codes: 0 done, 1 a bug of ours, 2 bad input or
usage, 3 study in use, 4 out of disk or memory, 5 integrity, 6 budget reached with partial results, 130 and 143
signals (the same command goes on).
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from spnas.errors import (
    EXIT_BUDGET,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    USER_FAULTS,
    UsageError,
    escape,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Search a detection backbone for your own data and budget, and learn honestly whether it paid.",
)
ledger = typer.Typer(no_args_is_help=True, help="Look into the record of a study.")
app.add_typer(ledger, name="ledger")
export = typer.Typer(no_args_is_help=True, help="Take a net out of here, in a form that others read.")
app.add_typer(export, name="export")

Data = Annotated[Path | None, typer.Option("--data", help="Folder or annotation file; generated shapes if not given.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the study; runs/NAME if not given.")]
ImageSize = Annotated[int | None, typer.Option("--image-size", help="Longer side of the network's input, in pixels.")]
Preset = Annotated[str | None, typer.Option("--preset", help="small (CPUs, small pictures) or standard (800x1333).")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Pictures a step.")]
Seed = Annotated[int, typer.Option("--seed", help="Everything random hangs on it.")]
Format = Annotated[str | None, typer.Option("--format", help="Data format; recognised if not given.")]
Train = Annotated[str | None, typer.Option("--train", help="Name of the split to learn from.")]
Val = Annotated[str | None, typer.Option("--val", help="Name of the split to judge on.")]
MaxBad = Annotated[float, typer.Option("--max-bad", min=0, max=1, help="Share of records that may be quarantined.")]
Outside = Annotated[
    Path | None, typer.Option("--allow-outside", help="Another folder in which pictures may lie, by whatever name.")
]
Overlap = Annotated[bool, typer.Option("--allow-overlap", help="Let train and val share pictures.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing on stderr but errors.")]


@app.command()
def search(
    data: Data = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="6GMAC, 2.5Mparams, 12ms or 300MiB for a picture at the input size."),
    ] = None,
    hours: Annotated[float | None, typer.Option("--hours", min=0, help="How long the whole may take.")] = None,
    candidates: Annotated[int | None, typer.Option("--candidates", min=1, help="How many nets to try.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps of a full training; by --hours if not given.")
    ] = None,
    root: Annotated[str | None, typer.Option("--root", help="Architecture to start from.")] = None,
    out: Out = None,
    image_size: ImageSize = None,
    preset: Preset = None,
    batch_size: BatchSize = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Seeds of the finals.")] = None,
    seed: Seed = 0,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one per core by default.")] = None,
    executor: Annotated[str, typer.Option("--executor", help="inline or process.")] = "process",
    format: Format = None,
    train: Train = None,
    val: Val = None,
    max_bad: MaxBad = 0.01,
    allow_outside: Outside = None,
    allow_overlap: Overlap = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search a backbone; run the same command again to go on after an interruption."""
    from spnas import tasks
    from spnas.tasks.search import describe

    result = tasks.search(
        data,
        budget=budget,
        hours=hours,
        candidates=candidates,
        steps=steps,
        root=root,
        out=out,
        image_size=image_size,
        preset=preset,
        batch_size=batch_size,
        seeds=seeds,
        seed=seed,
        workers=workers,
        executor=executor,
        format=format,
        train=train,
        val=val,
        max_bad=max_bad,
        allow_outside=allow_outside,
        allow_overlap=allow_overlap,
        talk=_talk(quiet),
    )
    _print(result, describe, json=json)
    if result.verdict is None:
        raise typer.Exit(EXIT_BUDGET)


@app.command()
def train(
    arch: Annotated[str, typer.Argument(help="A published name, a notation or a code; see 'spnas list archs'.")],
    data: Data = None,
    out: Out = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="36 epochs if not given.")] = None,
    image_size: ImageSize = None,
    preset: Preset = None,
    batch_size: BatchSize = None,
    detector: Annotated[str, typer.Option("--detector", help="See 'spnas list detectors'.")] = "faster_rcnn",
    seed: Seed = 0,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="torch's threads; its default if not given.")
    ] = None,
    format: Format = None,
    train: Train = None,
    val: Val = None,
    max_bad: MaxBad = 0.01,
    allow_outside: Outside = None,
    allow_overlap: Overlap = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a detector around one backbone, from scratch."""
    from spnas import tasks
    from spnas.tasks.train import describe

    result = tasks.train(
        arch,
        data=data,
        out=out,
        steps=steps,
        image_size=image_size,
        preset=preset,
        batch_size=batch_size,
        detector=detector,
        seed=seed,
        thread_count=threads,
        format=format,
        train=train,
        val=val,
        max_bad=max_bad,
        allow_outside=allow_outside,
        allow_overlap=allow_overlap,
        talk=_talk(quiet),
    )
    _print(result, describe, json=json)


@app.command()
def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            help="A folder such as runs/NAME/best, a .safetensors file of ours, or detections made elsewhere: "
            "COCO results or BDD100K frames (.json), or a folder of EuroCity Persons files."
        ),
    ],
    data: Data = None,
    metric: Annotated[str, typer.Option("--metric", help="Names from 'spnas list metrics', comma between.")] = "coco",
    results: Annotated[Path | None, typer.Option("--results", help="Write detections there, as COCO results.")] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Whether pictures are there; detections can do without.")
    ] = True,
    format: Format = None,
    train: Train = None,
    val: Val = None,
    max_bad: MaxBad = 0.01,
    allow_outside: Outside = None,
    allow_overlap: Overlap = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a model, or detections made elsewhere, on the val pictures of a data set."""
    from spnas import tasks
    from spnas.tasks.evaluate import describe

    result = tasks.evaluate(
        model,
        data=data,
        metric=tuple(name.strip() for name in metric.split(",")),
        results=results,
        pictures=pictures,
        format=format,
        train=train,
        val=val,
        max_bad=max_bad,
        allow_outside=allow_outside,
        allow_overlap=allow_overlap,
        talk=_talk(quiet),
    )
    _print(result, describe, json=json)


@app.command()
def predict(
    model: Annotated[Path, typer.Option("--model", help="A folder such as runs/NAME/best.")],
    images: Annotated[list[Path] | None, typer.Argument(help="Picture files, or folders of them.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Look at the val pictures of this data set.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for drawn pictures and results.json.")] = Path(
        "predictions"
    ),
    score: Annotated[float, typer.Option("--score", min=0, max=1, help="Draw detections from this score on.")] = 0.5,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find objects in pictures: drawn pictures, and COCO results with the original ids."""
    from spnas import tasks
    from spnas.tasks.predict import describe

    result = tasks.predict(images or [], model=model, data=data, out=out, score=score, talk=_talk(quiet))
    _print(result, describe, json=json)


@app.command()
def doctor(
    data: Annotated[Path | None, typer.Argument(help="Folder or annotation file.")] = None,
    format: Format = None,
    train: Train = None,
    val: Val = None,
    max_bad: MaxBad = 0.01,
    allow_outside: Outside = None,
    allow_overlap: Overlap = False,
    decode: Annotated[bool, typer.Option(help="Decode every picture whole.")] = True,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page about the data there.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Examine a data set: what is in it, and what is wrong with it. Exits with 2 if training would stop at it."""
    from spnas import tasks
    from spnas.tasks.doctor import describe

    diagnosis = tasks.doctor(
        data,
        format=format,
        train=train,
        val=val,
        max_bad=max_bad,
        allow_outside=allow_outside,
        allow_overlap=allow_overlap,
        decode=decode,
        html=html,
        talk=_talk(quiet),
    )
    _print(diagnosis, describe, json=json)
    if diagnosis.refused:
        raise typer.Exit(UsageError.exit_code)


@app.command(name="list")
def list_(
    kind: Annotated[
        str, typer.Argument(help="archs, blocks, detectors, formats, metrics, presets, executors")
    ] = "archs",
    json: Json = False,
) -> None:
    """List what can be named on the command line."""
    from typing import get_args

    from spnas import tasks
    from spnas.shelf import nearest
    from spnas.tasks.catalogue import Kind, describe

    kinds = list(get_args(Kind))
    if kind not in kinds:
        raise UsageError(f"nothing of kind {kind!r} can be listed; {nearest(kind, kinds)}")
    _print(tasks.catalogue(kind), describe, json=json)  # type: ignore[arg-type]  # checked above


@app.command()
def show(
    arch: Annotated[str, typer.Argument(help="A published name, a notation or a code; see 'spnas list archs'.")],
    json: Json = False,
) -> None:
    """Show an architecture stage by stage: its blocks, what they cost, and what papers print of it."""
    from spnas import tasks
    from spnas.tasks.show import describe

    _print(tasks.show(arch), describe, json=json)


@export.command()
def backbone(
    source: Annotated[str, typer.Argument(help="A model's folder or file, or an architecture.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the module and its weights.")],
    json: Json = False,
) -> None:
    """Write a backbone as one Python file that needs torch only, and a safetensors file; both are checked first."""
    from spnas import tasks
    from spnas.tasks.export import describe

    _print(tasks.export_backbone(source, out=out), describe, json=json)


@ledger.command()
def dump(run: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Print the canonical record of a study: the same for the same settings, data and seed, whatever happened."""
    from spnas.runs.folder import RunFolder

    folder = RunFolder(run)
    if not folder.begun:
        raise UsageError(f"{run}: no study there; give the folder that 'spnas search' named")
    with folder.open_ledger(read_only=True) as opened:
        sys.stdout.write(opened.dump())


def _talk(quiet: bool) -> Any:
    from spnas.talk import Talk

    return Talk(quiet=quiet)


def _print(result: Any, describe: Callable[[Any], list[str]], *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(result), indent=2).decode() + "\n")
    else:
        for line in describe(result):
            sys.stdout.write(escape(line) + "\n")


class Terminated(BaseException):
    """SIGTERM came in; nothing but `main` catches it, so that no work takes it for a failure of its own."""


def _terminate(_signal: int, _frame: object) -> NoReturn:
    raise Terminated


_STOPPED = {EXIT_INTERRUPTED: "interrupted", EXIT_TERMINATED: "terminated"}


def main() -> NoReturn:
    """Run the command, and turn every fault into its exit code and one line."""
    signal.signal(signal.SIGTERM, _terminate)
    code = 0
    try:
        code = app(standalone_mode=False) or 0
    except typer.Exit as done:
        code = done.exit_code
    except USER_FAULTS as fault:
        code = fault.exit_code
        _say(f"spnas: error: {' '.join(str(fault).split())}")
    except MemoryError:
        code = 4
        _say("spnas: error: out of memory; give fewer --workers, a smaller --batch-size or --image-size")
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Terminated:
        code = EXIT_TERMINATED
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as fault:
        if not hasattr(fault, "format_message"):  # click's own usage errors have it
            raise
        code = 2
        _say(f"spnas: error: {' '.join(fault.format_message().split())}; see spnas --help")
    if code in _STOPPED:
        _say(f"spnas: {_STOPPED[code]}; run the same command again to go on where it was")
        sys.stdout.flush()
        os._exit(code)  # all is on disk and no worker is left; taking libraries down would only keep the user waiting
    sys.exit(code)


def _say(line: str) -> None:
    sys.stderr.write(escape(line) + "\n")
