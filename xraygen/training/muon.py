"""Muon for the layers' matrices, AdamW for all else, as one optimiser."""

import torch


class MuonWithAdamW(torch.optim.Optimizer):
    """The matrices of linear layers are changed by their orthogonalised momentum (Jordan et al.,
    "Muon", 2024), in steps as large as AdamW's (Liu et al., "Muon is Scalable for LLM Training",
    2025), so that one rate serves both; embeddings, norms and biases by AdamW.
    """

    def __init__(self, network: torch.nn.Module, rate: float):
        outer = {
            id(layer.weight)
            for layer in (network.get_input_embeddings(), network.get_output_embeddings())
            if layer is not None
        }
        inner = {
            id(layer.weight) for layer in network.modules() if isinstance(layer, torch.nn.Linear)
        } - outer
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        matrices, others = (
            [weight for weight in trained if (id(weight) in inner) == chosen]
            for chosen in (True, False)
        )
        self.parts = []
        if matrices:
            self.parts.append(
                torch.optim.Muon(matrices, rate, weight_decay=0, adjust_lr_fn="match_rms_adamw")
            )
        if others:
            self.parts.append(torch.optim.AdamW(others, rate, weight_decay=0, fused=True))
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict]:
        """The parts' own, so that a schedule of the whole sets their rates."""
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
