"""A training from end to end: what it starts from, how long it takes, what it leaves, and what it says."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from spnas import tasks
from spnas.arch import parse
from spnas.assess import Recipe
from spnas.cli import main
from spnas.data.batches import Pictures, Resize, train_batch
from spnas.data.choice import DataChoice
from spnas.data.records import IGNORED, DataSet
from spnas.errors import StudyInUseError, UsageError
from spnas.models import create_model
from spnas.nets.memory import activation_mib
from spnas.runs.folder import RunFolder
from spnas.talk import Talk
from spnas.tasks.resume import begin_or_go_on
from spnas.tasks.start import start_of
from spnas.tasks.train import TrainResult, _agree, describe
from spnas.tasks.train_run import TrainRun, settle
from spnas.train.fit import free_mib, parts_by_counting
from spnas.train.log import read_log
from spnas.train.options import TrainOptions, options_of
from spnas.train.options_file import read_options
from spnas.train.ranks import ALONE, Ranks
from spnas.train.weights import load_model

ARCH = "basic: 8x1 / 16x1 / 32x1 / 64x1"
CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
QUICK = TrainOptions(image_size=64, batch_size=4, steps=2, threads=1)


@pytest.fixture(scope="module")
def first(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return tasks.train(ARCH, data=tiny_folder, out=tmp_path_factory.mktemp("train") / "first", options=QUICK)


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    return load_file(Path(result.model) / "model.safetensors")


def settings_of(result: TrainResult) -> TrainRun:
    study = json.loads((Path(result.folder) / "study.json").read_text())
    return msgspec.convert(study["settings"], TrainRun)


def test_a_training_leaves_a_model_a_log_and_the_time_of_all_its_sittings(
    first: TrainResult, tiny_folder: Path
) -> None:
    assert first.steps == 2
    assert {p.name for p in Path(first.folder).iterdir() if p.is_file()} >= {"metrics.csv", "metrics.jsonl"}
    assert read_log(Path(first.folder))[-1].val == first.metrics
    again = tasks.train(ARCH, data=tiny_folder, out=first.folder, options=QUICK)
    assert again == first


def test_seconds_are_those_of_all_sittings(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = {"now": 0.0}
    monkeypatch.setattr("spnas.train.log.time.monotonic", lambda: ticks["now"])

    def batch(*args: object, step: int, **more: object) -> object:
        ticks["now"] += 100.0
        if step == 1 and not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            raise KeyboardInterrupt
        return train_batch(*args, step=step, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(sys.modules["spnas.tasks.train"], "train_batch", batch)
    with pytest.raises(KeyboardInterrupt):
        tasks.train(ARCH, data=tiny_folder, out=tmp_path / "run", options=QUICK)
    ticks["now"] = 5000.0
    done = tasks.train(ARCH, data=tiny_folder, out=tmp_path / "run", options=QUICK)
    assert done.seconds == pytest.approx(300.0)  # two steps, of which the second was lost, and that again


def test_all_weights_are_taken_where_the_classes_agree(first: TrainResult, tiny_folder: Path, tmp_path: Path) -> None:
    """A rate of nearly nothing leaves what it began with, but for BN's statistics, which stand still here."""
    still = msgspec.structs.replace(QUICK, rate=1e-12, norm="frozen", start=first.model)
    after = weights(tasks.train(ARCH, data=tiny_folder, out=tmp_path / "run", options=still))
    for name, value in weights(first).items():
        assert torch.allclose(after[name], value, atol=1e-6), name


def test_the_backbone_alone_is_taken_for_another_detector_head(
    first: TrainResult, tiny_folder: Path, tmp_path: Path
) -> None:
    known = json.loads(next(tiny_folder.rglob("*train*.json")).read_text())
    assert len(known["categories"]) == 3
    detector, config = load_model(Path(first.model))
    from spnas.train.weights import write_bundle

    other = msgspec.structs.replace(config, classes=("a", "b", "c"))
    (tmp_path / "other").mkdir()
    write_bundle(tmp_path / "other", detector, other)
    still = msgspec.structs.replace(QUICK, rate=1e-12, norm="frozen", start=str(tmp_path / "other"))
    after = weights(tasks.train(ARCH, data=tiny_folder, out=tmp_path / "run", options=still))
    before = weights(first)
    same = {name.split(".")[0] for name, value in before.items() if not torch.allclose(after[name], value, atol=1e-6)}
    assert "backbone" not in same
    assert {"neck", "head"} <= same


