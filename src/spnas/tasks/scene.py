"""How a watched study looks on a terminal: lines that fit its width and height, with names that do it no harm."""

import math
from collections.abc import Sequence

from spnas.errors import escape
from spnas.talk import duration
from spnas.tasks.watch import FinalNet, FrontNet, Watched, mean

BAR, SHADES = 24, "▁▂▃▄▅▆▇█"
UNITS = {"gmacs": ("GMAC", 1.0), "params": ("M params", 1e-6), "milliseconds": ("ms", 1.0)}
STATES = {
    "waiting": "has not begun",
    "running": "running",
    "stopped": "stopped (run the same search again to go on)",
    "finished": "finished",
}
LEAST_ROWS = 2


def lines_of(seen: Watched, *, width: int = 100, height: int | None = None) -> list[str]:
    """Return what is shown, each line at most `width` characters; with `height`, the longer lists are cut to fit."""
    fixed = [*_head(seen), *_running(seen)]
    tail = [*_copies(seen), *_finals(seen), *_verdict(seen)]
    lists = [_front(seen), _chart(seen, width), _listed("last outcomes", seen.outcomes), _failures(seen), _lit(seen)]
    if height is not None:
        room = height - len(fixed) - len(tail)
        while sum(map(len, lists)) > room and any(len(rows) > 1 + LEAST_ROWS for rows in lists):
            longest = max(lists, key=len)
            del longest[1 if longest[0].startswith("last") else -1]
    found = [*fixed, *(row for rows in lists for row in rows), *tail]
    return [_cut(escape(line), width) for line in found][:height]


def _head(seen: Watched) -> list[str]:
    left = f", about {duration(seen.seconds_left)} left" if seen.seconds_left is not None else ""
    lines = [f"{STATES[seen.state]}, {duration(seen.seconds)} so far{left}: {seen.folder}"]
    if seen.state == "stopped" and seen.unfinished:
        lines.append(f"  {seen.unfinished} trainings were under way when it stopped; they go on from their checkpoints")
    for phase in seen.phases:
        if phase.name == "reignite":
            lines.append(f"  {phase.name:9} {phase.done} so far")
            continue
        over = ", over" if phase.over and phase.done < phase.planned else ""
        lines.append(f"  {phase.name:9} {_bar(phase.done, phase.planned)} {phase.done} of {phase.planned}{over}")
    return lines


def _running(seen: Watched) -> list[str]:
    rows = [
        f"  {under.name:28} {_bar(under.step or 0, under.steps)} "
        + (f"{under.step}/{under.steps}" if under.step is not None else "begins")
        + f"  {under.arch}"
        for under in seen.running
    ]
    return ["trained now", *rows] if rows else []


def _front(seen: Watched) -> list[str]:
    if not seen.front:
        return []
    unit, _ = UNITS[seen.cost_unit]
    head = f"front: {len(seen.front)} nets, {seen.metric} against {unit}"
    return [head, *(f"  {_net(net, seen)}" for net in seen.front)]


def _net(net: FrontNet, seen: Watched) -> str:
    unit, scale = UNITS[seen.cost_unit]
    value = "-" if math.isnan(net.value) else f"{net.value:.3f}"
    return (
        f"{net.number:5}  {seen.metric} {value}  fitness {net.fitness:.3f}  {net.cost * scale:7.3g} {unit}  {net.arch}"
    )


def _chart(seen: Watched, width: int) -> list[str]:
    if not seen.volumes:
        return []
    return [
        f"hypervolume {seen.hypervolume:.4g} after {len(seen.front)} on the front",
        f"  {spark(seen.volumes, width - 2)}",
    ]


def spark(values: Sequence[float], width: int) -> str:
    """Draw values from the least to the most as a line of blocks, thinned out to `width`."""
    step = max(1, math.ceil(len(values) / max(1, width)))
    shown = [*values[::step][: width - 1], values[-1]] if len(values) > 1 else list(values)
    low, high = min(shown), max(shown)
    scale = (len(SHADES) - 1) / (high - low) if high > low else 0.0
    return "".join(SHADES[round((value - low) * scale)] for value in shown)


def _listed(title: str, rows: Sequence[str]) -> list[str]:
    return [title, *(f"  {row}" for row in rows)] if rows else []


def _failures(seen: Watched) -> list[str]:
    return _listed(f"failed: {seen.failed}", seen.failures)


def _lit(seen: Watched) -> list[str]:
    return _listed("re-ignitions", seen.ignitions)


def _copies(seen: Watched) -> list[str]:
    if not seen.with_copies or seen.best_with_copies is None:
        return []
    return [f"with copies: {seen.with_copies} nets, the best", f"  {_net(seen.best_with_copies, seen)}"]


def _finals(seen: Watched) -> list[str]:
    rows = [_final(net, seen.metric) for net in seen.finals]
    return _listed("finals", rows)


def _final(net: FinalNet, metric: str) -> str:
    values = ", ".join(f"{value:.3f}" for value in net.values)
    told = f"{metric} {mean(net.values):.3f} ({values})" if net.values else "-"
    return f"{net.name:24} {len(net.values)} of {net.planned} seeds  {told}  {net.arch}"


def _verdict(seen: Watched) -> list[str]:
    return [line for line in (seen.verdict, seen.copies_verdict) if line is not None]


def _bar(done: float, total: float) -> str:
    filled = round(BAR * min(1.0, done / total)) if total else 0
    return "█" * filled + "░" * (BAR - filled)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"
