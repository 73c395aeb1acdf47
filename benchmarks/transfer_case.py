"""One iteration of the method, all three steps, ours and a peer's, on the same data from the same weights."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from ml_collections import ConfigDict

from benchmarks.peers import munit, training, weights
from benchmarks.peers import steps as peer_steps
from benchmarks.peers.segmenters import UNet
from configs import transfer as config_file
from cxr_jax import config, iteration, plans, platform, segmentation, steps
from cxr_jax.data import sampling

IMAGES = 64  # stored of each domain
TOLERANCE = {"float32": 2e-3, "bfloat16": 3e-2}  # of the losses, relative: convolutions of a GPU round to TF32
SIZES = {
    "default": {"munit": {}, "discriminator": {}},  # of the paper's authors
    "full": {"munit": {"width": 64, "blocks": 4, "mlp": 256}, "discriminator": {"width": 64, "layers": 4, "scales": 3}},
}

Call = Callable[[], None]


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
        segmenter, variables = segmentation.build(self.experiment, key)
        graphs, parameters = iteration.build(self.experiment, segmenter, key)
        return graphs, {**parameters, "segmenter": variables}

    @cached_property
    def data(self) -> iteration.TrainingImages:
        """Return random images of both domains; B has no labels."""
        generator = np.random.default_rng(0)
        a, b = (generator.integers(0, 256, (IMAGES, self.size, self.size, 1), np.uint8) for _ in "ab")
        masks = (a > 127).astype(np.uint8)
        return iteration.TrainingImages(*map(jnp.asarray, (a, masks, b, np.zeros_like(b), np.zeros(IMAGES, bool))))

    def ours(self, number: int, members: int = 1) -> Call:
        """Return a call that takes `number` iterations of each member, as the project's training does.

        Members advance together where the platform has them do so.
        """
        graphs, parameters = self.networks
        tools = iteration.make_optimisers(self.experiment.transfer, number)
        turns = iteration.make_turns(self.experiment, graphs, tools, target_labels=False)
        play = iteration.make_iteration(self.experiment, turns)
        state = steps.initial_state(graphs, **parameters, optimisers=tools, key=jax.random.key(0))
        data = self.data
        if members > 1:
            play = jax.vmap(play)
            state, data = (jax.tree.map(lambda leaf: jnp.stack([leaf] * members), tree) for tree in (state, data))
        run, held = platform.epoch_runner(play, number), [state]

        def call() -> None:
            held[0], metrics = run(held[0], data)
            jax.block_until_ready((held[0], metrics))

        return call

    def peer(self, mode: training.Mode, number: int) -> Call:
        """Return a call that takes `number` iterations of the peer, once both have been seen to compute the same."""
        networks = self.peer_networks(mode)
        self._check(networks)
        settings = self.experiment.transfer
        game = settings.learning_rate, settings.beta1, settings.weight_decay
        supervised = settings.supervised_learning_rate, settings.supervised_beta1, settings.supervised_weight_decay
        learned = torch.nn.ModuleList([networks.segmenter, networks.translator])
        tools = (
            mode.optimiser(networks.judges, *game),
            mode.optimiser(networks.translator, *game),
            mode.optimiser(learned, *supervised),
        )
        loss_d, loss_g, loss_s = map(
            mode.function, (peer_steps.discriminative_loss, peer_steps.generative_loss, peer_steps.supervised_loss)
        )
        images_a, masks, images_b = (training.stored(np.asarray(part)) for part in self.data[:3])

        def styles() -> tuple[torch.Tensor, torch.Tensor]:
            return torch.randn(2, self.batch, networks.translator.style_size, device=training.device()).unbind()

        def call() -> None:
            for _ in range(number):
                (a, rows), (b, _) = training.draw(images_a, self.batch), training.draw(images_b, self.batch)
                with mode.precision():
                    loss = loss_d(networks, a, b, styles())
                training.descend(tools[0], loss)
                with mode.precision():
                    loss = loss_g(networks, a, b, styles(), settings.weights)
                training.descend(tools[1], loss)
                with mode.precision():
                    loss = loss_s(networks, a, masks[rows].float(), styles()[1])
                training.descend(tools[2], loss)
            training.finish()

        return call

    def peer_networks(self, mode: training.Mode) -> peer_steps.Networks:
        """Return the peer's networks with our weights."""
        _, parameters = self.networks
        sections = {
            name: plans.network_sizes(getattr(self.experiment, name)) for name in ("translator", "discriminator")
        }
        judges = [
            weights.load(
                munit.MultiScaleDiscriminator(**sections["discriminator"]), parameters["discriminators"][domain]
            )
            for domain in "ab"
        ]
        unet = weights.load(UNet(**plans.network_sizes(self.experiment.segmenter)), parameters["segmenter"])
        translator = weights.load(munit.MUNIT(**sections["translator"]), parameters["translator"])
        return mode.place(peer_steps.Networks(unet, translator, *judges))

    def _check(self, networks: peer_steps.Networks) -> None:
        """Raise `AssertionError` unless each of the three steps has the same loss in both."""
        ours, (a, b, masks), drawn = self._losses()
        with torch.no_grad():
            theirs = (
                peer_steps.discriminative_loss(networks, a, b, drawn[0]),
                peer_steps.generative_loss(networks, a, b, drawn[1], self.experiment.transfer.weights),
                peer_steps.supervised_loss(networks, a, masks, drawn[2][1]),
            )
        np.testing.assert_allclose(
            ours, [float(loss) for loss in theirs], rtol=TOLERANCE[self.precision], err_msg="losses"
        )

    def _losses(self) -> tuple[list[float], tuple[torch.Tensor, ...], list[peer_steps.Styles]]:
        """Return our three losses on one batch; the batch, and the styles that each step drew, for the peer."""
        graphs, parameters = self.networks
        settings, key = self.experiment.transfer, jax.random.key(1)
        tools = iteration.make_optimisers(settings, 1)
        state = steps.initial_state(graphs, **parameters, optimisers=tools, key=key)
        few = jax.tree.map(lambda part: part[: self.batch], self.data)
        a, b = (sampling.to_network(sampling.to_unit(images)) for images in (few.a, few.b))
        batch = steps.Batch(a, few.a_masks.astype(jnp.float32), b, few.b_masks.astype(jnp.float32), few.b_labelled)
        turns = (
            steps.make_discriminative_step(graphs, tools.discriminative),
            steps.make_generative_step(graphs, tools.generative, settings.weights),
            steps.make_supervised_step(graphs, tools.supervised, settings.supervised_looks, target_labels=False),
        )
        terms = [jax.jit(turn)(state, batch, key)[1] for turn in turns]
        totals = [sum(settings.weights.get(name, 1.0) * float(term) for name, term in found.items()) for found in terms]
        keys = jax.random.split(key)[0], key, jax.random.split(key, 4)[0]
        translator = nnx.merge(graphs.translator, parameters["translator"])

        def to_torch(array: jax.Array) -> torch.Tensor:
            return torch.tensor(np.asarray(array), device=training.device())

        drawn = [tuple(map(to_torch, translator.target_styles(a, b, key))) for key in keys]
        images = tuple(to_torch(part).permute(0, 3, 1, 2) for part in (a, b, batch.a_masks))
        return totals, images, drawn
