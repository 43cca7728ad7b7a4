"""What is said where a command differs from the one that a study began with."""

import re
from pathlib import Path

import msgspec
import pytest
from tests.tasks.test_watch import settings_of

from spnas.data.transforms import Resize
from spnas.errors import UsageError
from spnas.runs.folder import RunFolder
from spnas.search.budget import parse_budget
from spnas.tasks.resume import begin_or_go_on


def test_differences_are_named_by_option_and_what_follows_from_others_is_not(tmp_path: Path) -> None:
    """A budget is twice the root's where nobody gave one, so it changes with the size of the pictures."""
    folder, begun = RunFolder(tmp_path / "run"), settings_of()
    search, changed = begun.search, msgspec.structs.replace
    recipe = changed(begun.recipe, resize=Resize(None, 96))
    costly = changed(search, budget=parse_budget("8MMAC"))
    hasty = changed(search, rules=changed(search.rules, rungs=False))
    cases = (
        (changed(begun, recipe=recipe, search=costly), "--image-size: recipe.resize.long is 64, not 96"),
        (changed(begun, search=costly), "--budget: search.budget.gmacs is 0.02, not 0.008"),
        (changed(begun, search=hasty), "--without: search.rules.rungs is True, not False"),
    )
    with folder.lock():
        begin_or_go_on(folder, begun, None)
        for asked, said in cases:
            with pytest.raises(UsageError, match=re.escape(f"begun with other settings ({said}); give the same")):
                begin_or_go_on(folder, asked, begun)