def test_the_folder_of_a_run_is_a_start_as_its_model_is(first: TrainResult, tmp_path: Path) -> None:
    assert start_of(first.folder) == start_of(first.model)
    (tmp_path / "begun").mkdir()
    begun = RunFolder(tmp_path / "begun")
    begun.begin(b"{}")
    with pytest.raises(UsageError, match="begun: a study that has no best model yet"):
        start_of(str(begun.root))


def test_foreign_weights_and_those_of_another_net_are_starts_too(tiny_folder: Path, tmp_path: Path) -> None:
    theirs = create_model("basic: 64x2 / 128x2 / 256x2 / 512x2")
    names = {}
    for name, value in theirs.backbone.state_dict().items():
        names[name] = value.contiguous()
    save_file(names, tmp_path / "resnet18.safetensors")
    options = msgspec.structs.replace(QUICK, rate=1e-12, norm="frozen", start=str(tmp_path / "resnet18.safetensors"))
    done = tasks.train("resnet18", data=tiny_folder, out=tmp_path / "run", options=options)
    after = weights(done)
    for name, value in names.items():
        assert torch.allclose(after[f"backbone.{name}"], value, atol=1e-6), name
    deeper = msgspec.structs.replace(options, start=done.model)
    with pytest.raises(UsageError, match="--norm frozen: 1 of 9 blocks begin as the identity"):
        tasks.train("basic: 64x3 / 128x2 / 256x2 / 512x2", data=tiny_folder, out=tmp_path / "still", options=deeper)
    deeper = msgspec.structs.replace(deeper, norm="batch")
    grown = tasks.train("basic: 64x3 / 128x2 / 256x2 / 512x2", data=tiny_folder, out=tmp_path / "deep", options=deeper)
    assert torch.allclose(weights(grown)["backbone.stem.0.weight"], after["backbone.stem.0.weight"], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": 2}, "--steps and --epochs all say how long"),
        ({"start": "nowhere"}, "--from nowhere: no such model"),
        ({"detector": "faster_rcn"}, "did you mean 'faster_rcnn'"),
        ({"best_by": "map", "evaluate_epochs": 1}, "--best-by map: no such metric; did you mean 'ap'"),
        (
            {"best_by": "ap_large", "evaluate_epochs": 1},
            r"--best-by ap_large: val \(12 pictures\) has no object to measure it on; choose ap",
        ),
        ({"sides": (48, 640)}, "--sides 640: give lengths from 32 to 64 px"),
        ({"batch_size": "auto", "accumulate": 2}, "--batch-size auto finds --accumulate by itself"),
        ({"drops": (0.2, 0.4)}, "--drops has no effect with --schedule onecycle; leave it out, or choose"),
        ({"drops": (0.2, 0.4), "schedule": "cosine"}, "--drops has no effect with --schedule cosine"),
        ({"warmup": 5}, "--warmup has no effect with --schedule onecycle"),
        ({"momentum": 0.1}, "--momentum has no effect with --optimizer adamw"),
        ({"clip": float("inf")}, "--clip inf: expected a finite number"),
        ({"batch_size": 0}, "--batch-size 0: expected `int` >= 1"),
        ({"image_size": 32, "batch_size": 1}, "--batch-size 1 in 1 parts: one picture of 32 px ends as one pixel"),
        ({"sides": (32, 64), "accumulate": 4}, "--batch-size 4 in 4 parts: one picture of 32 px"),
        ({"precision": "fp16"}, "--precision fp16 needs a GPU"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    tiny_folder: Path, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        tasks.train(ARCH, data=tiny_folder, out=tmp_path / "x", options=msgspec.structs.replace(QUICK, **changes))
    assert not (tmp_path / "x" / "study.json").exists()


@pytest.mark.parametrize("changes", [{"best_by": "ap"}, {"patience": 2}])
def test_what_goes_by_ap_needs_something_to_be_found_on_val(tiny: DataSet, changes: dict[str, object]) -> None:
    data = msgspec.structs.replace(tiny, val=msgspec.structs.replace(tiny.val, flags=tiny.val.flags | IGNORED))
    options = msgspec.structs.replace(QUICK, evaluate_epochs=1, **changes)
    where = {"arch": parse(ARCH), "choice": DataChoice(), "ranks": ALONE, "talk": Talk(quiet=True)}
    settle(options, None, data=tiny, **where)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r" ap: val \(12 pictures\) has no object .*; give a val with objects"):
        settle(options, None, data=data, **where)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("--data", {"data": "d\udce9"}),
        ("--val", {"data": DataChoice(path="d", val="v\udce9")}),
        ("--from", {"data": "d", "start": "m\udce9"}),
        ("--out", {"data": "d", "out": "o\udce9"}),
    ],
)
def test_a_path_that_is_no_text_is_refused_before_the_data_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, given: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"{option} .*\udce9: is not valid UTF-8; rename it"):
        tasks.train(ARCH, **given)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_settings_with_a_path_that_is_no_text_begin_nothing(tiny: DataSet, tmp_path: Path) -> None:
    where = {"arch": parse(ARCH), "data": tiny, "ranks": ALONE, "talk": Talk(quiet=True)}
    run = settle(QUICK, None, choice=DataChoice(path="d\udce9"), **where)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--data d\udce9: is not valid UTF-8"):
        begin_or_go_on(RunFolder(tmp_path / "run"), run, None)
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_told_to_the_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bytes | None] = []
    monkeypatch.setattr(sys.modules["spnas.tasks.train"], "tell", lambda words, _: told.append(words))
    folder = RunFolder(tmp_path / "run")
    with folder.lock(), pytest.raises(StudyInUseError, match="is writing to this study"), ExitStack() as kept:
        _agree(folder, lambda _: pytest.fail("nothing is to be settled"), Ranks(0, 2), kept)
    assert told == [None]


