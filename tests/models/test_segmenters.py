"""What all segmenters have in common, and what each of them has of its own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax.models import SEGMENTERS, SCANCritic, initialise, join, split_statistics
from cxr_jax.models.fcn import FCN, LearnedUpsampling
from cxr_jax.models.invertednet import InvertedNet, gaussian_dropout, max_pool_in_place, upsample
from cxr_jax.models.scan import SCAN
from cxr_jax.models.segnet import SegNet
from cxr_jax.models.unet import UNet

KEY = jax.random.key(0)
WIDTHS = {"unet": 8, "fcn": 4, "segnet": 4, "invertednet": 16, "scan": 4}
WITH_DROPOUT = ("fcn", "invertednet")
WITH_STATISTICS = ("fcn", "segnet", "scan")


def count(architecture, **sizes) -> int:
    """Number of parameters, statistics not among them."""
    parameters, _ = split_statistics(*initialise(architecture, None, **sizes))
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))


def images(name: str, number: int = 2) -> jax.Array:
    side = 2 * SEGMENTERS[name].size_multiple()
    return jax.random.uniform(KEY, (number, side, side, 1), minval=-1.0)


@partial(jax.jit, static_argnums=0)
def infer(graph, variables, images):
    return nnx.merge(graph, variables)(images)


@partial(jax.jit, static_argnums=0)
def train(graph, variables, images, key):
    network = nnx.merge(graph, variables)
    return network(images, train=True, key=key), nnx.to_pure_dict(nnx.state(network))


@pytest.fixture(params=SEGMENTERS, scope="module")
def segmenter(request):
    graph, variables = initialise(SEGMENTERS[request.param], KEY, width=WIDTHS[request.param])
    return request.param, graph, variables


@pytest.mark.parametrize(
    ("architecture", "published", "tolerance"),
    [
        (UNet, 31.0e6, 0.01),
        (FCN, 134e6, 0.005),  # Long et al., table 1: FCN-VGG16
        (SegNet, 29.4e6, 0.01),
        (InvertedNet, 3_140_771 - 2 * 257, 0),  # Novikov et al. score three classes with 257 parameters each
        (SCAN, 271e3, 0.02),
        (SCANCritic, 258e3, 0.02),
    ],
)
def test_published_sizes(architecture, published, tolerance):
    assert count(architecture) == pytest.approx(published, rel=tolerance)


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("multiples", [(1, 3), (5, 1)])
def test_logits_have_the_size_of_images(name, multiples):
    graph, variables = initialise(SEGMENTERS[name], None, width=WIDTHS[name])
    h, w = (SEGMENTERS[name].size_multiple() * multiple for multiple in multiples)
    images = jax.ShapeDtypeStruct((2, h, w, 1), jnp.float32)
    logits, variables_after = jax.eval_shape(partial(train, graph), variables, images, KEY)
    for result in (logits, jax.eval_shape(partial(infer, graph), variables, images)):
        assert (result.shape, result.dtype) == (images.shape, images.dtype)
    assert jax.tree.structure(variables_after) == jax.tree.structure(variables)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_wrong_sizes_are_named(name):
    architecture = SEGMENTERS[name]
    multiple = architecture.size_multiple()
    graph, variables = initialise(architecture, None, width=WIDTHS[name])
    with pytest.raises(ValueError, match=rf"must be multiples of {multiple}, found {multiple}x{multiple + 1}"):
        jax.eval_shape(partial(infer, graph), variables, jnp.zeros((1, multiple, multiple + 1, 1)))
    for width in (0, *([12] if name in ("unet", "invertednet") else [])):
        with pytest.raises(ValueError, match=rf"width must be a multiple of \d+, at least \d+, found {width}"):
            initialise(architecture, None, width=width)


def test_logits_depend_on_every_parameter(segmenter):
    name, graph, variables = segmenter
    parameters, statistics = split_statistics(graph, variables)
    inputs = images(name)
    weights = jax.random.normal(KEY, inputs.shape)

    @jax.jit
    @jax.grad
    def influence(parameters):
        return (nnx.merge(graph, join(parameters, statistics))(inputs) * weights).sum()

    silent = [path for path, leaf in jax.tree.leaves_with_path(influence(parameters)) if not jnp.abs(leaf).max() > 0]
    assert not silent


def test_inference_knows_one_image_at_a_time(segmenter):
    name, graph, variables = segmenter
    together = infer(graph, variables, images(name))
    for number in range(2):
        alone = infer(graph, variables, images(name)[number : number + 1])
        np.testing.assert_allclose(alone[0], together[number], atol=1e-5 * float(jnp.abs(together).max()))


def test_training_moves_statistics_alone_and_inference_follows(segmenter):
    name, graph, variables = segmenter
    logits, moved = train(graph, variables, images(name), KEY)
    assert np.isfinite(logits).all()
    parameters, statistics = split_statistics(graph, variables)
    parameters_after, statistics_after = split_statistics(graph, moved)
    jax.tree.map(np.testing.assert_array_equal, parameters, parameters_after)
    assert bool(statistics) == (name in WITH_STATISTICS)
    for before, after in zip(jax.tree.leaves(statistics), jax.tree.leaves(statistics_after), strict=True):
        assert (before != after).all()
    same = infer(graph, variables, images(name)) == infer(graph, moved, images(name))
    assert bool(same.all()) == (name not in WITH_STATISTICS)


def test_dropout_follows_the_key(segmenter):
    name, graph, variables = segmenter
    first, again, other = (train(graph, variables, images(name), jax.random.key(seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert bool((first == other).all()) == (name not in WITH_DROPOUT)
    if name in WITH_DROPOUT:
        with pytest.raises(ValueError, match="call it with train=True and a key"):
            train(graph, variables, images(name), None)
    else:
        np.testing.assert_array_equal(first, train(graph, variables, images(name), None)[0])


def test_unet_sees_the_whole_image():
    graph, variables = initialise(UNet, KEY, width=8, depth=2)

    @jax.jit
    @jax.grad
    def influence(images):
        return nnx.merge(graph, variables)(images)[0, 16, 16, 0]

    assert (
        float(jnp.abs(influence(jax.random.normal(KEY, (1, 32, 32, 1)))[0, 0, 0, 0])) > 0
    )  # group norm carries what convolutions do not reach


def test_fcn_without_batch_norm_is_vgg_16():
    vgg_16 = 138_357_544 - 4097 * 1000 - 2 * 9 * 64  # without its classifier of 1000 classes, with one input channel
    scores, upsamplings = 257 + 513 + 4097, 16 + 16 + 256
    assert count(FCN, batch_norm=False) == vgg_16 + scores + upsamplings
    _, statistics = split_statistics(*initialise(FCN, None, width=4, batch_norm=False))
    assert statistics == {}


@pytest.mark.parametrize("factor", [2, 8])
def test_learned_upsampling_starts_bilinear(factor):
    x = jax.random.normal(KEY, (2, 4, 5, 1))
    expected = jax.image.resize(x, (2, 4 * factor, 5 * factor, 1), "linear")
    inside = slice(factor // 2, -factor // 2)
    found = LearnedUpsampling(factor, rngs=nnx.Rngs(0))(x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[:, inside, inside], expected[:, inside, inside], atol=1e-5)


def test_learned_upsampling_is_a_transposed_convolution():
    layer = LearnedUpsampling(2, rngs=nnx.Rngs(0))
    kernel, x = (np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in ((4, 4), (3, 5)))
    layer.kernel[...] = jnp.asarray(kernel)
    canvas = np.zeros((8, 12), np.float32)
    for i, j in np.ndindex(3, 5):
        canvas[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += x[i, j] * kernel
    np.testing.assert_allclose(layer(jnp.asarray(x)[None, :, :, None])[0, :, :, 0], canvas[1:-1, 1:-1], atol=1e-5)


def test_pooling_in_place_and_upsampling_match_numpy():
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    pooled = max_pool_in_place(jnp.asarray(x))
    for i, j in np.ndindex(4, 5):
        np.testing.assert_array_equal(pooled[:, i, j], x[:, i : i + 2, j : j + 2].max(axis=(1, 2)))
    np.testing.assert_array_equal(upsample(jnp.asarray(x)), x.repeat(2, axis=1).repeat(2, axis=2))


def test_gaussian_dropout_has_the_moments_of_dropout():
    x = np.asarray(gaussian_dropout(jnp.full((1, 64, 64, 16), 2.0), 0.2, KEY))
    assert x.mean() == pytest.approx(2.0, abs=0.02)
    assert x.std() == pytest.approx(2.0 * (0.2 / 0.8) ** 0.5, abs=0.02)


def test_scan_critic_judges_the_pair():
    graph, variables = initialise(SCANCritic, KEY, width=4)
    images = jax.random.uniform(KEY, (3, 24, 40, 1), minval=-1.0)
    masks = (images > 0).astype(jnp.float32)
    parameters, statistics = split_statistics(graph, variables)

    @jax.jit
    @partial(jax.grad, argnums=(0, 1, 2), has_aux=True)
    def judge(parameters, images, masks):
        logits = nnx.merge(graph, join(parameters, statistics))(images, masks)
        return logits[0], logits

    (to_parameters, *to_pair), logits = judge(parameters, images, masks)
    assert logits.shape == (3,)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(to_parameters))
    for gradient in to_pair:
        assert jnp.abs(gradient[0]).max() > 0
        assert not gradient[1:].any()


def test_scan_critic_trains_on_batch_statistics():
    graph, variables = initialise(SCANCritic, KEY, width=4)
    pair = jax.random.uniform(KEY, (2, 2, 16, 16, 1))

    @jax.jit
    def judge(variables):
        critic = nnx.merge(graph, variables)
        return critic(*pair), critic(*pair, train=True), nnx.to_pure_dict(nnx.state(critic, nnx.BatchStat))

    inference, training, moved = judge(variables)
    assert (inference != training).all()
    _, statistics = split_statistics(graph, variables)
    for before, after in zip(jax.tree.leaves(statistics), jax.tree.leaves(moved), strict=True):
        assert (before != after).all()


def test_scan_critic_rejects_wrong_sizes():
    graph, variables = initialise(SCANCritic, None, width=4)
    wrong = jnp.zeros((1, 8, 12, 1))
    with pytest.raises(ValueError, match="must be multiples of 8, found 8x12"):
        jax.eval_shape(lambda variables: nnx.merge(graph, variables)(wrong, wrong), variables)
    with pytest.raises(ValueError, match="width must be a multiple of 1, at least 1, found 0"):
        initialise(SCANCritic, None, width=0)
    assert SCANCritic.size_multiple() == 8
