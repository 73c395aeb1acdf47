"""The method: what each step moves, what it leaves bit-identical, and where gradients reach."""

from collections import defaultdict
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from cxr_jax import checkpoints, image_pool, iteration, losses, steps
from cxr_jax.data.augmentation import Augmentation
from cxr_jax.models import (
    DISCRIMINATORS,
    SEGMENTERS,
    TRANSLATORS,
    Ensemble,
    initialise,
    split_statistics,
    unit,
)
from tests import tiny

KEY = jax.random.key(0)
WEIGHTS = defaultdict(lambda: 1.0, image=10.0, kl=0.01, kl_cycle=0.01)
PARTS = ("translator", "discriminators", "segmenter")


@pytest.fixture(
    scope="module", params=["munit", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cyclegan", "unit"))]
)
def setting(request):
    """Return graphs, optimisers, a state and a batch at the smallest sizes."""
    sizes = tiny.TRANSLATOR_SIZES[request.param]
    translator_graph, translator = initialise(TRANSLATORS[request.param], KEY, **sizes)
    critic_graph, critic = initialise(DISCRIMINATORS["patch"], KEY, width=4)
    segmenter_graph, segmenter = initialise(SEGMENTERS["unet"], KEY, width=8, depth=2)
    graphs = steps.Graphs(segmenter_graph, translator_graph, critic_graph)
    tools = steps.Optimisers(optax.adam(1e-3), optax.adam(1e-3), optax.adam(1e-3))
    critics = {"a": critic, "b": jax.tree.map(lambda leaf: leaf * 0.5, critic)}
    pools = {domain: image_pool.empty(3, 32, 32) for domain in "ab"} if request.param == "cyclegan" else {}
    state = steps.initial_state(graphs, translator, critics, segmenter, tools, KEY, pools)
    a, b = jax.random.uniform(KEY, (2, 2, 32, 32, 1), minval=-1.0)
    masks = (a > 0).astype(jnp.float32)
    return graphs, tools, state, steps.Batch(a, masks, b, masks[::-1], jnp.array([True, False]))


def differs(one, other) -> list[bool]:
    pairs = zip(*(jax.tree.leaves(checkpoints.to_host(tree)) for tree in (one, other)), strict=True)
    return [not np.array_equal(x, y) for x, y in pairs]


PAPER = {"a": 1.0, "b": 0.0}
BOTH = {"a": 1.0, "b": 1.0}
LOOK_OF_B = {"a": 0.0, "b": 1.0}


def step_of(name, graphs, tools, *, target_labels=True, looks=PAPER):
    if name == "discriminative":
        return steps.make_discriminative_step(graphs, tools.discriminative)
    if name == "generative":
        return steps.make_generative_step(graphs, tools.generative, WEIGHTS)
    return steps.make_supervised_step(graphs, tools.supervised, looks, target_labels=target_labels)


def make(name, graphs, tools, **options):
    """Return the step as a program that leaves the state it is given as it is."""
    return jax.jit(step_of(name, graphs, tools, **options))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("discriminative", {"discriminators"}),
        ("generative", {"translator"}),
        ("supervised", {"segmenter", "translator"}),
    ],
)
def test_a_step_moves_only_its_own_part(setting, name, parts):
    graphs, tools, state, batch = setting
    given = jax.tree.map(jnp.copy, state)
    after, metrics = step_of(name, graphs, tools).compiled()(given, batch, KEY)
    assert all(np.isfinite(value) for value in metrics.values())
    assert parts == {part for part in PARTS if all(leaf.is_deleted() for leaf in jax.tree.leaves(getattr(given, part)))}
    for part in PARTS:
        changes = differs(getattr(state, part), getattr(after, part))
        assert any(changes) if part in parts else not any(changes), part
    for optimiser in ("generative_optimiser", "discriminative_optimiser", "supervised_optimiser"):
        changes = differs(getattr(state, optimiser), getattr(after, optimiser))
        assert any(changes) == optimiser.startswith(name), optimiser
    if state.pools:
        assert any(differs(state.pools, after.pools)) == (name == "discriminative")
    assert not any(differs(state.average, after.average))


