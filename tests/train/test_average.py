import torch
from torch import nn

from spnas.train.average import Average


def test_the_average_of_what_never_changes_is_itself() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = Average(module, 0.9)
    for _ in range(5):
        average.update(module)
    for name, value in module.state_dict().items():
        assert torch.equal(average.values[name], value)


def test_the_average_follows_the_formula() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = Average(module, 0.5)
    nn.init.ones_(module.weight)
    average.update(module)  # decay (1 + 0) / (10 + 0)
    assert torch.allclose(average.values["weight"], torch.tensor([[0.9]]))
    average.update(module)  # decay (1 + 1) / (10 + 1)
    assert torch.allclose(average.values["weight"], torch.tensor([[1 - 0.1 * 2 / 11]]))


def test_counters_are_copied_not_averaged() -> None:
    module = nn.BatchNorm1d(2)
    average = Average(module, 0.9)
    module(torch.randn(4, 2))
    average.update(module)
    assert int(average.values["num_batches_tracked"]) == 1


def test_without_decay_nothing_is_held_and_the_weights_are_what_counts() -> None:
    """The paper's recipes do without, and need not have memory for it."""
    module = nn.Linear(2, 2)
    average = Average(module, 0.0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    average.update(module)
    average.give(module)
    assert average.values == {}
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
