"""A page holds what it is given, loads nothing, and treats every name as text."""

import base64
import hashlib
import html.parser
import json
import re

import msgspec
import numpy as np
import pytest

from spnas.arch import Arch, Candidate, Outcome
from spnas.report import (
    CandidateRow,
    ClassRow,
    ClassTable,
    Command,
    DrawnArch,
    Fact,
    FinalRow,
    Finding,
    PictureRow,
    StudyPage,
    Verdict,
    View,
    encode,
    write_report,
)

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title></style><img src=x onerror=alert(1)>",
    "\"><img src='http://198.51.100.7/x' onload=alert(1)>",
    "' autofocus onfocus='alert(1)",
    "{{ 7 * 191 }}{% raw %}",
    '<a href="http://198.51.100.7/">x</a>',
    "&lt;script&gt;&#0;",
    "evil\u202egpj.exe\u2066",
    "line\none\x1b[31m\x00\udcff",
    "<!--<script>",
)
FETCHING = {"src", "href", "srcset", "action", "poster", "data", "formaction", "xlink:href", "background"}


class _Reader(html.parser.HTMLParser):
    """Collect what a browser would see: tags with attributes, text outside of scripts, scripts and styles."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        self.inside = tag if tag in ("script", "style") else ""
        if self.inside:
            (self.scripts if tag == "script" else self.styles).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            (self.scripts if self.inside == "script" else self.styles)[-1] += data
        else:
            self.texts.append(data)


def _read(page: StudyPage) -> _Reader:
    reader = _Reader()
    reader.feed(write_report(page).decode("utf-8"))
    return reader


def _only_words(page: StudyPage) -> StudyPage:
    """Leave out what needs a chart, whose library makes a page of five megabytes."""
    return msgspec.structs.replace(page, candidates=(), finals=())


def _everywhere(text: str) -> StudyPage:
    """Put `text` wherever a page takes words."""
    arch = Arch(text or "basic", ((32, 32), (64, 64)))
    fact = Fact(text, text, text)
    one = Candidate(number=0, role="root", arch=arch, steps=1, seed=0)
    two = Candidate(number=1, role="child", arch=arch, steps=1, seed=0, parent=0)
    outcome = Outcome(number=0, metrics={"ap": 0.2}, gmacs=1.0)
    return StudyPage(
        title=text,
        subtitle=text,
        verdict=Verdict(
            answer="better", headline=text, sentences=(text,), gain=0.01, interval=(-0.01, 0.02), numbers=(fact,)
        ),
        candidates=(
            CandidateRow(candidate=one, outcome=outcome, on_front=True),
            CandidateRow(candidate=two, outcome=Outcome(number=1, failure=text)),
        ),
        winner=0,
        finals=(FinalRow(name=text, role="searched", arch=arch, gmacs=1.0, params=1000, aps=(0.2, 0.3)),),
        archs=(DrawnArch(name=text, role="searched", arch=arch, note=text),),
        by_class=ClassTable(columns=(text, text), rows=(ClassRow(name=text, boxes=1, aps=(0.1, 0.2)),)),
        pictures=(PictureRow(name=text, labels=(text,), views=(View(text, encode(np.zeros((8, 8, 3), np.uint8))),)),),
        data=(fact,),
        findings=(Finding(kind="noted", text=text),),
        settings=(fact,),
        run=(fact,),
        commands=(Command(text, text),),
    )


@pytest.fixture(scope="module")
def plain_tags() -> list[str]:
    return [tag for tag, _ in _read(_everywhere("plain")).tags]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_stays_a_text(text: str, plain_tags: list[str]) -> None:
    """Whatever the words, the page has the very same tags, and the same attributes on them."""
    reader = _read(_everywhere(text))
    assert [tag for tag, _ in reader.tags] == plain_tags
    assert not any(key.startswith("on") or key == "autofocus" for _, attrs in reader.tags for key in attrs)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", "".join(reader.texts))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_no_markup_in_a_chart(text: str) -> None:
    """Charts read a few tags, links among them, so that names reach them escaped."""
    reader = _read(_everywhere(text))
    charts = [json.loads(script) for script in reader.scripts[:3]]
    words = json.dumps([[trace.get("text"), trace.get("name")] for chart in charts for trace in chart["data"]])
    words += json.dumps([chart["layout"] for chart in charts])
    assert not re.search(r"<(?!/?b>|br>|extra)", words)


def test_nothing_is_fetched(finished: StudyPage) -> None:
    """Every reference is a place in the page or data inside of it."""
    reader = _read(finished)
    references = [
        value for tag, attrs in reader.tags for key, value in attrs.items() if key in FETCHING and tag != "meta"
    ]
    assert references
    assert all(value.startswith(("#", "data:image/")) for value in references)
    assert not {tag for tag, _ in reader.tags} & {"link", "iframe", "object", "embed", "base", "form"}
    assert not re.search(r"@import|url\(", "".join(reader.styles))
    assert not any(re.search(r"url\(|//", attrs.get("style", "")) for _, attrs in reader.tags)


def test_only_the_scripts_of_the_page_may_run(finished: StudyPage) -> None:
    """The policy names the hash of every script that runs, and allows no origin, inline script or eval."""
    reader = _read(finished)
    policy = next(attrs["content"] for tag, attrs in reader.tags if attrs.get("http-equiv"))
    running = [s for s, (_, attrs) in zip(reader.scripts, (t for t in reader.tags if t[0] == "script"), strict=True)
               if "type" not in attrs]  # fmt: skip
    hashes = {f"sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}" for code in running}
    assert len(running) == 2
    assert set(re.findall(r"sha256-[^']+", policy)) == hashes
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_the_template_trusts_no_text() -> None:
    """No value leaves autoescaping inside of the template."""
    from importlib import resources

    template = resources.files("spnas.report").joinpath("page.html.j2").read_text("utf-8")
    assert not re.search(r"\|\s*safe|autoescape|Markup", template)


def test_a_finished_study_is_told_whole(finished: StudyPage) -> None:
    """Verdict, finals, classes, ancestors, pictures, data and commands are all there."""
    reader = _read(finished)
    text = " ".join(reader.texts)
    for words in (
        "beats a ResNet of the same cost by 1.8 AP",
        "41.6 · 40.9 · 41.4",
        "40.4 to 42.2",
        "bicycle rider",
        "From the root to the winner",
        "out of memory: 6144 MiB asked for",
        "boxes of width or height 0",
        "spnas export street.study --onnx street.onnx",
    ):
        assert words in text
    assert sum(tag == "img" for tag, _ in reader.tags) == 6
    assert sum(attrs.get("class") == "arch" and tag == "svg" for tag, attrs in reader.tags) == 3


def test_an_interrupted_study_has_a_page(interrupted: StudyPage) -> None:
    """What is missing is said in words; what failed says why."""
    text = " ".join(_read(interrupted).texts)
    for words in (
        "The study was interrupted",
        "No final has been trained yet",
        "No architecture has been chosen yet",
        "its loss was not finite at step 31",
        "3 trainings, 0 on the front, 1 failed, 1 not trained yet.",
    ):
        assert words in text


def test_a_study_without_candidates_has_a_small_page() -> None:
    """Without a chart the chart library is left out."""
    page = StudyPage(title="empty", verdict=Verdict(answer="unfinished", headline="Nothing was trained."))
    made = write_report(page)
    assert b"The study has no candidate yet." in made
    assert len(made) < 40_000


def test_a_page_is_a_function_of_its_study(finished: StudyPage) -> None:
    """The same study makes the same bytes."""
    assert write_report(_only_words(finished)) == write_report(_only_words(finished))


def test_something_else_than_a_picture_is_refused(finished: StudyPage) -> None:
    """A page shows only pictures that it knows to be pictures."""
    fake = (PictureRow(name="x.svg", views=(View("truth", b"<svg onload=alert(1)>"),)),)
    with pytest.raises(ValueError, match=r"x\.svg.*neither PNG, JPEG nor WebP"):
        write_report(msgspec.structs.replace(_only_words(finished), pictures=fake))