def parts_of(translator) -> dict[str, list]:
    """Return the parts of G_AB and of G_BA, and, under "", what both have in common."""
    if "a_to_b" in translator:
        return {"ab": [translator["a_to_b"]], "ba": [translator["b_to_a"]], "": []}
    if "a" in translator:
        a, b = translator["a"], translator["b"]
        return {"ab": [a["content"], b["decode"]], "ba": [b["content"], a["decode"]], "": []}
    ways = {way: [translator[f"encode_{way[0]}"], translator[f"decode_{way[1]}"]] for way in ("ab", "ba")}
    return {**ways, "": [translator["shared_encoder"], translator["shared_decoder"]]}


def moved(before, after, way: str) -> list[bool]:
    pairs = zip(parts_of(before.translator)[way], parts_of(after.translator)[way], strict=True)
    return [any(differs(one, other)) for one, other in pairs]


def test_supervised_gradient_reaches_segmenter_and_both_translators(setting):
    graphs, tools, state, batch = setting
    after, _ = make("supervised", graphs, tools, target_labels=False)(state, batch, KEY)
    assert all(differs(state.segmenter, after.segmenter))
    assert all(moved(state, after, "ab") + moved(state, after, "ba") + moved(state, after, ""))


def test_in_the_look_of_b_supervision_stops_at_the_translation_to_b(setting):
    graphs, tools, state, batch = setting
    after, _ = make("supervised", graphs, tools, target_labels=False, looks=LOOK_OF_B)(state, batch, KEY)
    assert all(differs(state.segmenter, after.segmenter))
    assert all(moved(state, after, "ab") + moved(state, after, ""))
    assert not any(moved(state, after, "ba"))


@pytest.mark.parametrize("looks", [PAPER, LOOK_OF_B])
def test_no_decay_moves_what_supervision_does_not_reach(setting, looks):
    graphs, tools, state, batch = setting
    reached, _ = make("supervised", graphs, tools, target_labels=False, looks=looks)(state, batch, KEY)
    decaying = iteration.make_optimisers(tiny.experiment(transfer__supervised_weight_decay=0.1).transfer, 1)
    state = steps.with_segmenter(state, graphs, state.segmenter, decaying)
    after, _ = make("supervised", graphs, decaying, target_labels=False, looks=looks)(state, batch, KEY)
    moves = differs(state.translator, after.translator)
    assert moves == differs(state.translator, reached.translator)
    assert any(moves)
    assert not all(moves) or looks is PAPER  # in the look of B nothing reaches G_BA


def test_discriminative_step_moves_both_discriminators(setting):
    graphs, tools, state, batch = setting
    after, _ = make("discriminative", graphs, tools)(state, batch, KEY)
    for domain in ("a", "b"):
        assert any(differs(state.discriminators[domain], after.discriminators[domain]))


@pytest.mark.parametrize("looks", [PAPER, BOTH])
def test_an_unlabelled_image_of_b_contributes_nothing(setting, looks):
    graphs, tools, state, batch = setting
    step = make("supervised", graphs, tools, looks=looks)
    other_b = batch.b.at[1].set(-batch.b[1])
    other_masks = batch.b_masks.at[1].set(1 - batch.b_masks[1])
    with_label, _ = step(state, batch, KEY)
    changed, _ = step(state, batch._replace(b=other_b, b_masks=other_masks), KEY)
    assert not any(differs(with_label, changed))
    relabelled, _ = step(state, batch._replace(b_masks=1 - batch.b_masks), KEY)
    assert any(differs(with_label.segmenter, relabelled.segmenter))


def test_batch_statistics_move_with_supervision_and_are_not_descended_on():
    translator_graph, translator = initialise(TRANSLATORS["munit"], KEY, **tiny.TRANSLATOR_SIZES["munit"])
    critic_graph, critic = initialise(DISCRIMINATORS["patch"], KEY, width=4)
    segmenter_graph, segmenter = initialise(SEGMENTERS["scan"], KEY, width=2)
    graphs = steps.Graphs(segmenter_graph, translator_graph, critic_graph)
    still = optax.sgd(0.0)
    tools = steps.Optimisers(still, still, still)
    state = steps.initial_state(graphs, translator, {"a": critic, "b": critic}, segmenter, tools, KEY)
    a, b = jax.random.uniform(KEY, (2, 2, 32, 32, 1), minval=-1.0)
    batch = steps.Batch(a, (a > 0).astype(jnp.float32), b, jnp.zeros_like(b), jnp.zeros(2, bool))
    after, _ = make("supervised", graphs, tools, target_labels=False)(state, batch, KEY)
    before, moved = (split_statistics(segmenter_graph, tree.segmenter) for tree in (state, after))
    assert not any(differs(before[0], moved[0]))
    assert any(differs(before[1], moved[1]))


