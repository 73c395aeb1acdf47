"""The method: the discriminative, the generative and the supervised step (paper, section IV-C).

Each step is a pure function `(state, batch, key) -> (state, metrics)` that moves its own part of the state, and its
optimiser, and says so (`Step`):

==============  ==========================  ===============
step            moves                       reads
==============  ==========================  ===============
discriminative  D_A, D_B, pools of images   G_AB, G_BA
generative      G_AB, G_BA                  D_A, D_B
supervised      M_A, G_AB, G_BA             nothing beside
==============  ==========================  ===============
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from cxr_jax import losses, optimisers
from cxr_jax.image_pool import ImagePool, exchange
from cxr_jax.models import join, split_statistics

Parameters = Any
Metrics = dict[str, Float[Array, ""]]
Gray = Float[Array, "b h w 1"]


class Batch(NamedTuple):
    """Images in [-1, 1] of both domains, and masks in {0, 1}; an unlabelled image's mask is blank."""

    a: Gray
    a_masks: Gray
    b: Gray
    b_masks: Gray
    b_labelled: Bool[Array, " b"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TransferState:
    """All that training changes: one plain pytree, of arrays or of whatever a tree map makes of them.

    The segmenter's variables are parameters and, where it has batch norm, its running statistics.
    """

    translator: Parameters
    discriminators: Parameters
    segmenter: Any
    generative_optimiser: optax.OptState
    discriminative_optimiser: optax.OptState
    supervised_optimiser: optax.OptState
    pools: Any  # of translated images, by domain; empty where discriminators see only fresh ones
    average: Parameters
    step: Any  # int32 scalar
    key: Any  # random key


@dataclass(frozen=True)
class Graphs:
    """The static halves of the networks; both discriminators share one graph."""

    segmenter: nnx.GraphDef
    translator: nnx.GraphDef
    discriminator: nnx.GraphDef


@dataclass(frozen=True)
class Optimisers:
    """One optimiser a step, so that no loss drowns another's in a shared Adam."""

    discriminative: optax.GradientTransformation
    generative: optax.GradientTransformation
    supervised: optax.GradientTransformation


Turn = Callable[[TransferState, Batch, PRNGKeyArray], tuple[TransferState, Metrics]]


@dataclass(frozen=True)
class Step:
    """A step, and the fields of the state that it moves and those that it reads beside them."""

    turn: Turn
    moves: tuple[str, ...]
    reads: tuple[str, ...] = ()

    def __call__(self, state: TransferState, batch: Batch, key: PRNGKeyArray) -> tuple[TransferState, Metrics]:
        """Return the state after the step, and its losses."""
        return self.turn(state, batch, key)

    def compiled(self) -> Turn:
        """Return the step as a program that is given what it needs of a state, whose moved fields it deletes.

        A program takes time for each array that goes in or out. Of a state's some four hundred, with U-Net and MUNIT,
        the first two steps need about 115 and the supervised one 185.
        """

        def needed(moved: dict, read: dict, batch: Batch, key: PRNGKeyArray) -> tuple[dict, Metrics]:
            absent = {field.name: None for field in fields(TransferState)}
            after, metrics = self.turn(TransferState(**absent | moved | read), batch, key)
            return {name: getattr(after, name) for name in moved}, metrics

        needed.__name__ = self.turn.__name__  # which profiles tell
        program = jax.jit(needed, donate_argnums=0)

        def turn(state: TransferState, batch: Batch, key: PRNGKeyArray) -> tuple[TransferState, Metrics]:
            moved, read = ({name: getattr(state, name) for name in names} for names in (self.moves, self.reads))
            moved, metrics = program(moved, read, batch, key)
            return replace(state, **moved), metrics

        return turn


def initial_state(
    graphs: Graphs,
    translator: Parameters,
    discriminators: Parameters,
    segmenter: Any,
    optimisers: Optimisers,
    key: PRNGKeyArray,
    pools: dict[str, ImagePool] | None = None,
) -> TransferState:
    """Return the state in front of the first step, sharing no array with what is given (it may be donated).

    `discriminators` is `{"a": D_A, "b": D_B}`, and so are `pools`, if any.
    """
    copied = {"segmenter": segmenter, "translator": translator}
    copies = jax.tree.map(jnp.copy, {**copied, "discriminators": discriminators})
    learned = {"segmenter": split_statistics(graphs.segmenter, segmenter)[0], "translator": translator}
    return TransferState(
        **copies,
        generative_optimiser=optimisers.generative.init(translator),
        discriminative_optimiser=optimisers.discriminative.init(discriminators),
        supervised_optimiser=optimisers.supervised.init(learned),
        pools=jax.tree.map(jnp.copy, pools or {}),
        average=jax.tree.map(jnp.copy, copied),
        step=jnp.zeros((), jnp.int32),
        key=jnp.copy(key),
    )


def with_segmenter(state: TransferState, graphs: Graphs, segmenter: Any, optimisers: Optimisers) -> TransferState:
    """Return a warmed-up state in front of its first supervised step, with `segmenter` as its M_A; all of it copied.

    One warmed-up translator so serves several tasks and shares of labels (paper, section V-C).
    """
    learned = {"segmenter": split_statistics(graphs.segmenter, segmenter)[0], "translator": state.translator}
    average = {**state.average, "segmenter": segmenter}
    supervised = optimisers.supervised.init(learned)
    return jax.tree.map(jnp.copy, replace(state, segmenter=segmenter, average=average, supervised_optimiser=supervised))


def make_discriminative_step(graphs: Graphs, optimiser: optax.GradientTransformation) -> Step:
    """Return the step in which D_A and D_B learn real from translated, some of which a pool may remember."""

    def discriminative_step(state: TransferState, batch: Batch, key: PRNGKeyArray) -> tuple[TransferState, Metrics]:
        key_translate, key_pools = jax.random.split(key)
        a_to_b, b_to_a = nnx.merge(graphs.translator, state.translator).translate(batch.a, batch.b, key_translate)
        pools, shown = _exchange(state.pools, {"a": b_to_a, "b": a_to_b}, key_pools)

        def objective(discriminators: Parameters) -> tuple[Float[Array, ""], Metrics]:
            terms = {}
            for domain, real in (("a", batch.a), ("b", batch.b)):
                judge = nnx.merge(graphs.discriminator, discriminators[domain])
                loss = losses.least_squares_discriminator(judge(real), judge(shown[domain]))
                terms[f"discriminator_{domain}"] = loss
            return sum(terms.values()), terms

        discriminators, optimiser_state, terms = optimisers.descend(
            objective, optimiser, state.discriminators, state.discriminative_optimiser
        )
        moved = {"discriminators": discriminators, "pools": pools}
        return replace(state, **moved, discriminative_optimiser=optimiser_state), terms

    return Step(
        discriminative_step, moves=("discriminators", "pools", "discriminative_optimiser"), reads=("translator",)
    )


def make_generative_step(graphs: Graphs, optimiser: optax.GradientTransformation, weights: Mapping[str, float]) -> Step:
    """Return the step in which G_AB and G_BA minimise adversarial and translation losses.

    `weights` has one entry for `adversarial` and one for each term the translator names.
    """

    def generative_step(state: TransferState, batch: Batch, key: PRNGKeyArray) -> tuple[TransferState, Metrics]:
        judge_a = nnx.merge(graphs.discriminator, state.discriminators["a"])
        judge_b = nnx.merge(graphs.discriminator, state.discriminators["b"])

        def objective(translator: Parameters) -> tuple[Float[Array, ""], Metrics]:
            terms, (a_to_b, b_to_a) = nnx.merge(graphs.translator, translator).objectives(batch.a, batch.b, key)
            terms["adversarial"] = losses.least_squares_generator(judge_a(b_to_a)) + losses.least_squares_generator(
                judge_b(a_to_b)
            )
            return sum(weights[name] * term for name, term in terms.items()), terms

        translator, optimiser_state, terms = optimisers.descend(
            objective, optimiser, state.translator, state.generative_optimiser
        )
        return replace(state, translator=translator, generative_optimiser=optimiser_state), terms

    return Step(generative_step, moves=("translator", "generative_optimiser"), reads=("discriminators",))


def make_supervised_step(
    graphs: Graphs,
    optimiser: optax.GradientTransformation,
    looks: Mapping[str, float],
    *,
    target_labels: bool,
    perturb: Callable[[Gray, Array, PRNGKeyArray], Gray] = lambda images, masks, key: images,
) -> Step:
    """Return the step in which the segmentation loss moves M_A, G_AB and G_BA (Figure 6).

    `looks` weighs the looks in which M_A is shown an image. In the look of A, the paper's, A's images are
    recovered samples G_BA(G_AB(a)) and B's are translated ones G_BA(b), where they have a label. In the look of
    B, which the paper does not have, they are G_AB(a) and b. Without `target_labels` no mask of B
    enters, and no image of B but for its style where the translator asks for that.
    `perturb` is the augmentation of appearance in front of M_A, which must stay differentiable; it draws the same for
    an image in each of its looks. M_A sees all looks in one batch, so that batch norm, where it has that, normalises
    them as it will when it is used: by the statistics of all. Images of B without a label then
    count in these, and in nothing else.
    """
    shown = {look: weight for look, weight in looks.items() if weight > 0}

    def supervised_step(state: TransferState, batch: Batch, key: PRNGKeyArray) -> tuple[TransferState, Metrics]:
        key_style, key_segment, key_a, key_b = jax.random.split(key, 4)
        learned, statistics = split_statistics(graphs.segmenter, state.segmenter)

        def objective(parameters: Parameters) -> tuple[Float[Array, ""], tuple[Metrics, Any]]:
            segment = nnx.merge(graphs.segmenter, join(parameters["segmenter"], statistics))
            translator = nnx.merge(graphs.translator, parameters["translator"])

            a_to_b, recovered = translator.there_and_back(batch.a, batch.b, key_style)
            samples = {"segmentation_a": ({"a": recovered, "b": a_to_b}, key_a, (batch.a_masks,))}
            if target_labels:
                b_to_a = translator.to_a(batch.b, translator.reference(batch.a, batch.b))
                truth = batch.b_masks, batch.b_labelled
                samples["segmentation_b"] = {"a": b_to_a, "b": batch.b}, key_b, truth
            images = [perturb(of[look], truth[0], key) for of, key, truth in samples.values() for look in shown]
            logits = segment(_interleaved(images), train=True, key=key_segment)  # in one batch, for its statistics
            parts = iter(_apart(logits, len(images)))
            terms = {
                name: sum(weight * losses.cross_entropy(next(parts), *truth) for weight in shown.values())
                for name, (_, _, truth) in samples.items()
            }
            return sum(terms.values()), (terms, nnx.to_pure_dict(nnx.state(segment, nnx.BatchStat)))

        parameters, optimiser_state, (terms, statistics) = optimisers.descend(
            objective, optimiser, {"segmenter": learned, "translator": state.translator}, state.supervised_optimiser
        )
        moved = {"segmenter": join(parameters["segmenter"], statistics), "translator": parameters["translator"]}
        return replace(state, **moved, supervised_optimiser=optimiser_state), terms

    return Step(supervised_step, moves=("segmenter", "translator", "supervised_optimiser"))


def _interleaved(batches: Sequence[Gray]) -> Float[Array, "_ h w 1"]:
    """Return batches as one in which rows alternate: of batches that devices share, each keeps its own."""
    return jnp.stack(batches, axis=1).reshape(-1, *batches[0].shape[1:])


def _apart(batch: Float[Array, "*members _ h w 1"], count: int) -> list[Float[Array, "*members _ h w 1"]]:
    """Return the batches that were interleaved; an ensemble's logits have an axis of members in front."""
    *members, rows, height, width, channels = batch.shape
    split = batch.reshape(*members, rows // count, count, height, width, channels)
    return [split[..., index, :, :, :] for index in range(count)]


def _exchange(
    pools: dict[str, ImagePool], translated: dict[str, Gray], key: PRNGKeyArray
) -> tuple[dict[str, ImagePool], dict[str, Gray]]:
    """Return the pools after a batch and what the discriminators are shown: without pools, what is given."""
    shown = dict(translated)
    after = {}
    for domain, domain_key in zip(pools, jax.random.split(key, max(1, len(pools))), strict=False):
        after[domain], shown[domain] = exchange(pools[domain], translated[domain], domain_key)
    return after, shown
