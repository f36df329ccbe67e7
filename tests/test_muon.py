"""Muon: what is changed by it and how far, rates that a schedule sets, and that it goes on where it
was.
"""

import pytest

torch = pytest.importorskip("torch")

from xraygen.training.muon import MuonWithAdamW


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.wide, self.frozen, self.head = (
            torch.nn.Embedding(40, 16),
            torch.nn.Linear(16, 48),
            torch.nn.Linear(48, 48),
            torch.nn.Linear(48, 40, bias=False),
        )
        self.frozen.requires_grad_(False)

    def get_input_embeddings(self):
        return self.embed

    def get_output_embeddings(self):
        return self.head

    def learn(self, optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        said = torch.randint(40, (300,))
        loss = torch.nn.functional.cross_entropy(
            self.head(self.frozen(self.wide(self.embed(said)).relu())), said.flip(0)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_matrices_take_steps_of_one_size_in_all_directions_and_the_rest_as_adamw():
    network = Network()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    network.learn(MuonWithAdamW(network, 0.01), 1)
    steps = {name: before[name] - weight.detach() for name, weight in network.named_parameters()}
    sizes = torch.linalg.svdvals(steps["wide.weight"]) / (0.01 * 0.2 * 48**0.5)
    assert sizes.shape == (16,) and sizes.min() > 0.6 and sizes.max() < 1.3
    for name in (
        "embed.weight",
        "wide.bias",
        "head.weight",
    ):  # AdamW's first step: the rate, in the gradient's direction
        moved = steps[name].abs() / 0.01
        assert moved.max() < 1.01 and moved.quantile(0.5) > 0.99, name
    assert not steps["frozen.weight"].any() and not steps["frozen.bias"].any()


def test_it_goes_on_where_it_was_and_a_schedule_sets_every_rate():
    def start(network):
        optimizer = MuonWithAdamW(network, 0.01)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))

    whole, stopped, resumed = Network(), Network(), Network()
    optimizer, schedule = start(whole)
    for seed in range(6):
        whole.learn(optimizer, seed)
        schedule.step()
    optimizer, schedule = start(stopped)
    for seed in range(3):
        stopped.learn(optimizer, seed)
        schedule.step()
    kept = optimizer.state_dict(), schedule.state_dict()
    resumed.load_state_dict(stopped.state_dict())
    optimizer, schedule = start(resumed)
    optimizer.load_state_dict(kept[0])
    schedule.load_state_dict(kept[1])
    for seed in range(3, 6):
        resumed.learn(optimizer, seed)
        schedule.step()
    assert {group["lr"] for part in optimizer.parts for group in part.param_groups} == {0.01 / 7}
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
