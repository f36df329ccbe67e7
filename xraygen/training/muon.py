"""Muon for matrices, AdamW for the rest: learns in two passes what AdamW alone learns in four.

Measured on IU X-Ray with the small model, all weights: test token F1 of greedy answers .883 to .889
against .877 to .8885 (docs/vlm.md).
"""

import torch


class MuonWithAdamW(torch.optim.Optimizer):
    """Matrices of linear layers are updated by their orthogonalized momentum (Jordan et al.,
    "Muon", 2024), in steps as large as AdamW's (Liu et al., "Muon is Scalable for LLM Training",
    2025), so that one learning rate serves both; embeddings, norms and biases by AdamW.
    """

    def __init__(self, network: torch.nn.Module, learning_rate: float):
        inner = _inner_matrices(network)
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        matrices = [weight for weight in trained if id(weight) in inner]
        others = [weight for weight in trained if id(weight) not in inner]
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            muon = torch.optim.Muon(
                matrices, learning_rate, weight_decay=0, adjust_lr_fn="match_rms_adamw"
            )
            self.parts.append(muon)
        if others:
            adam = torch.optim.AdamW(others, learning_rate, weight_decay=0, fused=True)
            self.parts.append(adam)
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict]:
        """Those of the parts, so that a scheduler of the whole sets their learning rates."""
        return [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict:
        return {str(number): part.state_dict() for number, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict) -> None:
        for number, part in enumerate(self.parts):
            part.load_state_dict(state[str(number)])
        self.param_groups = self._groups()


def _inner_matrices(network) -> set[int]:
    """The ids of the weights of linear layers other than the embeddings."""
    embeddings = network.get_input_embeddings(), network.get_output_embeddings()
    outer = {id(layer.weight) for layer in embeddings if layer is not None}
    linear = {id(layer.weight) for layer in network.modules() if isinstance(layer, torch.nn.Linear)}
    return linear - outer