def test_all_looks_share_the_statistics_of_one_batch(setting):
    graphs, tools, state, batch = setting
    graph, segmenter = initialise(SEGMENTERS["scan"], KEY, width=2)
    graphs = replace(graphs, segmenter=graph)
    state = steps.with_segmenter(state, graphs, segmenter, tools)
    shown = iter([jnp.full_like(batch.a, level) + batch.a for level in (-2.0, -1.0, 1.0, 2.0)])  # far from each other
    images = []
    step = steps.make_supervised_step(
        graphs, tools.supervised, BOTH, target_labels=True, perturb=lambda *_: images.append(next(shown)) or images[-1]
    )

    def moved(state, batch, key):  # without gradients, which take long to compile
        after, terms = step(state, batch, key)
        return split_statistics(graph, after.segmenter)[1], terms

    found, terms = jax.jit(moved)(state, batch, KEY)
    segment = nnx.merge(graph, segmenter)
    logits = jnp.split(segment(jnp.concatenate(images), train=True), 4)  # the order of rows does not matter
    pairs = {"a": (logits[:2], (batch.a_masks,)), "b": (logits[2:], (batch.b_masks, batch.b_labelled))}
    for domain, (parts, truth) in pairs.items():
        expected = sum(float(losses.cross_entropy(part, *truth)) for part in parts)
        assert float(terms[f"segmentation_{domain}"]) == pytest.approx(expected, rel=1e-4)
    expected = nnx.to_pure_dict(nnx.state(segment, nnx.BatchStat))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4), found, expected)


def test_without_target_labels_b_has_no_part_in_supervision(setting):
    graphs, tools, state, batch = setting
    step = make("supervised", graphs, tools, target_labels=False)
    one, _ = step(state, batch, KEY)
    other, _ = step(state, batch._replace(b=-batch.b, b_masks=1 - batch.b_masks), KEY)
    assert not any(differs(one, other))


