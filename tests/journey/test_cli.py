"""The command, as people run it: processes, exit codes, what goes to stdout and what to stderr."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spnas.cli import main

SMALL = [
    "--root",
    "basic: 8x1 / 16x1 / 32x1 / 64x1",
    "--image-size",
    "64",
    "--batch-size",
    "4",
    "--steps",
    "16",
    "--seeds",
    "2",
]


def spnas(*words: str | Path, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from spnas.cli import main; main()", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


def search_words(data: Path, out: Path, *more: str) -> list[str]:
    return ["search", "--data", str(data), "--out", str(out), "--candidates", "3", *SMALL, *more]


@pytest.fixture(scope="module")
def study(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A whole search on a few pictures."""
    place = tmp_path_factory.mktemp("journey")
    return place / "run", spnas(*search_words(tiny_folder, place / "run", "--json"), cwd=place)


def dump(run: Path) -> str:
    done = spnas("ledger", "dump", run, cwd=run.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_search_ends_with_a_verdict_a_model_and_a_report(
    study: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    run, done = study
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["candidates"] == 3 + 2  # of the serial and the parallel phase
    assert result["failures"] == 0
    assert result["verdict"]["half_width"] is not None
    assert len(result["verdict"]["finalist_ap"]) == len(result["verdict"]["rival_ap"]) == 2
    assert {p.name for p in (run / "best").iterdir()} == {"config.json", "model.safetensors", "manifest.json"}
    page = (run / "report.html").read_text()
    assert "ResNet of equal cost" in page
    assert "Content-Security-Policy" in page
    assert "candidate" in done.stderr
    assert "control of 0" in done.stderr
    assert "of a serial net of equal cost" in result["copies_verdict"]["sentence"]


def test_a_finished_search_is_not_done_again(
    study: tuple[Path, subprocess.CompletedProcess[str]], tiny_folder: Path
) -> None:
    run, done = study
    before = dump(run)
    again = spnas(*search_words(tiny_folder, run, "--json"), cwd=run.parent)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["verdict"] == json.loads(done.stdout)["verdict"]
    assert dump(run) == before


def test_a_search_killed_three_times_ends_as_if_it_had_not_been(
    study: tuple[Path, subprocess.CompletedProcess[str]], tiny_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    words = search_words(tiny_folder, run)
    command = [sys.executable, "-c", "from spnas.cli import main; main()", *words]
    for delay in (6.0, 8.0, 10.0):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
    done = spnas(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert dump(run) == dump(study[0])


def test_ctrl_c_stops_within_five_seconds_says_how_to_go_on_and_leaves_no_process(
    tiny_folder: Path, tmp_path: Path
) -> None:
    words = ["search", "--data", str(tiny_folder), "--out", str(tmp_path / "run"), "--candidates", "3", *SMALL]
    words[words.index("--steps") + 1] = "5000"
    command = [sys.executable, "-c", "from spnas.cli import main; main()", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        sign = tmp_path / "run" / "checkpoints" / "00000" / "sign.json"
        deadline = time.monotonic() + 60
        while not sign.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert sign.exists()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert time.monotonic() - began < 5
        assert process.stderr is not None
        assert "run the same command again" in process.stderr.read()
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in _read(p)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_other_options_for_the_same_folder_are_refused_by_name(
    study: tuple[Path, subprocess.CompletedProcess[str]], tiny_folder: Path
) -> None:
    run, _ = study
    before = dump(run)
    done = spnas(*search_words(tiny_folder, run, "--seed", "7"), cwd=run.parent)
    assert done.returncode == 2
    assert "search.seed is 0, not 7" in done.stderr
    assert dump(run) == before


def test_data_that_changed_under_a_study_is_an_integrity_fault(tiny_folder: Path, tmp_path: Path) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(tiny_folder, data)
    words = ["train", "basic: 8x1 / 16x1 / 32x1 / 64x1", "--data", str(data), "--out", str(tmp_path / "run")]
    words += ["--steps", "2", "--image-size", "64", "--batch-size", "4"]
    assert spnas(*words, cwd=tmp_path).returncode == 0
    picture = next((data).rglob("*.png"))
    picture.write_bytes(picture.read_bytes() + b"\0")
    done = spnas(*words, cwd=tmp_path)
    assert done.returncode == 5
    assert "the data are not those it began with" in done.stderr
    assert len(done.stderr.strip().splitlines()[-1].split("spnas: error:")) == 2


def test_train_evaluate_predict_and_doctor_work_together(tiny_folder: Path, tmp_path: Path) -> None:
    words = [
        "train",
        "basic: 8x1 / 16x1 / 32x1 / 64x1",
        "--data",
        tiny_folder,
        "--out",
        tmp_path / "net",
        "--steps",
        "20",
    ]
    trained = spnas(*words, "--image-size", "64", "--batch-size", "4", "--json", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    model = json.loads(trained.stdout)["model"]

    judged = spnas("evaluate", model, "--data", tiny_folder, "--results", tmp_path / "r.json", "--json", cwd=tmp_path)
    assert judged.returncode == 0, judged.stderr
    ap = json.loads(judged.stdout)["scores"]["coco"]["values"]["ap"]
    assert ap == pytest.approx(json.loads(trained.stdout)["metrics"]["ap"], abs=1e-12)

    seen = spnas("predict", "--model", model, "--data", tiny_folder, "--out", tmp_path / "seen", cwd=tmp_path)
    assert seen.returncode == 0, seen.stderr
    ours = json.loads((tmp_path / "seen" / "results.json").read_text())
    truth = json.loads(next(tiny_folder.rglob("*val*.json")).read_text())
    assert {d["image_id"] for d in ours} <= {i["id"] for i in truth["images"]}
    assert {d["category_id"] for d in ours} <= {c["id"] for c in truth["categories"]}
    assert ours == json.loads((tmp_path / "r.json").read_text())
    assert len([p for p in (tmp_path / "seen").iterdir() if p.suffix in (".png", ".jpg")]) == len(truth["images"])

    healthy = spnas("doctor", tiny_folder, "--json", cwd=tmp_path)
    assert healthy.returncode == 0, healthy.stderr
    assert json.loads(healthy.stdout)["format"] == "coco"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["search", "--data", "nowhere"], "nowhere"),
        (["search", "--budget", "6"], "write it as 6GMAC"),
        (["search", "--root", "resnet51", "--steps", "1"], "did you mean 'resnet50'"),
        (["search", "--image-size", "3"], "32 to 4096"),
        (["search", "--recipe", "huge"], "small, standard|standard, small"),
        (["search", "--preset", "papr"], "did you mean 'paper'"),
        (["search", "--without", "rung"], "did you mean 'rungs'"),
        (["search", "--phases", "serial,finale"], "did you mean 'final'"),
        (["search", "--phases", ","], "at least one of serial, reignite, parallel, final"),
        (["search", "--objective", "ap_smal"], "did you mean 'ap_small'"),
        (["search", "--objective", "lamr"], "--objective|height|EuroCity|pedestrian|ecp"),
        (["search", "--against", "flops"], "known: gmacs, params, ms, mib"),
        (["search", "--against", "ms"], "needs a budget in milliseconds too"),
        (["search", "--budget", "9ms", "--phases", "serial,parallel"], "in milliseconds is for serial nets"),
        (["search", "--budget", "9ms", "--preset", "vega-v1"], "cannot bound; bound GMACs"),
        (["search", "--phases", "serial", "--copies", "3"], "--copies is for the parallel phase"),
        (["search", "--stuck", "3"], "add reignite to --phases"),
        (["search", "--reignite-data", "."], "add reignite to --phases"),
        (["search", "--phases", "serial,reignite", "--reignite-data", "nowhere"], "no such folder"),
        (["search", "--start", "nowhere"], "no such model, study or file"),
        (["search", "--ray-address", "auto"], "for --executor ray"),
        (["search", "--executor", "rey"], "did you mean 'ray'"),
        (["train", "basic: 8x1 /"], "a stage without blocks"),
        (["train", "resnext: 17x1 / 34x1 / 68x1 / 136x1", "--steps", "1"], "multiples of 16"),
        (["evaluate", "nowhere"], "no such model"),
        (["evaluate", "x", "--metric", "cocoo"], "did you mean 'coco'"),
        (["predict", "--model", "nowhere", "x.jpg"], "no such model"),
        (["list", "arch"], "did you mean 'archs'"),
        (["ledger", "dump", "nowhere"], "no study there"),
        (["searhc"], "No such command|searhc"),
        (["search", "--candidates", "0"], "candidates"),
    ],
)
def test_what_cannot_be_meant_gets_one_line_and_exit_2(
    words: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["spnas", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("spnas: error: ")
    assert re.search(reason, last), last


def test_help_and_lists_come_fast_and_go_to_stdout(tmp_path: Path) -> None:
    began = time.monotonic()
    done = spnas("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "search" in done.stdout
    assert time.monotonic() - began < 5
    archs = spnas("list", "archs", "--json", cwd=tmp_path)
    costs = {e["name"]: e["gmacs"] for e in json.loads(archs.stdout)}
    assert costs["resnet50"] == pytest.approx(4.09, abs=0.02)
    assert costs["spnet_coco_bnb"] == pytest.approx(9.5, rel=0.01)


def test_a_search_looked_at_by_another_process_is_in_use(tiny_folder: Path, tmp_path: Path) -> None:
    words = search_words(tiny_folder, tmp_path / "run")
    words[words.index("--steps") + 1] = "5000"
    command = [sys.executable, "-c", "from spnas.cli import main; main()", *words]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ.copy()) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "study.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        second = spnas(*words, cwd=tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143
    assert second.returncode == 3
    assert str(process.pid) in second.stderr
