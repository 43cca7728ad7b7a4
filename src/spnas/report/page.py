"""One HTML file that holds a whole study and loads nothing."""

import base64
import collections
import hashlib
from importlib import resources
from typing import Any

from spnas.report import charts, text
from spnas.report.draw import draw_arch, draw_gain
from spnas.report.palette import css_variables, dark_forms
from spnas.report.pictures import colour_of
from spnas.report.records import CandidateRow, ClassRow, PictureRow, StudyPage

_MAGIC = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}
_ANSWER_COLOURS = {"better": "searched", "worse": "rival", "undecided": "quiet", "unfinished": "quiet"}


def write_report(page: StudyPage) -> bytes:
    """Lay out `page` as one self-contained HTML document, in UTF-8; the caller writes it to its place.

    Raises: ValueError when a picture is neither PNG, JPEG nor WebP.
    """
    import jinja2
    from markupsafe import Markup

    room = resources.files("spnas.report")
    figures = {name: figure.to_json() for name, figure in _figures(page).items()}
    code = [room.joinpath("page.js").read_text("utf-8")]
    if figures:
        import plotly.offline

        code.insert(0, plotly.offline.get_plotlyjs())
    code = [_inside_script(one) for one in code]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, finalize=_finalize
    )
    environment.filters |= {
        "points": text.points, "signed": text.signed, "span": text.span, "gmacs": text.gmacs,
        "params": text.params, "duration": text.duration, "metric": text.metric,
        "value": _value, "direction": _direction, "ap": _ap, "class_gain": _class_gain,
    }  # fmt: skip
    verdict = page.verdict
    drawn = verdict.gain is not None
    html = environment.from_string(room.joinpath("page.html.j2").read_text("utf-8")).render(
        page=page,
        policy=_policy(code),
        style=Markup(_style(room.joinpath("page.css").read_text("utf-8"))),
        gain_drawing=Markup(
            draw_gain(verdict.gain or 0.0, verdict.interval, colour=_ANSWER_COLOURS[verdict.answer]) if drawn else ""
        ),
        charts=figures.keys(),
        trained=any(final.aps for final in page.finals),
        drawings=_drawings(page),
        costs=any(one.stage_gmacs for one in page.archs),
        kept=any(row.on_front for row in page.candidates),
        counts=_counts(page.candidates),
        failures=_failures(page.candidates),
        ancestry=_ancestry(page),
        pictures=[_picture(row, page.classes) for row in page.pictures],
        scripts=Markup(_scripts(figures, code)),
    )
    return html.encode("utf-8")


def _figures(page: StudyPage) -> dict[str, Any]:
    """Return the charts for which there is anything to show."""
    figures: dict[str, Any] = {}
    if any(_ap(row) is not None for row in page.candidates) or any(final.aps for final in page.finals):
        figures["front"] = charts.draw_front(page.candidates, finals=page.finals, axes=page.axes)
    if any(_ap(row) is not None for row in page.candidates):
        figures["progress"] = charts.draw_progress(page.candidates)
    if any(final.aps for final in page.finals):
        figures["finals"] = charts.draw_finals(page.finals)
    return figures


def _scripts(figures: dict[str, str], code: list[str]) -> str:
    import json

    blocks = {f"chart-{name}": figure for name, figure in figures.items()}
    if figures:
        blocks["dark-forms"] = json.dumps(dark_forms())
    held = [
        f'<script type="application/json" id="{name}">{_inside_json(block)}</script>' for name, block in blocks.items()
    ]
    return "\n".join([*held, *(f"<script>{one}</script>" for one in code)])


def _inside_json(block: str) -> str:
    for sign in "<>&\u2028\u2029":
        block = block.replace(sign, f"\\u{ord(sign):04x}")
    return block


def _inside_script(code: str) -> str:
    # The browser hashes what it has parsed: with plain line ends, and up to the first end tag.
    return code.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(code: list[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(one.encode("utf-8")).digest()).decode("ascii") for one in code)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src {allowed}"
    )


def _style(sheet: str) -> str:
    return (
        f":root{{color-scheme:light dark;{css_variables(dark=False)}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{css_variables(dark=True)}}}}}\n{sheet}"
    )


def _finalize(value: Any) -> Any:
    """Show controls and bidi characters of whatever is printed; markup of our own passes."""
    if hasattr(value, "__html__") or not isinstance(value, str):
        return value
    return text.visible(value)


def _drawings(page: StudyPage) -> list[dict[str, Any]]:
    from markupsafe import Markup

    longest = max((len(stage) for one in page.archs for stage in one.arch.stages), default=1)
    narrowest = min((min(one.arch.widths) for one in page.archs), default=64)
    return [
        {
            "arch": one,
            "svg": Markup(
                draw_arch(one.arch, stage_gmacs=one.stage_gmacs, longest=longest, narrowest=narrowest),
            ),
        }
        for one in page.archs
    ]


def _picture(row: PictureRow, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": row.name,
        "legend": [(label, colour_of(label, classes=classes)) for label in dict.fromkeys(row.labels)],
        "views": [{"caption": view.caption, "source": _data_uri(view.image, row.name)} for view in row.views],
    }


def _data_uri(image: bytes, name: str) -> str:
    kind = next((kind for magic, kind in _MAGIC.items() if image.startswith(magic)), None)
    if kind is None:
        raise ValueError(f"the picture of {name!r} is neither PNG, JPEG nor WebP")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def _counts(rows: tuple[CandidateRow, ...]) -> str:
    failed = sum(1 for row in rows if row.outcome and row.outcome.failure is not None)
    waiting = sum(1 for row in rows if row.outcome is None)
    kept = sum(1 for row in rows if row.on_front)
    parts = [f"{len(rows)} training{'s' * (len(rows) != 1)}", f"{kept} on the front"]
    parts += [f"{failed} failed"] * bool(failed) + [f"{waiting} not trained yet"] * bool(waiting)
    return f"{', '.join(parts)}."


def _failures(rows: tuple[CandidateRow, ...]) -> list[tuple[str, int]]:
    reasons = (row.outcome.failure for row in rows if row.outcome and row.outcome.failure is not None)
    return collections.Counter(reason or "no reason given" for reason in reasons).most_common()


def _ancestry(page: StudyPage) -> list[CandidateRow]:
    """Return the way from the root to the winner; parents have smaller numbers, so it ends."""
    by_number = {row.candidate.number: row for row in page.candidates}
    number, way = page.winner, list[CandidateRow]()
    while number is not None and number in by_number and (not way or number < way[-1].candidate.number):
        way.append(by_number[number])
        number = way[-1].candidate.parent
    return way[::-1]


def _ap(row: CandidateRow) -> float | None:
    return row.outcome.metrics.get("ap") if row.outcome and row.outcome.failure is None else None


def _class_gain(row: ClassRow) -> float | None:
    searched, rival = row.aps
    return None if searched is None or rival is None else searched - rival


def _value(number: float | None) -> str:
    return "" if number is None else repr(number)


def _direction(gain: float | None) -> str:
    return "" if gain is None or abs(gain) < 0.0005 else "up" if gain > 0 else "down"