def test_all_b_unlabelled_equals_no_target_labels(setting):
    graphs, tools, state, batch = setting
    batch = batch._replace(b_labelled=jnp.zeros(2, bool))
    one, _ = make("supervised", graphs, tools)(state, batch, KEY)
    other, _ = make("supervised", graphs, tools, target_labels=False)(state, batch, KEY)
    for x, y in zip(jax.tree.leaves(one.segmenter), jax.tree.leaves(other.segmenter), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_m_a_is_shown_samples_that_are_changed_beside_their_own_masks(setting):
    graphs, tools, state, batch = setting
    batch = batch._replace(b_labelled=jnp.array([True, False]))
    step = steps.make_supervised_step(
        graphs, tools.supervised, LOOK_OF_B, target_labels=True, perturb=lambda images, masks, key: 0.2 + 0.5 * masks
    )
    terms = jax.jit(lambda *given: step(*given)[1])(state, batch, KEY)  # without gradients, which take long to compile
    segment = nnx.merge(graphs.segmenter, state.segmenter)
    for domain, masks, counted in (("a", batch.a_masks, ()), ("b", batch.b_masks, (batch.b_labelled,))):
        expected = losses.cross_entropy(segment(0.2 + 0.5 * masks, train=True), masks, *counted)
        assert float(terms[f"segmentation_{domain}"]) == pytest.approx(float(expected), rel=1e-4)


def test_every_network_of_an_ensemble_is_supervised(setting):
    graphs, tools, state, batch = setting
    graph, segmenter = initialise(Ensemble, KEY, network=SEGMENTERS["unet"], members=2, width=8, depth=2)
    graphs = replace(graphs, segmenter=graph)
    state = steps.with_segmenter(state, graphs, segmenter, tools)
    after, _ = make("supervised", graphs, tools)(state, batch, KEY)
    for before, moved in zip(segmenter["networks"].values(), after.segmenter["networks"].values(), strict=True):
        assert all(differs(before, moved))


def test_the_average_of_a_transfer_forgets_what_was_drawn_at_random(setting):
    _, _, state, _ = setting
    still = replace(tiny.experiment(), transfer=replace(tiny.experiment().transfer, average=0.99))
    images = jnp.zeros((4, 32, 32, 1), jnp.uint8)
    training = iteration.TrainingImages(images, images, images, images, jnp.zeros(4, bool))
    begun = jax.tree.map(lambda leaf: leaf + 1.0, state.average)
    after, _ = iteration.make_iteration(still, ())(replace(jax.tree.map(jnp.copy, state), average=begun), training)
    for weight, average in zip(
        jax.tree.leaves(state.translator), jax.tree.leaves(after.average["translator"]), strict=True
    ):
        np.testing.assert_allclose(average, weight + 0.1, atol=1e-5)  # at step 0, a tenth of what it was


def test_what_m_a_is_shown_in_a_transfer_may_have_effusions(setting, monkeypatch):
    graphs, tools, *_ = setting
    given = {}

    def make_supervised_step(*parts, perturb, **options):
        given["perturb"] = perturb
        return steps.Step(perturb, moves=())

    monkeypatch.setattr(iteration.steps, "make_supervised_step", make_supervised_step)
    drawn = replace(Augmentation.none(), effusion=1.0)
    iteration.make_turns(replace(tiny.experiment(), augmentation=drawn), graphs, tools, target_labels=False)
    lungs = jnp.zeros((4, 32, 32, 1)).at[:, 6:24, 4:14].set(1.0).at[:, 6:24, 18:28].set(1.0)
    images = jnp.full_like(lungs, -0.9)
    shown = given["perturb"](images, lungs, KEY)
    assert float(shown[:, 20:24].max()) > 0.0
    assert float(shown[:, :6].max()) < -0.8
    np.testing.assert_allclose(given["perturb"](images, jnp.zeros_like(lungs), KEY), images, atol=1e-6)


def test_a_step_lowers_its_own_loss(setting):
    graphs, tools, state, batch = setting
    for name in ("discriminative", "generative", "supervised"):
        step, current, losses = step_of(name, graphs, tools).compiled(), jax.tree.map(jnp.copy, state), []
        for _ in range(15):
            current, metrics = step(current, batch, KEY)
            weights = WEIGHTS if name == "generative" else defaultdict(lambda: 1.0)
            losses.append(sum(weights[key] * float(value) for key, value in metrics.items()))
        assert losses[-1] < losses[0], name


class Identity(nnx.Module):
    """An image as its own content, with an empty style."""

    def __call__(self, images):
        return images


class EmptyStyle(nnx.Module):
    def __call__(self, images):
        return jnp.zeros((len(images), 0))


class TakeContent(nnx.Module):
    def __call__(self, content, style):
        return content


def tie_to_identity(translator, monkeypatch) -> None:
    """Make both directions of a translator leave images as they are."""
    if hasattr(translator, "style_size"):
        for side in (translator.a, translator.b):
            side.content, side.style, side.decode = Identity(), EmptyStyle(), TakeContent()
        translator.style_size = 0
        return
    monkeypatch.setattr(unit, "_noisy", lambda code, key: code)
    for name in parts_names(translator):
        setattr(translator, name, Identity())


def parts_names(translator) -> list[str]:
    if hasattr(translator, "a_to_b"):
        return ["a_to_b", "b_to_a"]
    return ["encode_a", "encode_b", "decode_a", "decode_b", "shared_encoder", "shared_decoder"]


def test_translation_losses_vanish_for_identical_translators(setting, monkeypatch):
    graphs, _, state, batch = setting
    translator = nnx.merge(graphs.translator, state.translator)
    tie_to_identity(translator, monkeypatch)
    terms, (a_to_b, b_to_a) = translator.objectives(batch.a, batch.b, KEY)
    np.testing.assert_array_equal(a_to_b, batch.a)
    np.testing.assert_array_equal(b_to_a, batch.b)
    assert "cycle" in terms
    for name in {"image", "content", "cycle", "identity"} & set(terms):
        assert float(terms[name]) == 0, name


def test_state_shares_no_array_with_what_it_was_made_of(setting):
    graphs, tools, state, _ = setting
    fresh = steps.initial_state(graphs, state.translator, state.discriminators, state.segmenter, tools, KEY)
    donated = jax.jit(lambda state: replace(state, step=state.step + 1), donate_argnums=0)(fresh)
    assert int(donated.step) == 1
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state.segmenter))
