"""Models in folders, and on the Hub, which no test reaches."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

import spnas
from spnas.arch import parse
from spnas.data.transforms import Resize
from spnas.errors import IntegrityError, UsageError
from spnas.hub import read_weights
from spnas.nets.backbone import Backbone
from spnas.nets.features import Classifier, Features
from spnas.nets.settings import PRESETS
from spnas.train.weights import ModelConfig, build, write_bundle

SMALL = "basic: 16x2 / 32x2 / 64x1"
X = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_features_come_back_as_they_went(tmp_path: Path) -> None:
    """Architecture, chosen outputs, kept projections and every bit."""
    net = Backbone(parse(SMALL), projections=frozenset({1}))
    model = Features(net, out_indices=(0, 2)).eval()
    spnas.save_pretrained(model, tmp_path / "new" / "folder")
    back = spnas.from_pretrained(tmp_path / "new" / "folder")
    assert isinstance(back, Features)
    assert not back.training
    assert (back.backbone.arch, back.backbone.projections) == (net.arch, net.projections)
    assert all(torch.equal(a, b) for a, b in zip(back(X), model(X), strict=True))


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True])
def test_copies_come_back_too(tmp_path: Path, tied: bool) -> None:
    """With weights of their own, or tied to their stage."""
    net = Backbone(parse(f"{SMALL} + 1-0-2"), tied=tied).eval()
    back = spnas.from_pretrained(spnas.save_pretrained(net, tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(back(X), net(X), strict=True))


@torch.no_grad()
def test_a_classifier_comes_back_as_one(tmp_path: Path) -> None:
    """With its linear layer."""
    model = spnas.create_model(SMALL, features_only=False, num_classes=3).eval()
    back = spnas.from_pretrained(spnas.save_pretrained(model, tmp_path))
    assert isinstance(back, Classifier)
    assert torch.equal(back(X), model(X))


def test_two_files_are_written_and_neither_is_a_pickle(tmp_path: Path) -> None:
    """The config is JSON that a person can read, and the weights carry it as well."""
    spnas.save_pretrained(spnas.create_model(SMALL), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["arch"] == SMALL
    assert read_weights(tmp_path / "model.safetensors").arch == parse(SMALL)
    assert all(name.startswith("backbone.") for name in load_file(tmp_path / "model.safetensors"))


@torch.no_grad()
def test_create_model_takes_what_save_pretrained_wrote(tmp_path: Path) -> None:
    """The folder or the file in it, for features and for a classifier."""
    model = spnas.create_model(SMALL, features_only=False, num_classes=3).eval()
    spnas.save_pretrained(model, tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        again = spnas.create_model(SMALL, features_only=False, num_classes=3, pretrained_path=path).eval()
        assert torch.equal(again(X), model(X))
        assert torch.equal(spnas.create_model(SMALL, pretrained_path=path).eval()(X)[2], model.forward_features(X))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A detector of ours on disk, whose backbone keeps a projection."""
    config = ModelConfig(
        detector="faster_rcnn",
        arch=SMALL,
        projections=(1,),
        classes=("boat",),
        category_ids=(1,),
        settings=PRESETS["small"],
        resize=Resize(None, 64),
    )
    folder, made = tmp_path_factory.mktemp("bundle"), build(config, seed=0).eval()
    write_bundle(folder, made, config)
    return folder, made


@torch.no_grad()
def test_the_backbone_of_a_detector_is_a_model_too(detector: tuple[Path, Any]) -> None:
    """From its folder, or from its weights file alone."""
    folder, made = detector
    for model in (
        spnas.from_pretrained(folder),
        spnas.create_model(SMALL, pretrained_path=folder).eval(),
        spnas.create_model(SMALL, pretrained_path=folder / "model.safetensors").eval(),
    ):
        assert model.backbone.projections == {1}
        assert all(torch.equal(a, b) for a, b in zip(model(X), made.backbone(X), strict=True))


