"""Charts carry the numbers of the study, and nothing else."""

import json

import msgspec
import pytest

from spnas.arch import Outcome
from spnas.report import Axes, StudyPage
from spnas.report.charts import draw_finals, draw_front, draw_progress
from spnas.report.palette import dark_forms, shade
from spnas.report.text import chart_text, duration, gmacs, params, points, signed, span, visible


def _traces(figure: object) -> dict[str, dict]:
    return {trace["name"]: trace for trace in json.loads(figure.to_json())["data"]}


def test_the_front_holds_every_finished_candidate(finished: StudyPage) -> None:
    traces = _traces(draw_front(finished.candidates, finals=finished.finals, axes=finished.axes))
    shown = sum(len(traces[name]["x"]) for name in ("candidate", "front", "root"))
    assert shown == sum(row.outcome.failure is None for row in finished.candidates)
    front = traces["front"]
    assert front["x"] == sorted(front["x"])
    assert front["y"] == sorted(front["y"])
    assert traces["finalist, trained in full"]["y"] == [pytest.approx(41.3)]
    assert "basic: 32x2" in front["text"][0]


def test_the_front_is_drawn_in_what_was_looked_for(finished: StudyPage) -> None:
    """Under a budget in memory the abscissa is memory, and where AP is not the aim, the ordinate is not AP."""
    rows = [
        msgspec.structs.replace(row, cost=100.0 + row.candidate.number, outcome=looked_at(row.outcome))
        for row in finished.candidates
        if row.outcome is not None
    ]
    axes = Axes(metric="ap_small", cost="MiB", band=(90.0, 100.0))
    figure = draw_front(rows, finals=finished.finals, axes=axes)
    traces = _traces(figure)
    assert set(traces["candidate"]["x"]) <= {100.0 + n for n in range(len(rows))}
    assert set(traces["root"]["y"]) == {12.5}
    assert "AP small 12.5" in traces["root"]["text"][0]
    assert "100 MiB" in traces["root"]["text"][0]
    assert "finalist, trained in full" not in traces  # their AP is of another scale
    layout = json.loads(figure.to_json())["layout"]
    assert layout["xaxis"]["title"]["text"] == "MiB"
    assert layout["yaxis"]["title"]["text"] == "AP small"


def looked_at(outcome: Outcome | None) -> Outcome | None:
    """Return an outcome with AP of small objects too."""
    if outcome is None or outcome.failure:
        return outcome
    return msgspec.structs.replace(outcome, metrics={**outcome.metrics, "ap_small": 0.125})


def test_a_stem_is_as_long_as_the_gain(finished: StudyPage) -> None:
    traces = _traces(draw_progress(finished.candidates))
    gains = {row.candidate.number: 100 * row.gain for row in finished.candidates if row.gain is not None}
    for name in ("gain over control", "loss to control"):
        xs, ys = traces[name]["x"], traces[name]["y"]
        for start in range(0, len(xs), 3):
            assert ys[start + 1] - ys[start] == pytest.approx(gains.pop(xs[start]))
    assert not gains


def test_the_finals_show_every_seed(finished: StudyPage) -> None:
    traces = _traces(draw_finals(finished.finals))
    assert sorted(traces["rival: seeds"]["x"]) == pytest.approx([39.2, 39.4, 39.9])
    assert traces["searched: mean and interval"]["error_x"]["array"] == [pytest.approx(0.9)]
    names = {note["text"] for note in json.loads(draw_finals(finished.finals).to_json())["layout"]["annotations"]}
    assert names == {final.name for final in finished.finals}


def test_failures_say_why(interrupted: StudyPage) -> None:
    traces = _traces(draw_progress(interrupted.candidates))
    assert traces["failed"]["text"] == ["1: its loss was not finite at step 31"]


def test_charts_use_no_colour_that_has_no_dark_form(finished: StudyPage) -> None:
    """A colour out of the palette would stay as it is on dark paper."""
    figures = (draw_front(finished.candidates, finals=finished.finals), draw_progress(finished.candidates))
    text = "".join(json.dumps(trace) for figure in figures for trace in _traces(figure).values())
    used = {word for word in text.replace('"', " ").replace(",", " ").split() if word.startswith("#")}
    assert shade("searched") in used
    assert used <= dark_forms().keys()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (points(0.4128), "41.3"),
        (points(None), "–"),
        (signed(0.018), "+1.8"),
        (signed(-0.018), "−1.8"),
        (signed(-0.0001), "0.0"),
        (span((0.404, 0.422)), "40.4 to 42.2"),
        (gmacs(0.3119), "0.312"),
        (gmacs(9.47), "9.47"),
        (params(999_600), "1.0 M"),
        (params(812_000), "812 k"),
        (duration(4.06), "4.1 s"),
        (duration(59.6), "60 s"),
        (duration(200), "3 min 20 s"),
        (duration(7500), "2 h 05 min"),
        (duration(200_000), "2 d 07 h"),
        (visible("a\u202eb\n\udcff👩‍🚀"), "a\\u202eb\\n\\udcff👩‍🚀"),
        (chart_text("<a href='x'>&"), "&lt;a href='x'&gt;&amp;"),
    ],
)
def test_values_read_well(shown: str, expected: str) -> None:
    assert shown == expected
