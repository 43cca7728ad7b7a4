"""The harness itself: 25 faults are planted in copies of the package, one each, and tests of the engine catch all."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.journey.engine import HERE

ORDER = "tests/journey/test_engine_order.py"
LEDGER, FOLDER, FILES, SEAL = (f"tests/runs/test_{name}.py" for name in ("ledger", "folder", "files", "seal"))
# file, what stands there, what is planted, the tests that have to fail
PLANTED = [
    (
        "study.py",
        "            if outcome is None:\n                return False",
        "            if outcome is None:\n                return True",
        f"{ORDER}::test_neither_the_number_of_workers_nor_their_order_shows",
    ),
    (
        "study.py",
        "WorkerDied) and finished.number not in died",
        "WorkerDied) and finished.number in died",
        f"{ORDER}::test_a_dead_worker_is_no_verdict_on_a_candidate_and_two_are",
    ),
    (
        "study.py",
        "for c in study.candidates if c.number not in study.outcomes)",
        "for c in study.candidates[:0])",
        f"{ORDER}::test_a_study_goes_on_from_wherever_it_stopped",
    ),
    (
        "study.py",
        '    "ResourceError": ResourceError,\n',
        "",
        f"{ORDER}::test_a_study_goes_on_from_wherever_it_stopped",
    ),
    (
        "study.py",
        "weights = FileRef(parent.weights, parent.sha256) if",
        "weights = self.start if",
        f"{ORDER}::test_every_candidate_starts_where_its_record_says",
    ),
    (
        "study.py",
        "    if outcome.number != candidate.number:",
        "    if outcome.number < 0:",
        f"{ORDER}::test_an_answer_that_is_none_is_a_failure_with_its_reason",
    ),
    (
        "runs/ledger.py",
        '            if self._body("outcome", name) is not None:',
        "            if False:",
        f"{LEDGER}::test_an_outcome_is_never_replaced",
    ),
    (
        "runs/ledger.py",
        "if id != expected or digest_of(kind, name, body).encode() != checksum:",
        "if id != expected:",
        f"{LEDGER}::test_a_body_changed_behind_our_back_is_found",
    ),
    (
        "runs/ledger.py",
        "                del learned[field]",
        "                learned[field]",
        f"{LEDGER}::test_the_dump_knows_neither_order_nor_time",
    ),
    (
        "runs/ledger.py",
        'if not name.startswith("_"):',
        "if name:",
        f"{LEDGER}::test_the_dump_knows_neither_order_nor_time",
    ),
    (
        "runs/ledger.py",
        'self._connection.execute("ROLLBACK")',
        'self._connection.execute("COMMIT")',
        f"{LEDGER}::test_a_batch_is_written_whole_or_not_at_all",
    ),
    (
        "runs/database.py",
        "PRAGMA journal_mode = MEMORY",
        "PRAGMA journal_mode = DELETE",
        f"{LEDGER}::test_a_ledger_that_is_made_needs_no_journal",
    ),
    (
        "runs/files.py",
        "rest = rest[os.write(file, rest) :]",
        "rest = rest[len(rest) + 0 * os.write(file, rest) :]",
        f"{FILES}::test_a_disk_that_fails_at_any_call_leaves_before_or_after",
    ),
    (
        "runs/files.py",
        "    if found != sha256:",
        "    if not found:",
        f"{FILES}::test_what_was_written_is_read_or_refused",
    ),
    (
        "runs/files.py",
        "    if old.exists() and not path.exists():",
        "    if old.exists() and path.exists():",
        f"{FILES}::test_a_folder_is_published_before_or_after",
    ),
    (
        "runs/files.py",
        "not (path := (root / name).resolve()).is_relative_to(root.resolve())",
        "not (path := (root / name).resolve())",
        f"{FILES}::test_a_name_never_leads_outside",
    ),
    (
        "runs/folder.py",
        "            if self.settings() != settings:",
        "            if not self.settings():",
        f"{FOLDER}::test_settings_are_written_once",
    ),
    (
        "runs/folder.py",
        "if not self.ledger.exists() and any",
        "if self.ledger.exists() and any",
        f"{FOLDER}::test_a_lost_ledger_is_not_begun_anew",
    ),
    (
        "runs/folder.py",
        "                rest.unlink(missing_ok=True)\n",
        "",
        f"{FOLDER}::test_the_lock_of_a_dead_owner_is_taken_over",
    ),
    (
        "runs/lock.py",
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
        f"{FOLDER}::test_the_lock_is_not_held_twice_in_one_process",
    ),
    (
        "runs/seal.py",
        'return hashlib.sha256(whole + b"\\n" + tensors)',
        "return hashlib.sha256(tensors)",
        f"{SEAL}::test_every_flipped_bit_and_every_cut_is_found",
    ),
    (
        "runs/executors/__init__.py",
        "return WorkFailed(",
        "return WorkerDied(",
        f"{ORDER}::test_a_fault_of_the_place_ends_the_study_and_is_nobodys",
    ),
    (
        "search/archive.py",
        "        gain = value - before - drift",
        "        gain = value - before + drift",
        f"{ORDER}::test_children_are_new_within_the_budget_and_compared_with_a_control",
    ),
    (
        "search/children.py",
        "            if missing is not None:\n                return missing",
        "            if missing is None:\n                return missing",
        f"{ORDER}::test_children_are_new_within_the_budget_and_compared_with_a_control",
    ),
    (
        "search/phases/final.py",
        "    if repeat >= settings.plan.seeds:",
        "    if repeat > settings.plan.seeds:",
        f"{ORDER}::test_finals_are_as_many_as_planned_over_the_same_seeds",
    ),
    (
        "search/phases/serial.py",
        "    if over and not archive.promising:",
        "    if over:",
        f"{ORDER}::test_who_is_promising_is_gone_on_with_and_who_is_not_is_not",
    ),
]


def caught(number: int, place: Path) -> str:
    """Plant fault `number` in a copy of the package and return what is wrong with the tests that should see it."""
    file, old, new, tests = PLANTED[number]
    source = place / str(number) / "src"
    shutil.copytree(HERE / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    target = source / "spnas" / file
    text = target.read_text()
    if text.count(old) != 1:
        return f"{file}: {old!r} stands there {text.count(old)} times; plant another fault"
    target.write_text(text.replace(old, new))
    options = ["-x", "-q", "--noconftest", "-p", "no:cacheprovider", "--basetemp", str(place / f"{number}-temp")]
    path = os.pathsep.join([str(source), str(HERE)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tests],
        cwd=HERE,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    shutil.rmtree(place / f"{number}-temp", ignore_errors=True)
    return "" if done.returncode == 1 else f"{file}: {new!r} ended with {done.returncode}: {done.stdout[-800:]}"


def test_every_planted_fault_is_caught(tmp_path: Path) -> None:
    """None of the named tests passes over the fault that it is there for, two at a time."""
    assert len(PLANTED) >= 25
    with ThreadPoolExecutor(2) as pool:
        missed = [said for said in pool.map(lambda number: caught(number, tmp_path), range(len(PLANTED))) if said]
    assert missed == [], "\n".join(missed)
