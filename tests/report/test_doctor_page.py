"""The doctor's page holds everything it shows, runs nothing, and lets no name of the data become markup."""

import re
from pathlib import Path

import numpy as np
import pytest
from tests.browser import CHROMIUM, visit

from spnas.report import encode
from spnas.report.doctor_page import POLICY, Bars, DoctorPage, ProblemRow, Sample, Split, write_doctor_page
from spnas.report.records import Command, Fact

HOSTILE = "<script>alert(1)</script>\"'&\u202e\x1b[31m"


def page_of(name: str) -> DoctorPage:
    """A page on which every text is `name`."""
    image = encode(np.zeros((8, 8, 3), np.uint8))
    return DoctorPage(
        title=name,
        headline=name,
        healthy=False,
        sentences=(name,),
        problems=(ProblemRow(severity="refused", code=name, count=3, cases=(name, name), hint=name),),
        proposals=(Fact(name, name, name),),
        splits=(Split(name=name, facts=(Fact(name, name),), bars=(Bars(name, ((name, 3), ("none", 0)), name),)),),
        pairs=((name, name),),
        samples=(Sample(name=name, image=image, labels=(name,)),),
        classes=(name,),
        commands=(Command(name, name),),
    )


def test_a_page_holds_what_it_is_given() -> None:
    html = write_doctor_page(page_of("kites")).decode()
    assert html.count("kites") >= 15
    assert f'content="{POLICY}"'.replace("'", "&#39;") in html
    assert 'style="width:100.0%"' in html
    assert 'style="width:0%"' in html
    assert "data:image/png;base64," in html


def test_names_are_text_and_nothing_else() -> None:
    html = write_doctor_page(page_of(HOSTILE)).decode()
    assert "<script" not in html
    assert "alert(1)" in html
    assert "\u202e" not in html
    assert "\x1b" not in html


def test_nothing_is_loaded() -> None:
    html = write_doctor_page(page_of("kites")).decode()
    assert re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:|#)[^\"'>)]+", html) == []
    assert "script-src" not in POLICY
    assert POLICY.startswith("default-src 'none'")


def test_an_empty_page_is_one() -> None:
    html = write_doctor_page(DoctorPage(title="x", headline="y", healthy=True)).decode()
    assert "Nothing is wrong with what was looked at." in html


def test_a_picture_of_another_kind_is_refused() -> None:
    sample = Sample(name="x", image=b"GIF89a")
    with pytest.raises(ValueError, match="neither PNG nor JPEG"):
        write_doctor_page(DoctorPage(title="x", headline="y", healthy=True, samples=(sample,)))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_opens_it_without_a_complaint(tmp_path: Path) -> None:
    page = tmp_path / "doctor.html"
    page.write_bytes(write_doctor_page(page_of(HOSTILE)))
    seen = visit(page, tmp_path)
    assert seen.console == []
    assert seen.asked == []
