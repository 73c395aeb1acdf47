"""Segmenters alone: what their steps move, SCAN's game, and members that learn together."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from cxr_jax import checkpoints, losses, optimisers, pictures, segmentation
from cxr_jax import segmentation_steps as steps
from cxr_jax.data import prepared, radiographs, sampling, splits
from cxr_jax.data.augmentation import Augmentation
from cxr_jax.data.look import Look
from cxr_jax.models import CRITICS, SEGMENTERS, initialise, split_statistics
from cxr_jax.networks import build_segmenter
from cxr_jax.plans import SegmenterTraining
from cxr_jax.plausibility import Shape
from cxr_jax.training import Trained
from tests import tiny

KEY = jax.random.key(0)
TOOL = optax.sgd(0.1)
SHAPE = Shape.of(np.ones((1, 32, 32, 1), np.uint8))


@pytest.fixture(scope="module")
def game():
    """Return SCAN's steps, compiled, a state and a batch at the smallest sizes."""
    graph, variables = initialise(SEGMENTERS["scan"], KEY, width=2)
    critic, critic_variables = initialise(CRITICS["scan"], KEY, width=2)
    tool = optax.adam(1e-3)
    learners = [steps.learner(graph, variables, tool), steps.learner(critic, critic_variables, tool)]
    images = jax.random.uniform(KEY, (2, 16, 16, 1), minval=-1.0)
    turns = {
        "segmenter": jax.jit(steps.make_segmentation_step(graph, tool, critic=critic, weight=10.0)),
        "critic": jax.jit(steps.make_critic_step(graph, critic, tool)),
        "without": jax.jit(steps.make_segmentation_step(graph, tool)),
    }
    batch = steps.LabelledBatch(images, (images > 0).astype(jnp.float32))
    return turns, steps.initial_state(*learners, KEY), batch