def rewrite(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": "basic: 16x2 / 32x2 / 64x2"}, "do not suit 'basic: 16x2 / 32x2 / 64x2'"),
        ({"num_classes": 10}, "tensor 'fc.bias' and 1 more do not suit"),
        ({"projections": [1]}, "do not suit"),
        ({"arch": "bottleneck: " + " / ".join(["8192x50"] * 8)}, "do not suit"),
    ],
)
def test_tensors_that_do_not_suit_are_refused_before_anything_is_built(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """Also where the named net would fill any memory."""
    spnas.save_pretrained(spnas.create_model(SMALL), tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(IntegrityError, match=message):
        spnas.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "newer spnas"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "does not describe a backbone of ours .*auto_map"),
        ({"arch": "os.system: 1x1"}, "there is no 'os.system' in blocks"),
        ({"out_indices": [7]}, "out_indices"),
        ({"arch": 3}, "does not describe"),
    ],
)
def test_configs_are_data(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Unknown keys, dotted names and newer schemas end in one sentence."""
    spnas.save_pretrained(spnas.create_model(SMALL), tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(UsageError, match=message):
        spnas.from_pretrained(tmp_path)


def test_what_is_no_model_is_said_to_be_none(tmp_path: Path) -> None:
    """Empty folders, cut files, other modules, missing files."""
    with pytest.raises(UsageError, match=r"no config\.json and model\.safetensors"):
        spnas.from_pretrained(tmp_path)
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(IntegrityError, match="not a whole safetensors file"):
        read_weights(tmp_path / "cut.safetensors")
    with pytest.raises(UsageError, match="no such file"):
        read_weights(tmp_path / "gone.safetensors")
    with pytest.raises(UsageError, match="Linear cannot be saved here"):
        spnas.save_pretrained(torch.nn.Linear(1, 1), tmp_path)


def test_foreign_safetensors_are_tensors_without_an_architecture(tmp_path: Path) -> None:
    """Their names are translated later, by the net that takes them."""
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "net.safetensors")
    assert read_weights(tmp_path / "net.safetensors").arch is None


class Hub:
    """A Hub in a folder: the three calls we make, and nothing that opens a socket."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls = root, list[tuple[str, dict[str, Any]]]()

    def create_repo(self, repo_id: str, **options: Any) -> str:
        self.calls.append(("create_repo", options))
        (self.root / repo_id).mkdir(parents=True, exist_ok=options["exist_ok"])
        return f"https://hub.example/{repo_id}"

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.calls.append(("upload_folder", {"commit_message": commit_message}))
        for file in Path(folder_path).iterdir():
            (self.root / repo_id / file.name).write_bytes(file.read_bytes())

    def snapshot_download(self, repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.calls.append(("snapshot_download", {"revision": revision, "allow_patterns": allow_patterns}))
        return str(self.root / repo_id)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    module = ModuleType("huggingface_hub")
    module.HfApi = lambda: made
    module.snapshot_download = made.snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return made


@torch.no_grad()
def test_a_model_goes_to_the_hub_and_comes_back(hub: Hub) -> None:
    """The same two files; only they are fetched, at the revision asked for."""
    model = spnas.create_model(SMALL).eval()
    assert spnas.push_to_hub(model, "someone/boats", private=True) == "https://hub.example/someone/boats"
    back = spnas.from_pretrained("someone/boats", revision="v1")
    assert all(torch.equal(a, b) for a, b in zip(back(X), model(X), strict=True))
    assert hub.calls[0] == ("create_repo", {"private": True, "exist_ok": True})
    fetched = hub.calls[-1][1]
    assert fetched["revision"] == "v1"
    assert set(fetched["allow_patterns"]) == {"config.json", "model.safetensors", "manifest.json"}


def test_the_calls_are_those_of_the_real_library() -> None:
    """The installed huggingface_hub takes the arguments that the stand-in takes."""
    import inspect

    import huggingface_hub

    for function, names in (
        (huggingface_hub.HfApi.create_repo, {"repo_id", "private", "exist_ok"}),
        (huggingface_hub.HfApi.upload_folder, {"repo_id", "folder_path", "commit_message"}),
        (huggingface_hub.snapshot_download, {"repo_id", "revision", "allow_patterns"}),
    ):
        assert names <= inspect.signature(function).parameters.keys()


@pytest.mark.parametrize("name", ["boats", "../boats", "a/b/c", "some one/boats", "/tmp/gone", "./gone"])
def test_what_is_neither_folder_nor_id_is_not_looked_for(hub: Hub, name: str) -> None:
    """A mistyped path must not become a request to the network."""
    with pytest.raises(UsageError, match="no such folder, and not an id"):
        spnas.from_pretrained(name)
    with pytest.raises(UsageError, match="is not the name of a repository"):
        spnas.push_to_hub(spnas.create_model(SMALL), name)
    assert hub.calls == []


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's library is imported when it is needed, and not before."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'spnas\[hub\]'"):
        spnas.from_pretrained("someone/boats")


def test_a_card_round_trips_through_json() -> None:
    """Defaults and all."""
    from spnas.hub import Card

    card = Card(arch=SMALL, projections=(1, 2), tied=True, num_classes=5)
    assert msgspec.json.decode(msgspec.json.encode(card), type=Card) == card
