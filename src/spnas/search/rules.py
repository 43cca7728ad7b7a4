"""The rules by which a search goes on, each with a switch of its own, and the presets made of them."""

import msgspec

from spnas.errors import UsageError
from spnas.shelf import nearest


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which parts of a search are on, see `PARTS`; the defaults are those of the preset `plus`.

    released: all parts are put aside for the rule of the authors' release, faults included.
    """

    controls: bool = True
    repair: bool = True
    density: bool = True
    age: bool = True
    noise: bool = True
    rungs: bool = True
    predictor: bool = True
    twin: bool = True
    released: bool = False


PARTS = {
    "controls": "a child is compared with what its parent would have come to by training on, not by its AP",
    "repair": "moves are mended to use 90 to 100 % of the budget, also by shrinking; else nets over it are drawn again",
    "density": "parents are drawn by how few others on the front cost as much; else all on it alike",
    "age": "parents are no older than so many candidates, where there are younger ones",
    "noise": "nets that are worse than the front by no more than half the measured noise may be parents too",
    "rungs": "children are stopped after a third of their steps unless they are promising by then",
    "predictor": "the best of several drawn children by what was learned so far, once that is 25 outcomes",
    "twin": "the best net with copies is judged beside a serial net of as many MACs",
}
PRESETS = {
    "plus": Rules(),
    "paper": Rules(**dict.fromkeys((name for name in PARTS if name != "twin"), False)),
    "vega-v1": Rules(**dict.fromkeys(PARTS, False), released=True),
}


def rules_of(preset: str, without: tuple[str, ...] = ()) -> Rules:
    """Return the rules of a preset, with some parts left out.

    Raises: UsageError for an unknown preset or part.
    """
    if preset not in PRESETS:
        raise UsageError(f"--preset {preset!r}: {nearest(preset, tuple(PRESETS))}")
    for part in without:
        if part not in PARTS:
            raise UsageError(f"--without {part!r}: {nearest(part, tuple(PARTS))}")
    return msgspec.structs.replace(PRESETS[preset], **dict.fromkeys(without, False))