def changed(one, other) -> bool:
    pairs = zip(*(jax.tree.leaves(checkpoints.to_host(tree)) for tree in (one, other)), strict=True)
    return any(not np.array_equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("moved", ["segmenter", "critic"])
def test_a_step_moves_only_its_own_part(game, moved):
    turns, state, batch = game
    after, terms = turns[moved](state, batch, KEY)
    assert all(np.isfinite(value) for value in terms.values())
    for part in ("segmenter", "critic", "average", "step", "key"):
        assert changed(getattr(state, part), getattr(after, part)) == (part == moved), part
    for part in ("parameters", "statistics", "optimiser"):
        assert changed(getattr(getattr(state, moved), part), getattr(getattr(after, moved), part)), part


def test_the_critic_steers_the_segmenter(game):
    turns, state, batch = game
    (plain, terms), (steered, more) = (turns[name](state, batch, KEY) for name in ("without", "segmenter"))
    assert set(terms) == {"segmentation"}
    assert set(more) == {"segmentation", "adversarial"}
    assert float(terms["segmentation"]) == pytest.approx(float(more["segmentation"]), abs=1e-6)
    assert changed(plain.segmenter.parameters, steered.segmenter.parameters)


@pytest.mark.parametrize(("name", "loss"), [("critic", "critic"), ("segmenter", "adversarial")])
def test_each_side_of_the_game_lowers_its_own_loss(game, name, loss):
    turns, state, batch = game
    values = []
    for _ in range(20):
        state, terms = turns[name](state, batch, KEY)
        values.append(float(terms[loss]))
    assert values[-1] < values[0]


def test_the_verdicts_are_cross_entropies():
    logits = jnp.array([0.0, 2.0, -3.0])
    probability = 1 / (1 + np.exp(-np.asarray(logits)))
    np.testing.assert_allclose(losses.drawn(logits), -np.log(probability).mean(), rtol=1e-5)
    np.testing.assert_allclose(losses.not_drawn(logits), -np.log(1 - probability).mean(), rtol=1e-5)


def test_an_average_of_new_weights_forgets_where_they_began_and_keeps_its_pace_afterwards():
    begun, weights = jnp.ones(3), jnp.zeros(3)
    average = begun
    for step in range(60):
        average = optimisers.follow(weights, average, 0.99, jnp.asarray(step))
    assert float(average.max()) < 1e-6  # of a plain average, 0.99**60 = 0.55 would be left
    np.testing.assert_allclose(optimisers.follow(weights, begun, 0.99, jnp.asarray(5000)), 0.99, rtol=1e-5)
    np.testing.assert_allclose(optimisers.follow(weights, begun, 0.0, jnp.asarray(0)), 0.0)
    np.testing.assert_allclose(optimisers.follow(weights, begun, 0.99), 0.99, rtol=1e-6)


@pytest.mark.parametrize(
    ("stage", "new"), [("pretrain", True), ("adapt", True), ("adapt", False), ("self_train", False)]
)
def test_only_of_new_segmenters_the_average_forgets(monkeypatch, tmp_path, stage, new):
    told = []
    monkeypatch.setattr(segmentation, "make_iteration", lambda *_, new: told.append(new) or len)
    monkeypatch.setattr(segmentation, "train", lambda stage, members: [])
    experiment = tiny.experiment()
    blank = np.zeros((4, 32, 32, 1), np.uint8)
    images = radiographs.Radiographs("x", blank, blank, tuple("abcd"))
    start = None if new else build_segmenter(experiment, KEY)[1]
    getattr(segmentation, stage)([segmentation.Job(experiment, images, images, 4, SHAPE, tmp_path, start=start)])
    assert told == [new]


@pytest.mark.parametrize("name", ["unet", "segnet"])  # without and with batch norm
def test_the_average_follows_parameters_and_statistics(name):
    graph, variables = initialise(SEGMENTERS[name], KEY, width=8)
    segmenter = steps.learner(graph, variables, TOOL)
    assert bool(segmenter.statistics) == (name == "segnet")
    state = steps.initial_state(segmenter, {}, KEY)
    assert jax.tree.structure(state.average) == jax.tree.structure(variables)
    parameters, statistics = jax.tree.map(lambda leaf: leaf + 1.0, (segmenter.parameters, segmenter.statistics))
    moved = replace(segmenter, parameters=parameters, statistics=statistics)
    after = steps.average(replace(state, segmenter=moved), 0.75, new=False)
    assert int(after.step) == int(state.step) + 1
    for old, new in zip(jax.tree.leaves(state.average), jax.tree.leaves(after.average), strict=True):
        np.testing.assert_allclose(new, old + 0.25, atol=1e-6)


def jobs(folder, data, **changes) -> list[segmentation.Job]:
    """Return two folds of 33 images, of which 19 and 20 train."""
    experiment = tiny.experiment(pretraining__batch_size=4, pretraining__epochs=1, **changes)
    few = data[np.arange(33)]
    folds = {fold: splits.split(few.ids, fold, 0) for fold in (0, 4)}
    return [
        segmentation.Job(
            experiment, few[split.train], few[split.validation], splits.training_share(33), SHAPE, folder / str(fold)
        )
        for fold, split in folds.items()
    ]


SCAN = {
    "segmenter": {"name": "scan", "width": 2},
    "critic": {"name": "scan", "width": 2, "weight": 0.1, "learning_rate": 1e-3},
}


@pytest.mark.parametrize("changes", [{}, pytest.param(SCAN, marks=pytest.mark.slow)], ids=["unet", "scan"])
def test_folds_that_learn_together_are_what_they_are_alone(tmp_path, tfds_dir, changes):
    data = prepared.load("phantom/a", "lungs", Look(32), tfds_dir)
    assert [len(job.training) for job in jobs(tmp_path, data)] == [19, 20]
    graph, together = segmentation.pretrain(jobs(tmp_path / "together", data, **changes))
    key = jax.random.split(jax.random.fold_in(KEY, segmentation.STREAMS["pretraining"]))[0]
    start = build_segmenter(jobs(tmp_path, data, **changes)[0].experiment, key)[1]
    for job, member in zip(jobs(tmp_path / "alone", data, **changes), together, strict=True):
        (alone,) = segmentation.pretrain([job])[1]
        here, there = (flat(trained.state.segmenter.parameters) for trained in (alone, member))
        moved = np.linalg.norm(here - flat(split_statistics(graph, start)[0]))
        assert np.linalg.norm(here - there) < 0.01 * moved
        assert alone.score == pytest.approx(member.score, abs=0.5)


@pytest.fixture
def recorded(tmp_path, tfds_dir, monkeypatch):
    """Return two jobs, and a list of what trains together: the stage's steps, and how many members."""
    rows = []

    def train(stage, members):
        rows.append((stage.steps, len(members)))
        return [Trained(1, 0.0, member.workdir, None) for member in members]

    monkeypatch.setattr(segmentation, "train", train)
    return *jobs(tmp_path, prepared.load("phantom/a", "lungs", Look(32), tfds_dir)), rows


@pytest.mark.parametrize("trusted", [True, False])
def test_a_picture_shows_as_truth_only_masks_that_are(recorded, monkeypatch, trusted):
    job, *_ = recorded
    members = []
    monkeypatch.setattr(segmentation, "train", lambda stage, found: members.extend(found) or [])
    monkeypatch.setattr(segmentation, "predictor", lambda graph: lambda variables, images: images > 127)
    segmentation.pretrain([job._replace(trusted=trusted)])
    picture = members[0].pictures(None)()["validation"]
    assert (picture == pictures.TRUTH).all(axis=-1).any() == trusted


def test_those_whose_epochs_differ_in_length_train_one_after_another(recorded):
    long, short, rows = recorded
    _, trained = segmentation.pretrain([long, short._replace(epoch=9)])
    assert [outcome.model for outcome in trained] == [long.workdir, short.workdir]
    assert rows == [(long.epoch // 4, 1), (9 // 4, 1)]


@pytest.mark.parametrize(("effusion", "together"), [(0.0, [2]), (0.3, [1, 1])])
def test_organs_train_together_where_the_same_is_drawn_for_both(recorded, effusion, together):
    *pair, rows = recorded
    drawn = replace(pair[0].experiment.augmentation, effusion=effusion)
    plans = [replace(pair[0].experiment, augmentation=drawn, task=task) for task in ("heart", "lungs")]
    segmentation.pretrain([pair[0]._replace(experiment=plan) for plan in plans])
    assert [members for _, members in rows] == together


def test_several_may_start_from_one_network():
    graph, variables = initialise(SEGMENTERS["unet"], KEY, width=8, depth=1)
    tool = optax.adam(1e-3)
    states = [steps.initial_state(steps.learner(graph, variables, tool), {}, KEY) for _ in range(2)]
    used_up = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf, state), donate_argnums=0)
    used_up(states[0])
    for kept in (variables, states[1].segmenter.parameters, states[1].average):
        assert np.isfinite(flat(kept)).all()


def iteration_of(graph):
    settings = SegmenterTraining(1, 6, 1e-3, 0.9, 0.0, "constant", 0.5)
    return segmentation.make_iteration(
        Augmentation.none(), settings, None, segmentation.Networks(graph, TOOL, None, None), new=False
    )


@pytest.fixture(scope="module")
def teaching():
    """Return an iteration without augmentation, a state whose average is another network, and a mixture to learn."""
    graph, variables = initialise(SEGMENTERS["unet"], KEY, width=8, depth=1)
    _, teacher = initialise(SEGMENTERS["unet"], jax.random.key(1), width=8, depth=1)
    state = replace(steps.initial_state(steps.learner(graph, variables, TOOL), {}, KEY), average=teacher)
    noise = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 1), np.uint8)
    masks = (noise > 127).astype(np.uint8)
    mixture = segmentation.Mixture(
        segmentation.LabelledImages(jnp.asarray(noise[:3]), jnp.asarray(masks[:3]), jnp.asarray(3)),
        segmentation.PartlyLabelledImages(
            jnp.asarray(noise[3:6]), jnp.asarray(masks[3:6]), jnp.array([False, True, False]), jnp.asarray(3)
        ),
    )
    iteration = iteration_of(graph)
    return lambda mixture: iteration(jax.tree.map(jnp.copy, state), mixture), state, graph, mixture


