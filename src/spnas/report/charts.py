"""The three charts: the front, the progress of the search beside its controls, and the finals seed by seed.

Each returns a plotly figure in the light palette, on transparent paper.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spnas.report.palette import SYMBOLS, shade
from spnas.report.records import Axes, CandidateRow, FinalRow
from spnas.report.text import chart_text, gmacs, metric, params, points, signed, span

if TYPE_CHECKING:
    import plotly.graph_objects as go

HOVER = "%{text}<extra></extra>"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


def draw_front(
    rows: Sequence[CandidateRow], *, finals: Sequence[FinalRow] = (), axes: Axes | None = None
) -> "go.Figure":
    """What was looked for against its cost: candidates, the front they make, and, where AP was looked for, the nets
    that were trained in full."""
    axes = axes or Axes()
    tried = [row for row in rows if _value(row, axes) is not None and row.candidate.role in ("root", "child")]
    figure = _figure(axes.cost, metric(axes.metric))
    if axes.band:
        figure.add_vrect(x0=axes.band[0], x1=axes.band[1], fillcolor=shade("band"), line_width=0, layer="below")
    behind = [row for row in tried if not row.on_front and row.candidate.role == "child"]
    front = sorted((row for row in tried if row.on_front), key=lambda row: _cost(row))
    roots = [row for row in tried if row.candidate.role == "root"]
    for name, shown, colour, symbol, size in (
        ("candidate", behind, "candidate", "child", 8),
        ("front", front, "searched", "child", 10),
        ("root", roots, "root", "root", 11),
    ):
        if shown:
            figure.add_scatter(
                name=name, mode="markers", hovertemplate=HOVER,
                x=[_cost(row) for row in shown], y=[_value(row, axes) for row in shown],
                text=[_hover(row, axes) for row in shown], marker=_marker(colour, SYMBOLS[symbol], size),
            )  # fmt: skip
        if shown and name == "front":
            figure.data[-1].update(mode="lines+markers", line={"color": shade(colour), "shape": "hv", "width": 1.5})
    for role, name in (("searched", "finalist, trained in full"), ("rival", "rival, trained in full")):
        trained = [final for final in finals if final.role == role and final.mean is not None]
        if trained and axes.metric == "ap":
            figure.add_scatter(
                name=name, mode="markers", hovertemplate=HOVER,
                x=[final.gmacs if final.cost is None else final.cost for final in trained],
                y=[100 * (final.mean or 0.0) for final in trained],
                error_y=_whiskers(trained, colour=role),
                text=[_final_hover(final) for final in trained],
                marker=_marker(role, SYMBOLS[role], 15 if role == "searched" else 13),
            )  # fmt: skip
    return figure


def draw_progress(rows: Sequence[CandidateRow]) -> "go.Figure":
    """AP over the candidates: every child on a stem from its control, which is its parent merely trained on."""
    figure = _figure("candidate", "AP")
    paired = [row for row in rows if row.gain is not None and _ap(row) is not None]
    for better, colour, name in (
        (True, "searched", "gain over control"),
        (False, "worse", "loss to control"),
    ):
        stems = [row for row in paired if ((row.gain or 0.0) > 0) is better]
        if stems:
            xs = [x for row in stems for x in (row.candidate.number, row.candidate.number, None)]
            ys = [y for row in stems for y in (100 * _control(row), 100 * (_ap(row) or 0.0), None)]
            line = {"color": shade(colour), "width": 2}
            figure.add_scatter(name=name, mode="lines", x=xs, y=ys, line=line, hoverinfo="skip")
    if paired:
        figure.add_scatter(
            name="control: parent trained on", mode="markers", hovertemplate=HOVER,
            x=[row.candidate.number for row in paired],
            y=[100 * _control(row) for row in paired],
            text=[f"control of {row.candidate.number}: AP {points(_control(row))}" for row in paired],
            marker={"symbol": SYMBOLS["control"], "size": 7, "color": shade("control"), "line": {"width": 2}},
        )  # fmt: skip
    done = [row for row in rows if _ap(row) is not None]
    children = [row for row in done if row.candidate.role == "child"]
    _add_progress(figure, "child", children, colour="searched", symbol=SYMBOLS["child"], size=7)
    roots = [row for row in done if row.candidate.role == "root"]
    _add_progress(figure, "root", roots, colour="root", symbol=SYMBOLS["root"], size=10)
    _add_best(figure, [row for row in done if row.candidate.role in ("root", "child")])
    failed = [row for row in rows if row.outcome is not None and row.outcome.failure is not None]
    if failed:
        heights = [100 * (_ap(row) or 0.0) for row in done] + [100 * _control(row) for row in paired]
        floor = min(heights) - max(1.0, 0.08 * (max(heights) - min(heights))) if heights else 0.0
        figure.add_scatter(
            name="failed", mode="markers", hovertemplate=HOVER,
            x=[row.candidate.number for row in failed], y=[floor] * len(failed),
            text=[f"{row.candidate.number}: {chart_text(_reason(row))}" for row in failed],
            marker={"symbol": "x-thin", "size": 9, "line": {"color": shade("worse"), "width": 2}},
        )  # fmt: skip
    if len(rows) <= 10:
        figure.update_xaxes(tick0=0, dtick=1)
    return figure


def draw_finals(finals: Sequence[FinalRow]) -> "go.Figure":
    """Every final on a row of its own: its mean with the 95 % interval, and below it a dot per seed."""
    figure = _figure("AP on val", "")
    shown = [final for final in finals if final.aps]
    for role in ("searched", "rival", "root"):
        nets = [(place, final) for place, final in enumerate(shown) if final.role == role]
        if not nets:
            continue
        seeds = [(place + 0.24, 100 * ap) for place, final in nets for ap in final.aps]
        figure.add_scatter(
            name=f"{role}: seeds", mode="markers", hovertemplate="one seed: AP %{x:.1f}<extra></extra>",
            x=[ap for _, ap in seeds], y=[y for y, _ in seeds],
            marker={"symbol": "circle", "size": 9, "color": shade(role), "opacity": 0.55},
        )  # fmt: skip
        figure.add_scatter(
            name=f"{role}: mean and interval", mode="markers", hovertemplate=HOVER,
            x=[100 * (final.mean or 0.0) for _, final in nets], y=[place for place, _ in nets],
            error_x=_whiskers([final for _, final in nets], colour=role),
            text=[_final_hover(final) for _, final in nets],
            marker=_marker(role, SYMBOLS[role], 14),
        )  # fmt: skip
    for place, final in enumerate(shown):  # above its line, where a long name costs no width on a phone
        figure.add_annotation(
            text=_label(final), x=0, xref="paper", xanchor="left", y=place - 0.22, yanchor="bottom",
            showarrow=False, font={"color": shade("ink")},
        )  # fmt: skip
    figure.update_yaxes(range=[len(shown) - 0.5, -0.62], showgrid=False, showticklabels=False)
    figure.update_layout(height=64 + 84 * len(shown), showlegend=False, margin={"t": 4, "l": 8})
    return figure


def _figure(x_title: str, y_title: str) -> "go.Figure":
    import plotly.graph_objects as go

    line, ink = shade("line"), {"color": shade("ink")}
    axis = {"gridcolor": line, "linecolor": line, "zeroline": False, "automargin": True, "fixedrange": True}
    return go.Figure(
        layout={
            "template": "none",
            "font": {"family": FONT, "size": 13, "color": shade("quiet")},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 44, "r": 8, "t": 44, "b": 44},
            "height": 440,
            "hovermode": "closest",
            "hoverlabel": {"bgcolor": shade("panel"), "bordercolor": line, "font": ink, "align": "left"},
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "font": ink},
            "xaxis": {"title": {"text": x_title, "standoff": 8}, **axis},
            "yaxis": {"title": {"text": y_title, "standoff": 8}, **axis},
            "showlegend": True,
            "dragmode": False,
        }
    )


def _marker(colour: str, symbol: str, size: int) -> dict[str, Any]:
    return {
        "color": shade(colour),
        "symbol": symbol,
        "size": size,
        "line": {"color": shade("paper"), "width": 1},
    }


def _add_progress(
    figure: "go.Figure", name: str, rows: Sequence[CandidateRow], *, colour: str, symbol: str, size: int
) -> None:
    if rows:
        figure.add_scatter(
            name=name, mode="markers", hovertemplate=HOVER,
            x=[row.candidate.number for row in rows], y=[100 * (_ap(row) or 0.0) for row in rows],
            text=[_hover(row) for row in rows], marker=_marker(colour, symbol, size),
        )  # fmt: skip


def _add_best(figure: "go.Figure", rows: Sequence[CandidateRow]) -> None:
    if not rows:
        return
    best, xs, ys = 0.0, [], []
    for row in sorted(rows, key=lambda row: row.candidate.number):
        best = max(best, 100 * (_ap(row) or 0.0))
        xs.append(row.candidate.number)
        ys.append(best)
    line = {"color": shade("ink"), "width": 1, "dash": "dot", "shape": "hv"}
    figure.add_scatter(name="best so far", mode="lines", x=xs, y=ys, line=line, hoverinfo="skip")


def _whiskers(finals: Sequence[FinalRow], *, colour: str) -> dict[str, Any]:
    low = [100 * ((final.mean or 0.0) - final.interval[0]) if final.interval else 0.0 for final in finals]
    high = [100 * (final.interval[1] - (final.mean or 0.0)) if final.interval else 0.0 for final in finals]
    return {
        "type": "data",
        "symmetric": False,
        "array": high,
        "arrayminus": low,
        "color": shade(colour),
        "width": 6,
    }


def _hover(row: CandidateRow, axes: Axes | None = None) -> str:
    one, outcome = row.candidate, row.outcome
    lines = [f"<b>{one.number}</b> · {one.role} · AP {points(_ap(row))}"]
    if axes and axes.metric != "ap":
        lines[0] += f" · {metric(axes.metric)} {_value(row, axes):.3g}"
    lines[0] += f" · {gmacs(outcome.gmacs if outcome else 0.0)} GMACs"
    if axes and row.cost is not None and axes.cost != "GMACs":
        lines[0] += f" · {row.cost:.3g} {axes.cost}"
    if outcome and outcome.params:
        lines[0] += f" · {params(outcome.params)} parameters"
    lines += _wrapped(one.arch.text)
    if one.moves:
        lines.append(chart_text(f"from {one.parent}: {'; '.join(map(str, one.moves))}"))
    if row.gain is not None:
        lines.append(f"{signed(row.gain)} AP against its control")
    return "<br>".join(lines)


def _final_hover(final: FinalRow) -> str:
    head = f"<b>{chart_text(final.name)}</b> · AP {points(final.mean)} ({span(final.interval)})"
    return "<br>".join(
        [head, f"{gmacs(final.gmacs)} GMACs · {params(final.params)} parameters", *_wrapped(final.arch.text)]
    )


def _wrapped(arch_text: str) -> list[str]:
    """Break an architecture after its stages: a hover box is as wide as its longest line."""
    lines = [""]
    for stage in arch_text.split(" / "):
        joined = f"{lines[-1]} / {stage}" if lines[-1] else stage
        lines = [*lines[:-1], joined] if len(joined) <= 48 else [*lines, stage]
    return [chart_text(line) for line in lines if line]


def _label(final: FinalRow) -> str:
    return chart_text(final.name if len(final.name) <= 40 else f"{final.name[:39]}…")


def _ap(row: CandidateRow) -> float | None:
    return row.outcome.metrics.get("ap") if row.outcome and row.outcome.failure is None else None


def _control(row: CandidateRow) -> float:
    return (_ap(row) or 0.0) - (row.gain or 0.0)


def _value(row: CandidateRow, axes: Axes) -> float | None:
    """Return what was looked for, in points but for a loss."""
    found = row.outcome.metrics.get(axes.metric) if row.outcome and row.outcome.failure is None else None
    return None if found is None else found if axes.metric == "loss" else 100 * found


def _cost(row: CandidateRow) -> float:
    return row.cost if row.cost is not None else row.outcome.gmacs if row.outcome else 0.0


def _reason(row: CandidateRow) -> str:
    reason = (row.outcome.failure if row.outcome else "") or ""
    return reason if len(reason) <= 120 else f"{reason[:119]}…"
