"""What tests of several rooms share."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

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


@pytest.fixture(scope="session")
def stored_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its pictures stored as 64 x 48 and displayed turned by EXIF; boxes are those of the stored ones."""
    folder = tmp_path_factory.mktemp("stored") / "shapes"
    shutil.copytree(tiny_folder, folder)
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            image.crop((0, 0, 64, 48)).save(path, exif=exif)
    for path in (folder / "annotations").iterdir():
        document = json.loads(path.read_text())
        document["images"] = [one | {"height": 48} for one in document["images"]]
        document["annotations"] = [one for one in document["annotations"] if one["bbox"][1] + one["bbox"][3] <= 48]
        path.write_text(json.dumps(document))
    return folder