def test_the_average_draws_the_masks_that_are_missing(teaching):
    iterate, state, graph, mixture = teaching
    _, terms = iterate(mixture)
    images = sampling.to_network(sampling.to_unit(jnp.concatenate([mixture.labelled.images, mixture.partly.images])))
    truth = jnp.concatenate([mixture.labelled.masks, mixture.partly.masks])
    drawn = nnx.merge(graph, state.average)(images) > 0
    known = jnp.array([True, True, True, False, True, False])[:, None, None, None]
    expected = losses.cross_entropy(
        nnx.merge(graph, state.segmenter.parameters)(images), jnp.where(known, truth, drawn).astype(jnp.float32)
    )
    assert float(terms["segmentation"]) == pytest.approx(float(expected), rel=1e-5)  # batches of six: every image once
    assert float(terms["segmentation"]) != pytest.approx(
        float(losses.cross_entropy(nnx.merge(graph, state.segmenter.parameters)(images), truth.astype(jnp.float32)))
    )


def test_the_average_sees_images_in_front_of_their_change_of_appearance(teaching, monkeypatch):
    _, state, graph, mixture = teaching
    monkeypatch.setattr(segmentation.augmentation, "appearance", lambda augment, key, images, masks: 0.2 + 0.5 * masks)
    _, terms = iteration_of(graph)(jax.tree.map(jnp.copy, state), mixture)
    labels = [mixture.labelled.masks, mixture.partly.masks[1:2]]
    unlabelled = sampling.to_network(sampling.to_unit(mixture.partly.images[jnp.array([0, 2])]))
    masks = jnp.concatenate([*labels, nnx.merge(graph, state.average)(unlabelled) > 0]).astype(jnp.float32)
    shown = sampling.to_network(0.2 + 0.5 * masks)
    expected = losses.cross_entropy(nnx.merge(graph, state.segmenter.parameters)(shown), masks)
    assert float(terms["segmentation"]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("row", "matters"), [(0, False), (1, True)])
def test_of_a_mixture_only_labels_are_read(teaching, row, matters):
    iterate, _, _, mixture = teaching
    other = mixture.partly._replace(masks=mixture.partly.masks.at[row].set(1 - mixture.partly.masks[row]))
    (here, _), (there, _) = iterate(mixture), iterate(mixture._replace(partly=other))
    assert changed(here.segmenter.parameters, there.segmenter.parameters) == matters


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
