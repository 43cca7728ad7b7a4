"""`spnas search`."""

from pathlib import Path
from typing import Annotated

import typer

from spnas.cli.options import BatchSize, Detector, ImageSize, Json, Quiet, RecipeName, Seed, print_result, talk
from spnas.data.choice import DataChoice
from spnas.errors import EXIT_BUDGET

Hours = Annotated[float | None, typer.Option("--hours", min=0, help="How long all may take; 1 without --steps.")]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="6GMAC, 2.5Mparams, 12ms or 300MiB for a picture at the input size; twice the root's GMACs if not given.",
    ),
]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Steps of a full training; by --hours if not given.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Trainings at once; if not given, 1 with a GPU, else one a core.")
]


def search(
    data: DataChoice,
    budget: Budget = None,
    hours: Hours = None,
    candidates: Annotated[
        int | None, typer.Option("--candidates", min=1, help="How many nets to try in the serial phase.")
    ] = None,
    copies: Annotated[
        int | None, typer.Option("--copies", min=1, help="How many nets with copies to try in the parallel phase.")
    ] = None,
    steps: Steps = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Seeds of the finals.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="plus, paper or vega-v1; see 'spnas list presets'.")] = "plus",
    without: Annotated[
        str, typer.Option("--without", help="Parts of the preset to leave out, comma between; see 'spnas list parts'.")
    ] = "",
    phases: Annotated[
        str | None, typer.Option("--phases", help="serial, reignite, parallel, final; all but reignite if not given.")
    ] = None,
    objective: Annotated[
        str, typer.Option("--objective", help="ap, ap50, ap_small, lamr, loss, ...; see 'spnas list objectives'.")
    ] = "ap",
    against: Annotated[
        str | None, typer.Option("--against", help="gmacs, params, ms or mib; what --budget bounds if not given.")
    ] = None,
    root: Annotated[str | None, typer.Option("--root", help="Architecture to start from.")] = None,
    start: Annotated[
        Path | None,
        typer.Option("--start", help="Trained model, finished study, or ImageNet weights of --root to start from."),
    ] = None,
    reignite_data: Annotated[
        Path | None,
        typer.Option(
            "--reignite-data",
            help="Folder with a folder per class to re-ignite on; crops of your own objects if not given.",
        ),
    ] = None,
    reignite_steps: Annotated[
        int | None, typer.Option("--reignite-steps", min=1, help="Steps of a re-ignition.")
    ] = None,
    stuck: Annotated[
        int | None, typer.Option("--stuck", min=1, help="Re-ignite after so many candidates without growth.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the study; runs/DATA if not given.")] = None,
    image_size: ImageSize = None,
    recipe: RecipeName = None,
    detector: Detector = "faster_rcnn",
    batch_size: BatchSize = None,
    seed: Seed = 0,
    lag: Annotated[
        int, typer.Option("--lag", min=1, help="Candidates whose outcomes the next one does not wait for.")
    ] = 4,
    workers: Workers = None,
    executor: Annotated[str, typer.Option("--executor", help="inline, process or ray.")] = "process",
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="A running Ray; one of this machine's own if not given.")
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-worker",
            min=0,
            help="GPUs of each worker: 1, 2, ... or a share such as 0.5; give --workers too.",
        ),
    ] = None,
    memory_limit: Annotated[
        int | None, typer.Option("--memory-limit", min=1, help="MiB that a training may hold; beyond, it is ended.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", min=1, help="Seconds that a training may take; beyond, it is ended.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search a backbone; run the same command again to go on after an interruption."""
    from spnas import tasks
    from spnas.config import Wishes
    from spnas.tasks.phases import crew_of
    from spnas.tasks.search import describe

    result = tasks.search(
        data,
        out=out,
        budget=budget,
        wishes=Wishes(
            hours=hours,
            candidates=candidates,
            copies=copies,
            steps=steps,
            ignite_steps=reignite_steps,
            seeds=seeds,
            stuck=stuck,
        ),
        preset=preset,
        without=split(without),
        phases=split(phases) if phases is not None else None,
        objective=objective,
        against=against,
        root=root,
        start=start,
        reignite_data=reignite_data,
        image_size=image_size,
        recipe=recipe,
        detector=detector,
        batch_size=batch_size,
        seed=seed,
        lag=lag,
        crew=crew_of(
            executor=executor,
            workers=workers,
            address=ray_address,
            gpus_per_worker=gpus_per_worker,
            mib_limit=memory_limit,
            seconds_limit=time_limit,
        ),
        talk=talk(quiet),
    )
    print_result(result, describe, json=json)
    if not result.complete:
        raise typer.Exit(EXIT_BUDGET)


def split(names: str) -> tuple[str, ...]:
    """Read names with commas between."""
    return tuple(name.strip() for name in names.split(",") if name.strip())
