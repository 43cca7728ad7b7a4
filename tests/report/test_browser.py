"""A real browser opens the page: its charts appear, its console stays silent, and it asks nobody for anything."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from spnas.report import StudyPage, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND",  # nobody can be reached, whoever asks
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000", "--dump-dom",
)  # fmt: skip


def _open(page: bytes, folder: Path) -> tuple[str, list[str], list[str]]:
    """Return the document after its scripts ran, the console's lines, and what the page itself asked for."""
    file, log = folder / "report.html", folder / "net.json"
    file.write_bytes(page)
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", file.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    events = json.loads(log.read_text())["events"]
    asked = [event["params"] for event in events if "initiator" in event.get("params", {})]
    # The browser's own errands (time, updates) have no origin; what a document asks for has one.
    return run.stdout, console, [one["url"] for one in asked if one["initiator"] != "not an origin"]


def test_a_page_opens_without_a_complaint(finished: StudyPage, tmp_path: Path) -> None:
    document, console, asked = _open(write_report(finished), tmp_path)
    assert document.count('class="js-plotly-plot') + document.count(" js-plotly-plot") == 3
    assert console == []
    assert asked == []


def test_the_observer_sees_what_it_is_there_to_see(tmp_path: Path) -> None:
    planted = b"<!doctype html><img src='http://203.0.113.9/x.png'><script>console.error('planted')</script>"
    _, console, asked = _open(planted, tmp_path)
    assert any("planted" in line for line in console)
    assert asked == ["http://203.0.113.9/x.png"]
