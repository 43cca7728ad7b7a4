"""A real browser that cannot reach anybody, and what it saw of a page."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND",  # nobody can be reached, whoever asks
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000", "--dump-dom",
)  # fmt: skip


class Visit(NamedTuple):
    """The document after its scripts ran, the console's lines, and what the page itself asked for."""

    document: str
    console: list[str]
    asked: list[str]


def visit(page: Path, scratch: Path) -> Visit:
    """Open `page`; the browser keeps what it needs in `scratch`."""
    log = scratch / "net.json"
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={scratch / 'profile'}", f"--log-net-log={log}", page.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    events = json.loads(log.read_text())["events"]
    asked = [event["params"] for event in events if "initiator" in event.get("params", {})]
    # The browser's own errands (time, updates) have no origin; what a document asks for has one.
    return Visit(run.stdout, console, [one["url"] for one in asked if one["initiator"] != "not an origin"])
