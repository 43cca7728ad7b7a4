"""One HTML file about a data set: what is in it, what is wrong with it, and what it asks of a training."""

import base64
from importlib import resources
from typing import Any, Literal

import msgspec

from spnas.report.palette import css_variables
from spnas.report.pictures import colour_of
from spnas.report.records import Command, Fact
from spnas.report.text import visible

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}


class Bars(msgspec.Struct, frozen=True):
    """Counts side by side: a name and one number per row, in the order given."""

    title: str
    rows: tuple[tuple[str, int], ...]
    note: str = ""


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """One split in facts and bars."""

    name: str
    facts: tuple[Fact, ...] = ()
    bars: tuple[Bars, ...] = ()


class ProblemRow(msgspec.Struct, frozen=True, kw_only=True):
    """One code that was found: how often, what happens, and the first places."""

    severity: Literal["refused", "quarantined", "noted"]
    code: str
    count: int
    cases: tuple[str, ...]
    hint: str


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One picture with its boxes drawn, encoded as PNG or JPEG."""

    name: str
    image: bytes
    labels: tuple[str, ...] = ()


class DoctorPage(msgspec.Struct, frozen=True, kw_only=True):
    """A whole page; all but title and headline may be missing. `classes` are in their order, for the colours."""

    title: str
    headline: str
    healthy: bool
    sentences: tuple[str, ...] = ()
    problems: tuple[ProblemRow, ...] = ()
    proposals: tuple[Fact, ...] = ()
    splits: tuple[Split, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    samples: tuple[Sample, ...] = ()
    classes: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()


def write_doctor_page(page: DoctorPage) -> bytes:
    """Lay out `page` as one HTML document that loads nothing and runs no script, in UTF-8.

    Raises: ValueError when a picture is neither PNG nor JPEG.
    """
    import jinja2
    from markupsafe import Markup

    room = resources.files("spnas.report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, finalize=_finalize
    )
    environment.filters |= {"width": _width, "data_uri": _data_uri}
    style = (
        f":root{{color-scheme:light dark;{css_variables(dark=False)}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{css_variables(dark=True)}}}}}\n"
        + room.joinpath("page.css").read_text("utf-8")
        + room.joinpath("doctor.css").read_text("utf-8")
    )
    html = environment.from_string(room.joinpath("doctor.html.j2").read_text("utf-8")).render(
        page=page,
        policy=POLICY,
        style=Markup(style),
        samples=[
            {
                "name": sample.name,
                "image": sample.image,
                "legend": [(label, colour_of(label, classes=page.classes)) for label in sample.labels],
            }
            for sample in page.samples
        ],
    )
    return html.encode("utf-8")


def _finalize(value: Any) -> Any:
    """Show controls and bidi characters of whatever is printed; markup of our own passes."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _width(count: int, bars: Bars) -> str:
    """Return a bar's length as a share of the longest one; what is there is never invisible."""
    longest = max((number for _, number in bars.rows), default=0)
    return f"{max(100 * count / longest, 0.5):.1f}" if count and longest else "0"


def _data_uri(image: bytes) -> str:
    kind = next((kind for magic, kind in KINDS.items() if image.startswith(magic)), None)
    if kind is None:
        raise ValueError("a sample picture is neither PNG nor JPEG")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
