"""`spnas doctor`: a page about any data set, good or bad, outside of it."""

import json
from pathlib import Path

import msgspec
import pytest

from spnas.errors import UsageError
from spnas.tasks.doctor import describe, doctor


def test_a_page_is_written(tiny_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    diagnosis = doctor(tiny_folder, html=page)
    html = page.read_text()
    assert not diagnosis.refused
    assert "These data can be learned from" in html
    assert html.count("<figure>") == 9
    assert "Boxes by side" in html
    lines = describe(diagnosis)
    assert any(line.startswith("suggested anchors: side of") for line in lines)
    assert any("boxes per picture" in line for line in lines)
    assert json.loads(msgspec.json.encode(diagnosis))["splits"][0]["sides_px"]


def test_bad_data_get_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    page = tmp_path / "page.html"
    assert doctor(tmp_path / "data", html=page).refused
    assert "Training would stop at these data" in page.read_text()
    assert "layout-unknown" in page.read_text()


def test_nothing_is_written_inside_the_data(tmp_path: Path) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    with pytest.raises(UsageError, match="lies inside the data"):
        doctor(tmp_path / "data", html=tmp_path / "data" / "sub" / "page.html")


def test_nothing_but_a_page_of_ours_is_written_over(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    for place, said in (
        (tmp_path / "notes.txt", "is there already and is no page of spnas"),
        (tmp_path, "is a folder"),
        (tmp_path / "missing" / "page.html", "its folder is not there"),
    ):
        with pytest.raises(UsageError, match=said):
            doctor(tiny_folder, html=place)
    assert (tmp_path / "notes.txt").read_text() == "precious"
    for _ in range(2):
        doctor(tiny_folder, html=tmp_path / "page.html", decode=False)
