"""A real browser opens the page: its charts appear, its console stays silent, and it asks nobody for anything."""

from pathlib import Path

import pytest
from tests.browser import CHROMIUM, visit

from spnas.report import StudyPage, write_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


def test_a_page_opens_without_a_complaint(finished: StudyPage, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_bytes(write_report(finished))
    seen = visit(page, tmp_path)
    assert seen.document.count('class="js-plotly-plot') + seen.document.count(" js-plotly-plot") == 3
    assert seen.console == []
    assert seen.asked == []


def test_the_observer_sees_what_it_is_there_to_see(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_bytes(b"<!doctype html><img src='http://203.0.113.9/x.png'><script>console.error('planted')</script>")
    seen = visit(page, tmp_path)
    assert any("planted" in line for line in seen.console)
    assert seen.asked == ["http://203.0.113.9/x.png"]