def test_options_can_be_given_by_name_and_unknown_ones_are_named(tiny_folder: Path, tmp_path: Path) -> None:
    done = tasks.train(ARCH, data=tiny_folder, out=tmp_path / "x", options=QUICK, steps=1, start=None)
    assert done.steps == 1
    with pytest.raises(UsageError, match="no option 'stepz'; did you mean 'steps'"):
        tasks.train(ARCH, data=tiny_folder, stepz=1)


def test_epochs_and_hours_become_steps_and_hours_stay_what_they_were(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_epochs = msgspec.structs.replace(QUICK, steps=None, epochs=1)
    assert tasks.train(ARCH, data=tiny_folder, out=tmp_path / "a", options=by_epochs).steps == 6
    by_hours = msgspec.structs.replace(QUICK, steps=None, hours=0.001)
    monkeypatch.setattr("spnas.tasks.train_run.seconds_per_step", lambda *_, **__: 0.9)
    assert tasks.train(ARCH, data=tiny_folder, out=tmp_path / "b", options=by_hours).steps == 3
    monkeypatch.setattr("spnas.tasks.train_run.seconds_per_step", lambda *_, **__: 0.1)
    assert tasks.train(ARCH, data=tiny_folder, out=tmp_path / "b", options=by_hours).steps == 3
    with pytest.raises(UsageError, match=r"begun with other settings \(hours is 0\.001, not 5\.0\)"):
        tasks.train(ARCH, data=tiny_folder, out=tmp_path / "b", options=by_hours, hours=5.0)
    with pytest.raises(UsageError, match=r"begun with other settings \(hours is None, not 5\.0\)"):
        tasks.train(ARCH, data=tiny_folder, out=tmp_path / "a", options=by_hours, hours=5.0)


def test_a_training_that_kept_no_hours_goes_on(tiny: DataSet) -> None:
    where = {"arch": parse(ARCH), "choice": DataChoice(), "data": tiny, "ranks": ALONE, "talk": Talk(quiet=True)}
    begun = settle(QUICK, None, **where)  # type: ignore[arg-type]
    old = msgspec.json.decode(msgspec.json.encode(begun).replace(b',"hours":null', b""), type=TrainRun)
    by_hours = msgspec.structs.replace(QUICK, steps=None, hours=5.0)
    assert settle(by_hours, old, **where) == settle(QUICK, old, **where) == old  # type: ignore[arg-type]


def test_automatic_batches_are_taken_in_as_few_parts_as_memory_holds(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch, size = parse(ARCH), (64, 64)
    each = activation_mib(arch, *size)
    parts = [parts_by_counting(arch, 0, size=size, rows=12, available_mib=n * each) for n in (0.1, 4, 8, 20, 1e6)]
    assert parts == sorted(parts, reverse=True)
    assert (parts[0], parts[-1]) == (12, 1)
    assert set(parts) <= {1, 2, 3, 4, 6, 12}
    assert free_mib() > 0
    monkeypatch.setattr("spnas.train.fit.free_mib", lambda: 1.0)
    auto = msgspec.structs.replace(QUICK, batch_size="auto", steps=1)
    done = tasks.train(ARCH, data=tiny_folder, out=tmp_path / "auto", options=auto)
    settings = settings_of(done).recipe.train_settings
    assert settings.batch_size == 8
    assert settings.accumulate == 8
    monkeypatch.setattr("spnas.train.fit.free_mib", lambda: 1e6)  # what was found when it began stays
    assert tasks.train(ARCH, data=tiny_folder, out=tmp_path / "auto", options=auto) == done


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_file_there_is_says_nothing_in_vain(tiny: DataSet, path: Path) -> None:
    options = msgspec.structs.replace(options_of(read_options(path)[0]), image_size=64)
    settle(options, None, arch=parse(ARCH), choice=DataChoice(), data=tiny, ranks=ALONE, talk=Talk(quiet=True))


def test_automatic_batches_of_more_processes_than_pictures_are_refused(tiny: DataSet) -> None:
    auto = msgspec.structs.replace(QUICK, batch_size="auto")
    where = {"arch": parse(ARCH), "choice": DataChoice(), "data": tiny, "talk": Talk(quiet=True)}
    with pytest.raises(UsageError, match="--batch-size 8 cannot be taken in 1 parts by each of 9 processes"):
        settle(auto, None, ranks=Ranks(0, 9), **where)  # type: ignore[arg-type]


def test_a_training_that_learned_nothing_says_why(first: TrainResult) -> None:
    assert first.metrics["ap"] < 0.01
    assert any("2 steps" in cause for cause in first.causes)
    assert any(line.startswith("almost nothing was learned: 2 steps") for line in describe(first))


def test_sides_are_drawn_step_by_step_with_one_size_for_a_batch(tiny: DataSet) -> None:
    def seen(rule: Resize, sides: tuple[int, ...], seed: int = 0) -> list[int]:
        pictures = Pictures(tiny.train, rule)
        batches = [train_batch(pictures, batch_size=2, step=s, seed=seed, sides=sides, augment=None) for s in range(24)]
        assert all(len(set(batch.sizes.flatten().tolist())) == 1 for batch in batches)
        assert all((batch.scale == batch.sizes[0, 0] / 64).all() for batch in batches)
        return [int(batch.sizes[0, 0]) for batch in batches]

    for rule in (Resize(None, 64), Resize(64, 100)):
        drawn = seen(rule, (40, 48, 64))
        assert set(drawn) == {40, 48, 64}
        assert drawn == seen(rule, (40, 48, 64)) != seen(rule, (40, 48, 64), seed=1)
        assert seen(rule, ()) == [64] * 24


def test_parts_of_a_batch_are_its_rows(tiny: DataSet) -> None:
    pictures = Pictures(tiny.train, Resize(None, 64))
    whole = train_batch(pictures, batch_size=6, step=3, seed=0)
    parts = [train_batch(pictures, batch_size=6, step=3, seed=0, part=(i, 3)) for i in range(3)]
    assert torch.equal(torch.cat([p.images for p in parts]), whole.images)
    assert torch.equal(torch.cat([p.index for p in parts]), whole.index)


def test_the_command_reads_a_file_and_flags_go_before_it(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "quick.yaml"
    config.write_text("image_size: 64\nbatch_size: 4\nsteps: 50\nrate: 1e-3\nnorm: frozen\nthreads: 1\n")
    words = ["train", ARCH, "--data", str(tiny_folder), "--out", str(tmp_path / "run"), "--config", str(config)]
    monkeypatch.setattr("sys.argv", ["spnas", *words, "--steps", "1", "--no-augment", "--json", "--quiet"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 1
    recipe: Recipe = settings_of(
        tasks.train(
            ARCH,
            data=tiny_folder,
            out=tmp_path / "run",
            options=msgspec.structs.replace(QUICK, steps=1, rate=1e-3, norm="frozen", augment=False),
        )
    ).recipe
    assert (recipe.train_settings.rate, recipe.train_settings.norm) == (1e-3, "frozen")
    config.write_text("image_size: 64\nstep: 50\n")
    monkeypatch.setattr("sys.argv", ["spnas", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "quick.yaml:2: there is no option 'step'; did you mean 'steps'" in capsys.readouterr().err
