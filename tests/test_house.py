"""The rules the house is built by: which way imports point, how large rooms are, and that tests mirror the package."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "spnas"
FILES = sorted(SOURCE.rglob("*.py"))
# imports point down; rooms of one rank never import each other
RANKS = [
    {"errors", "rng"},
    {"shelf", "talk"},
    {"arch"},
    {"data", "nets", "search", "runs"},
    {"morph", "train", "evaluate", "export", "report", "study"},
    {"reignite"},
    {"assess", "bench", "hub", "latency", "predict"},
    {"config", "pace", "models"},
    {"worker", "adapters", "timm"},
    {"tasks"},
    {"cli"},
    {"__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
WITHOUT_TORCH = {"errors", "rng", "shelf", "talk", "arch", "search", "runs", "report", "study"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager", "cfg", "desc"}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the dotted names a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", [p for p in FILES if room(p) != "__init__"], ids=name_of)
def test_imports_point_down(path: Path) -> None:
    mine = room(path)
    for name in imports(path):
        if name.startswith("spnas."):
            other = name.split(".")[1]
            assert other == mine or RANK[other] < RANK[mine], f"{path.name} imports {name}"


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in WITHOUT_TORCH], ids=name_of)
def test_rooms_that_decide_do_without_torch(path: Path) -> None:
    assert not {n for n in imports(path) if n.split(".")[0] in ("torch", "torchvision")}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            statements = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            length = (node.end_lineno or 0) - statements[0].lineno + 1 if statements else 0
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_things_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text())
    undocumented = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]
    assert undocumented == []
    assert not path.read_text().strip() or ast.get_docstring(tree)


def test_no_room_has_a_name_that_says_nothing() -> None:
    assert not {p.stem for p in FILES} & FORBIDDEN_NAMES


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_tests_lie_where_what_they_test_lies(path: Path) -> None:
    folder = path.relative_to(ROOT / "tests").parent
    if folder.parts[:1] in ((), ("contracts",), ("journey",)):
        return
    assert (SOURCE / folder).is_dir(), f"tests/{folder} mirrors no room"


def test_every_room_has_tests() -> None:
    by_the_journey = {"__init__", "__main__", "cli", "talk", "worker", "config", "errors"}
    rooms = {room(p) for p in FILES} - by_the_journey
    first = {p.relative_to(ROOT / "tests").parts[0] for p in (ROOT / "tests").rglob("test_*.py")}
    assert rooms - {name.removesuffix(".py").removeprefix("test_") for name in first} == set()
