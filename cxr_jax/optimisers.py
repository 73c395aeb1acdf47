"""Adam as the paper's framework applied it, one step of it, and the moving average of weights."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def adam(
    learning_rate: float,
    *,
    beta1: float,
    weight_decay: float,
    schedule: Literal["constant", "cosine"],
    steps: int,
    decayed: Any = None,
) -> optax.GradientTransformation:
    """Adam with L2 weight decay: the decay joins the gradient, in front of Adam's scaling.

    That is what PyTorch's `Adam(weight_decay=...)` does; AdamW, which scales the decay apart, is another
    method. `cosine` falls from `learning_rate` to 0 over `steps` steps. All parameters are updated as one long
    vector: one program of a few operations, quick to compile, in place of a few for each array. `decayed` is a tree of
    booleans, or the beginning of one, that tells which parameters decay; it is read in front of that vector.
    """
    rate = optax.cosine_decay_schedule(learning_rate, steps) if schedule == "cosine" else learning_rate
    decay = optax.add_decayed_weights(weight_decay, mask=decayed)
    scaling = optax.adam(rate, b1=beta1)
    return optax.flatten(optax.chain(decay, scaling)) if decayed is None else optax.chain(decay, optax.flatten(scaling))


def descend(
    objective: Callable[[Any], tuple[Float[Array, ""], Any]],
    optimiser: optax.GradientTransformation,
    parameters: Any,
    state: optax.OptState,
) -> tuple[Any, optax.OptState, Any]:
    """Take one step on `objective`; return parameters, the optimiser's state and what else the objective returns."""
    gradients, extra = jax.grad(objective, has_aux=True)(parameters)
    updates, state = optimiser.update(gradients, state, parameters)
    return optax.apply_updates(parameters, updates), state, extra


def follow(weights: Any, average: Any, decay: float, step: Int[Array, ""] | None = None) -> Any:
    """Return the moving average of weights after an iteration: `decay` of what it was, the rest of what they are.

    With a `step`, counted from 0 where the weights were new, it forgets faster in the beginning, as
    (1 + step) / (10 + step) is below `decay`: else a training of some hundred steps would end near random weights.
    """
    if step is not None:
        decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return optax.incremental_update(weights, average, 1.0 - decay)
