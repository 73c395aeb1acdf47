"""One iteration of the method, all three steps, ours and a peer's, on the same data from the same weights.

PyTorch is loaded where a peer is asked for.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from benchmarks import images
from benchmarks.programs import Program
from configs import transfer as config_file
from cxr_jax import config, iteration, plans, steps
from cxr_jax.data import sampling
from cxr_jax.networks import build_segmenter, build_transfer

if TYPE_CHECKING:
    from benchmarks.peers.steps import Networks
    from benchmarks.peers.training import Mode
    from benchmarks.peers.transfer import Transfer

TOLERANCE = {"float32": 2e-3, "bfloat16": 3e-2}  # of the losses, relative
SIZES = {
    "default": {"munit": {}, "discriminator": {}},  # of the paper's authors
    "full": {"munit": {"width": 64, "blocks": 4, "mlp": 256}, "discriminator": {"width": 64, "layers": 4, "scales": 3}},
}


@dataclass(frozen=True)
class TransferCase:
    """MUNIT and a U-Net of the configs' sizes, their widths divided, on square images; the data are random."""

    sizes: str
    divided: int
    size: int
    batch: int
    precision: str = "float32"

    @cached_property
    def experiment(self) -> plans.Experiment:
        """Return the paper's protocol at these sizes."""
        plain: ConfigDict = config_file.get_config()
        plain.image_size, plain.transfer.batch_size = self.size, self.batch
        plain.precision = self.precision
        for section, values in SIZES[self.sizes].items():
            plain[section].update(values)
        for section in (plain.munit, plain.discriminator, plain.segmenter):
            section.width //= self.divided
        return config.parse(plain)

    @cached_property
    def networks(self) -> tuple[steps.Graphs, dict[str, Any]]:
        """Return the graphs, and all parameters by the names that a state has for them."""
        key = jax.random.key(0)
        segmenter, variables = build_segmenter(self.experiment, key)
        graphs, parameters = build_transfer(self.experiment, segmenter, key)
        return graphs, {**parameters, "segmenter": variables}

    def program(self, members: int = 1) -> Program:
        """Return an iteration of ours, as the project's training takes it; several members advance together."""
        graphs, parameters = self.networks
        tools = iteration.make_optimisers(self.experiment.transfer, 1)  # of a constant rate, whatever the steps
        turns = iteration.make_turns(self.experiment, graphs, tools, target_labels=False)
        play = iteration.make_iteration(self.experiment, turns)
        state = steps.initial_state(graphs, **parameters, optimisers=tools, key=jax.random.key(0))
        data = self._data()
        if members > 1:
            play = jax.vmap(play)
            state, data = (jax.tree.map(lambda leaf: jnp.stack([leaf] * members), tree) for tree in (state, data))
        return Program(play, state, data)

    @property
    def settings(self) -> "Transfer":
        """Return what the peer's training is told."""
        from benchmarks.peers.transfer import Transfer

        names = "segmenter", "translator", "discriminator"
        sizes = {name: plans.network_sizes(getattr(self.experiment, name)) for name in names}
        told = self.experiment.transfer
        game = told.learning_rate, told.beta1, told.weight_decay
        supervised = told.supervised_learning_rate, told.supervised_beta1, told.supervised_weight_decay
        return Transfer(**sizes, batch=self.batch, weights=dict(told.weights), game=game, supervised=supervised)

    def check(self, mode: "Mode") -> None:
        """Raise `AssertionError` unless each of the three steps has the same loss in both."""
        from benchmarks.peers import training
        from benchmarks.peers import transfer as peers

        ours, batch, styles = self._losses()
        weights = self.experiment.transfer.weights
        with training.exactly():
            theirs = peers.losses(self.peer_networks(mode), batch, styles, weights, mode.device)
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[self.precision], err_msg="losses")

    def peer_networks(self, mode: "Mode") -> "Networks":
        """Return the peer's networks with our weights."""
        from benchmarks.peers import weights

        (_, parameters), networks = self.networks, self.settings.networks()
        for name in ("segmenter", "translator"):
            weights.load(getattr(networks, name), parameters[name])
        for domain in "ab":
            weights.load(networks.judges[domain], parameters["discriminators"][domain])
        return mode.place(networks)

    def _data(self) -> iteration.TrainingImages:
        """Return random images of both domains; B has no labels."""
        (a, masks), b = images.labelled(self.size), images.unlabelled(self.size)
        return iteration.TrainingImages(
            *map(jnp.asarray, (a, masks, b, np.zeros_like(b), np.zeros(images.COUNT, bool)))
        )

    def _losses(self) -> tuple[list[float], tuple[np.ndarray, ...], list[tuple[np.ndarray, ...]]]:
        """Return our three losses on one batch; the batch, stored, and the styles that each step drew, for the peer."""
        graphs, parameters = self.networks
        settings, key = self.experiment.transfer, jax.random.key(1)
        tools = iteration.make_optimisers(settings, 1)
        state = steps.initial_state(graphs, **parameters, optimisers=tools, key=key)
        few = jax.tree.map(lambda part: part[: self.batch], self._data())
        a, b = (sampling.to_network(sampling.to_unit(part)) for part in (few.a, few.b))
        batch = steps.Batch(a, few.a_masks.astype(jnp.float32), b, few.b_masks.astype(jnp.float32), few.b_labelled)
        turns = (
            steps.make_discriminative_step(graphs, tools.discriminative),
            steps.make_generative_step(graphs, tools.generative, settings.weights),
            steps.make_supervised_step(graphs, tools.supervised, settings.supervised_looks, target_labels=False),
        )
        with jax.default_matmul_precision("highest"):
            terms = [jax.jit(lambda *given, turn=turn: turn(*given)[1])(state, batch, key) for turn in turns]
        totals = [sum(settings.weights.get(name, 1.0) * float(term) for name, term in found.items()) for found in terms]
        keys = jax.random.split(key)[0], key, jax.random.split(key, 4)[0]
        translator = nnx.merge(graphs.translator, parameters["translator"])
        drawn = [tuple(map(np.asarray, translator.target_styles(a, b, key))) for key in keys]
        return totals, tuple(map(np.asarray, (few.a, few.a_masks, few.b))), drawn
