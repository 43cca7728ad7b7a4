"""Every code that the data room uses stands in docs/data-errors.md, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r'"([a-z]+(?:-[a-z0-9]+)+)"')
OTHER_SLUGS = {"utf-8", "us-ascii", "percent-encoded", "sitting-lying", "behind-glass", "person-group-far-away"}


def used() -> set[str]:
    sources = "\n".join(p.read_text() for p in sorted((ROOT / "src/spnas/data").rglob("*.py")))
    return {c for c in CODE.findall(sources) if c not in OTHER_SLUGS}


def test_the_page_lists_exactly_the_codes_in_use() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "docs/data-errors.md").read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == used()


def test_every_row_says_what_happens_and_what_to_do() -> None:
    for line in (ROOT / "docs/data-errors.md").read_text().splitlines():
        if line.startswith("| `"):
            _, _, outcome, meaning, remedy, _ = (cell.strip() for cell in line.split("|"))
            assert outcome in {"refused", "quarantined", "noted"}
            assert meaning
            assert remedy
