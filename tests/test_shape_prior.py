"""The shape prior: it learns to mend masks, changes what it is sure of alone, and corrects the teacher of M_A."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax import evaluation, segmentation, shape_prior
from cxr_jax.data import radiographs, splits
from cxr_jax.data.radiographs import Radiographs
from tests import tiny


@pytest.fixture(scope="module")
def source(tfds_dir) -> Radiographs:
    return radiographs.load("phantom/a", "lungs", 32, tfds_dir)


def test_it_learns_from_masks_alone(source):
    learned, judged = shape_prior.to_learn_from(source), shape_prior.to_judge_by(source)
    np.testing.assert_array_equal(learned.images, 255 * source.masks)
    for made in (learned, judged):
        np.testing.assert_array_equal(made.masks, source.masks)
        assert made.images.dtype == np.uint8
        assert set(np.unique(made.images)) == {0, 255}
    assert (judged.images != learned.images).any()
    np.testing.assert_array_equal(judged.images, shape_prior.to_judge_by(source).images)


def test_it_mends_what_it_has_not_seen(source, tmp_path):
    experiment = tiny.experiment(
        shape_prior__epochs=15, shape_prior__batch_size=8, shape_prior__learning_rate=2e-3, shape_prior__average=0.9
    )
    split = splits.split(source.ids, 0, 0)
    spoilt = shape_prior.to_judge_by(source)
    job = segmentation.Job(
        experiment,
        shape_prior.to_learn_from(source[split.train]),
        spoilt[split.validation],
        splits.training_share(len(source)),
        tmp_path,
    )
    graph, (trained,) = segmentation.learn_shapes([job])
    test = spoilt[split.test]
    before = evaluation.overlap(lambda images: images > 127, test)["jaccard"]
    correct = shape_prior.Prior(graph, trained.model).correct
    after = evaluation.overlap(lambda images: correct(jnp.asarray(images > 127)), test)["jaccard"]
    assert np.mean(after) > np.mean(before) + 2
    assert (tmp_path / "shape_prior" / "checkpoints").is_dir()


class Told(nnx.Module):
    """A network that answers with the same logits whatever it sees."""

    def __init__(self, logits):
        self.logits = nnx.Param(jnp.asarray(logits))

    def __call__(self, masks):
        return jnp.broadcast_to(self.logits[...], masks.shape)


def test_only_what_it_is_sure_of_changes():
    graph, variables = nnx.split(Told(np.array([-9.0, -2.0, 0.0, 2.0, 9.0], np.float32)[None, None, :, None]))
    prior = shape_prior.Prior(graph, variables)
    for level, expected in ((0, [0, 0, 0, 0, 1]), (1, [0, 1, 1, 1, 1])):
        masks = np.full((2, 5, 5, 1), bool(level))
        np.testing.assert_array_equal(prior.correct(jnp.asarray(masks))[0, 0, :, 0], expected)
        drawn = prior.correcting(lambda images, masks=masks: masks)(np.zeros((2, 5, 5, 1), np.uint8))
        assert drawn.dtype == bool
        np.testing.assert_array_equal(drawn[1, 3, :, 0], expected)
