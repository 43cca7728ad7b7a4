"""A checkpoint is what was written, or is refused by name."""

import random
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.amp import GradScaler

from spnas.errors import IntegrityError
from spnas.train.average import Average
from spnas.train.checkpoint import load_progress, save_progress


def trained() -> tuple[nn.Linear, torch.optim.SGD, Average]:
    net = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 5)).sum().backward()
    optimizer.step()
    return net, optimizer, Average(net, 0.9)


def test_every_flipped_bit_and_every_cut_of_a_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    """Also one in a tensor, which no reader of the format would notice."""
    path, (net, optimizer, average) = tmp_path / "training.safetensors", trained()
    save_progress(path, net, optimizer, average, step=7, key="k")
    before, whole, chance = net.weight.clone(), path.read_bytes(), random.Random(1)
    other, its, its_average = trained()
    assert load_progress(path, other, its, its_average, key="k") == 7
    assert torch.equal(other.weight, before)
    for number in range(300):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data if number % 3 else whole[: chance.randrange(len(whole))])
        with pytest.raises(IntegrityError, match=r"training\.safetensors: not a checkpoint of ours"):
            load_progress(path, other, its, its_average, key="k")


def test_a_scaler_of_16_bit_gradients_goes_on_where_it_was(tmp_path: Path) -> None:
    """Its counts come back as whole numbers, which is all that it takes for them."""
    path, (net, optimizer, average) = tmp_path / "training.safetensors", trained()
    before, after = GradScaler("cpu", init_scale=1024.0), GradScaler("cpu")
    scaled_step(before, net, optimizer)
    save_progress(path, net, optimizer, average, step=1, key="k", scaler=before)
    load_progress(path, net, optimizer, average, key="k", scaler=after)
    assert after.state_dict() == before.state_dict()
    for scaler in (before, after):
        scaled_step(scaler, net, optimizer)
    assert after.state_dict() == before.state_dict()


def scaled_step(scaler: GradScaler, net: nn.Linear, optimizer: torch.optim.SGD) -> None:
    torch.autograd.backward(scaler.scale(net(torch.ones(1, 5)).sum()))
    scaler.step(optimizer)
    scaler.update()
