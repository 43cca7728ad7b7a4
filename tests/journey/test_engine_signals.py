"""SIGINT and SIGTERM at random moments of a study whose workers are processes; SPNAS_SIGNALS asks for more of them."""

import os
import signal
from pathlib import Path

from tests.journey import engine, killer

from spnas.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

SIGNALS = int(os.environ.get("SPNAS_SIGNALS", "50"))
SECONDS_TO_STOP = 5.0
CODES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


def test_a_signal_stops_a_study_at_once_leaves_no_process_and_it_goes_on(tmp_path: Path) -> None:
    """Within five seconds, with the exit code of the signal; the study then ends as one that was left alone."""
    whole = engine.play(tmp_path / "whole")
    made = engine.files_in(tmp_path / "whole")
    found = killer.run("signalled", tmp_path, SIGNALS)
    stopped = [one for study in found for one in study["stopped"]]  # type: ignore[attr-defined]
    assert len(stopped) == SIGNALS
    assert {kind for kind, *_ in stopped} == {signal.SIGINT, signal.SIGTERM}
    for kind, code, seconds, left in stopped:
        assert code == CODES[kind], found[0]["said"]
        assert seconds < SECONDS_TO_STOP
        assert left == 0
    for study in found:
        assert study["dump"] == whole
        assert study["files"] == made
        assert study["again"] == []
