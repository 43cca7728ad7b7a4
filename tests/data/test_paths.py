"""A name out of a file leads to a file inside the folder, or nowhere."""

from pathlib import Path

import pytest

from spnas.data.paths import resolve_inside
from spnas.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "100%25.png", "back\\slash.png"):
        (root / name).touch()
    (tmp_path / "out.png").touch()
    (tmp_path / "rooter").mkdir()
    (tmp_path / "rooter" / "c.png").touch()
    return root


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("sub/b.png", "sub/b.png"),
        ("sub\\b.png", "sub/b.png"),
        ("sub//b.png", "sub/b.png"),
        ("sub/../a.png", "sub/../a.png"),
        ("100%25.png", "100%25.png"),
        ("%61.png", "a.png"),
        ("back\\slash.png", "back\\slash.png"),
        ("none.png", "none.png"),
        ("none\\none.png", "none/none.png"),
    ],
)
def test_names_inside_are_found(name: str, found: str, root: Path) -> None:
    assert resolve_inside(root, name) == root / found


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../out.png", "path-outside"),
        ("sub/../../out.png", "path-outside"),
        ("..\\out.png", "path-outside"),
        ("%2e%2e/out.png", "path-outside"),
        ("../rooter/c.png", "path-outside"),
        ("..", "path-outside"),
        ("/etc/passwd", "path-absolute"),
        ("\\etc\\passwd", "path-absolute"),
        ("//server/share", "path-absolute"),
        ("C:\\a.png", "path-absolute"),
        ("c:/a.png", "path-absolute"),
        ("file:///etc/passwd", "path-url"),
        ("http://example.org/a.png", "path-url"),
        ("", "path-empty"),
        ("a.png\0", "path-empty"),
        ("A.png", "path-case"),
        ("sub/B.PNG", "path-case"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str, code: str, root: Path) -> None:
    with pytest.raises(DataError, match=rf"\[{code}\]") as caught:
        resolve_inside(root, name)
    assert str(caught.value).isprintable()


def test_links_are_followed_before_they_are_judged(root: Path, tmp_path: Path) -> None:
    (root / "file.png").symlink_to(tmp_path / "out.png")
    (root / "folder").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    (root / "good.png").symlink_to("sub/b.png")
    for name in ("file.png", "folder/out.png", "folder/root/../out.png"):
        with pytest.raises(DataError, match="path-outside"):
            resolve_inside(root, name)
    assert resolve_inside(root, "good.png") == root / "good.png"
    assert resolve_inside(root, "loop") == root / "loop"


def test_one_other_folder_may_be_allowed(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "rooter"
    assert resolve_inside(root, "../rooter/c.png", allow_outside=other).samefile(other / "c.png")
    assert resolve_inside(root, str(other / "c.png"), allow_outside=other) == other / "c.png"
    for name in ("../out.png", "/etc/passwd"):
        with pytest.raises(DataError, match="path-outside"):
            resolve_inside(root, name, allow_outside=other)


def test_a_root_that_is_a_link_is_the_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert resolve_inside(tmp_path / "link", "sub/b.png") == tmp_path / "link" / "sub/b.png"


def test_the_root_of_everything_holds_everything() -> None:
    assert resolve_inside(Path("/"), "etc/passwd") == Path("/etc/passwd")
