from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from spnas.errors import IntegrityError, UsageError
from spnas.train.weights import ModelConfig, build, load_model, save_model, write_bundle


def test_a_model_comes_back_as_it_was_saved(detector: nn.Module, config: ModelConfig, tmp_path: Path) -> None:
    digest = save_model(tmp_path / "m.safetensors", detector, config)
    loaded, loaded_config = load_model(tmp_path / "m.safetensors", digest=digest)
    assert loaded_config == config
    for name, value in detector.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_fresh_weights_hang_on_the_seed_alone(config: ModelConfig) -> None:
    first = build(config, seed=3)
    torch.rand(7)
    again, other = build(config, seed=3), build(config, seed=4)
    name = "backbone.stem.0.weight"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
def test_a_harmed_bundle_is_refused_by_name(
    detector: nn.Module, config: ModelConfig, tmp_path: Path, name: str, harm: str
) -> None:
    write_bundle(tmp_path, detector, config)
    load_model(tmp_path)
    file = tmp_path / name
    data = bytearray(file.read_bytes())
    if harm == "delete":
        file.unlink()
    else:
        if harm == "flip":
            data[len(data) // 2] ^= 1
        else:
            del data[-9:]
        file.write_bytes(data)
    with pytest.raises(IntegrityError, match=name):
        load_model(tmp_path)


def test_a_wrong_hash_is_noticed(detector: nn.Module, config: ModelConfig, tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", detector, config)
    with pytest.raises(IntegrityError, match="not the one recorded"):
        load_model(tmp_path / "m.safetensors", digest="0" * 64)


def test_foreign_files_are_refused_in_words(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(UsageError, match="not a detector of ours"):
        load_model(tmp_path / "foreign.safetensors")
    with pytest.raises(IntegrityError, match="not a whole safetensors file"):
        load_model(tmp_path / "text.safetensors")
    with pytest.raises(UsageError, match="no such model"):
        load_model(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"no readable manifest\.json"):
        load_model(tmp_path)


def test_tensors_that_do_not_suit_the_network_are_named(
    detector: nn.Module, config: ModelConfig, tmp_path: Path
) -> None:
    del detector.head  # type: ignore[union-attr]
    save_model(tmp_path / "m.safetensors", detector, config)
    with pytest.raises(IntegrityError, match=r"tensor 'head\.hidden1\.bias' and 7 more"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("tied", [False, True])
def test_a_net_with_copies_comes_back_tied_or_not(config: ModelConfig, tmp_path: Path, tied: bool) -> None:
    config = msgspec.structs.replace(config, arch="basic: 8x1 / 16x1 / 32x1 / 64x1 + 0-1-0-1", tied=tied)
    first = build(config, seed=0)
    save_model(tmp_path / "m.safetensors", first, config)
    again, _ = load_model(tmp_path / "m.safetensors")
    pictures = torch.randn(1, 3, 64, 64)
    for a, b in zip(first.eval().backbone(pictures), again.backbone(pictures), strict=True):  # type: ignore[operator]
        assert torch.equal(a, b)
    counts = [
        sum(p.numel() for p in build(msgspec.structs.replace(config, tied=t), seed=0).parameters())
        for t in (False, True)
    ]
    assert counts[1] < counts[0]
