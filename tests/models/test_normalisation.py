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


def test_in_16_bits_sums_have_32():
    half = (X + 300).astype(jnp.bfloat16)
    mean, variance = normalisation.moments(half)
    assert mean.dtype == variance.dtype == jnp.float32
    assert_close((mean, variance), plain_moments(half.astype(jnp.float32)))
    assert normalisation.instance_norm(half).dtype == jnp.bfloat16
