"""Normalisations against Flax's and against plain sums, values and gradients."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax.models import normalisation

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(2.0, 3.0, (3, 6, 10, 8)), jnp.float32)
WEIGHTS = jnp.asarray(RNG.normal(size=X.shape), jnp.float32)
SCALE, SHIFT = (jnp.asarray(RNG.normal(size=(3, 8)), jnp.float32) for _ in range(2))


def plain_moments(x):
    return x.mean(axis=(1, 2)), x.var(axis=(1, 2))


def plain_scale_and_shift(x, scale, shift):
    return x * scale[:, None, None] + shift[:, None, None]


def randomised(layer: nnx.Module) -> nnx.Module:
    """Give a layer scales and shifts that are not one and zero."""
    layer.scale[...] = jnp.asarray(RNG.normal(size=8), jnp.float32)
    layer.bias[...] = jnp.asarray(RNG.normal(size=8), jnp.float32)
    if isinstance(layer, nnx.BatchNorm):
        layer.mean[...] = jnp.asarray(RNG.normal(size=8), jnp.float32)
        layer.var[...] = jnp.asarray(RNG.uniform(2.0, 4.0, size=8), jnp.float32)
    return layer


def gradients(function: Callable, *arguments) -> tuple:
    """Return the gradients of a weighted sum of what a function returns, by all arguments."""

    def loss(*arguments):
        return sum(
            (WEIGHTS.reshape(-1)[: part.size] * part.ravel()).sum() for part in jax.tree.leaves(function(*arguments))
        )

    return jax.jit(jax.grad(loss, argnums=tuple(range(len(arguments)))))(*arguments)


def assert_close(one, other, tolerance=2e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * abs(b).max()), one, other
    )


@pytest.mark.parametrize("platform", ["cpu", "another"])
def test_moments_are_means_and_variances_and_so_are_their_gradients(platform, monkeypatch):
    if platform == "another":
        monkeypatch.setattr(jax.lax, "platform_dependent", lambda x, cpu, default: default(x))
    assert_close(normalisation.moments(X), plain_moments(X))
    assert_close(gradients(normalisation.moments, X), gradients(plain_moments, X))


def test_variances_of_images_far_from_zero_are_exact():
    np.testing.assert_allclose(normalisation.moments(X + 3000)[1], plain_moments(X)[1], rtol=1e-3)


def test_scale_and_shift_has_the_gradients_of_the_plain_one():
    arguments = X, SCALE, SHIFT
    assert_close(normalisation.scale_and_shift(*arguments), plain_scale_and_shift(*arguments))
    assert_close(gradients(normalisation.scale_and_shift, *arguments), gradients(plain_scale_and_shift, *arguments))


def test_group_norm_is_flaxs():
    ours = randomised(normalisation.GroupNorm(8, num_groups=4, rngs=nnx.Rngs(0)))
    theirs = nnx.GroupNorm(8, num_groups=4, rngs=nnx.Rngs(0))
    nnx.update(theirs, nnx.state(ours))
    assert_close(ours(X), theirs(X))
    assert_close(gradients(ours, X), gradients(theirs, X))


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_and_its_running_statistics_are_flaxs(train):
    ours = randomised(normalisation.BatchNorm(8, rngs=nnx.Rngs(0)))
    theirs = nnx.BatchNorm(8, momentum=normalisation.MOMENTUM, rngs=nnx.Rngs(0))
    for _ in range(2):
        nnx.update(theirs, nnx.state(ours))
        assert_close(ours(X, train=train), theirs(X, use_running_average=not train))
        assert_close(nnx.state(ours, nnx.BatchStat), nnx.state(theirs, nnx.BatchStat))

    def of(layer, **mode):
        graph, variables = nnx.split(layer)
        return gradients(lambda x: nnx.merge(graph, variables, copy=True)(x, **mode), X)

    assert_close(of(ours, train=train), of(theirs, use_running_average=not train))


def plain_instance_norm(x):
    mean, variance = (part[:, None, None] for part in plain_moments(x))
    return (x - mean) / jnp.sqrt(variance + 1e-5)


def plain_adaptive_instance_norm(x, scale, shift):
    return plain_scale_and_shift(plain_instance_norm(x), scale, shift)


def plain_layer_norm(layer):
    def norm(x):
        deviation = x.std(axis=(1, 2, 3), keepdims=True, ddof=1)
        return (x - x.mean(axis=(1, 2, 3), keepdims=True)) / (deviation + 1e-5) * layer.scale[...] + layer.shift[...]

    return norm


LAYER = normalisation.LayerNorm(8, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("norm", "plain", "arguments"),
    [
        (normalisation.instance_norm, plain_instance_norm, (X,)),
        (normalisation.adaptive_instance_norm, plain_adaptive_instance_norm, (X, SCALE, SHIFT)),
        (LAYER, plain_layer_norm(LAYER), (X,)),
    ],
)
def test_gradients_of_whole_norms_are_those_of_plain_ones(norm, plain, arguments):
    assert_close(norm(*arguments), plain(*arguments))
    assert_close(gradients(norm, *arguments), gradients(plain, *arguments))


def test_a_channel_without_contrast_stays_at_zero():
    flat = jnp.full((2, 256, 256, 4), 1.37)
    np.testing.assert_allclose(normalisation.moments(flat)[0], 1.37, rtol=5e-6)
    assert abs(normalisation.instance_norm(flat)).max() < 5e-3


def test_in_16_bits_sums_have_32_and_gradients_are_rounded_once():
    half = (X + 300).astype(jnp.bfloat16)
    assert_close(
        normalisation.instance_norm(half), plain_instance_norm(half.astype(jnp.float32)).astype(jnp.bfloat16), 0.01
    )
    half = X.astype(jnp.bfloat16)
    backwards = [
        jax.vjp(norm, half)[1]((WEIGHTS + 3).astype(jnp.bfloat16))[0].astype(jnp.float32)
        for norm in (normalisation.instance_norm, lambda x: plain_instance_norm(x.astype(jnp.float32)).astype(x.dtype))
    ]
    error = jnp.linalg.norm(backwards[0] - backwards[1]) / jnp.linalg.norm(backwards[1])
    assert error < 1e-3


@pytest.mark.parametrize("norm", [normalisation.instance_norm, LAYER])
def test_norms_can_be_exported_for_any_number_of_images(norm):
    (b,) = jax.export.symbolic_shape("b")
    exported = jax.export.export(jax.jit(norm))(jax.ShapeDtypeStruct((b, 6, 10, 8), jnp.float32))
    assert_close(exported.call(X), norm(X))
