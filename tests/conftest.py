"""What tests of several rooms share."""

from pathlib import Path

import pytest
import torch

from spnas.data.generate import GeneratorSettings, generate
from spnas.data.open import open_data
from spnas.data.records import DataSet

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and known answers that lies beside a checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder {SHARED.name}/ beside the checkout: real data and known answers are not here")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is cached per user out of the user's own cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


TINY = GeneratorSettings(train=24, val=12, side_px=64, objects=(1, 3), size_px=(14, 36))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO folder of a few small generated pictures."""
    folder = tmp_path_factory.mktemp("tiny") / "shapes"
    generate(folder, TINY)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> DataSet:
    """The same, opened."""
    return open_data(tiny_folder)
