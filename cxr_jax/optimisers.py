"""Adam as the paper's framework applied it."""

from typing import Any, Literal

import optax


def adam(
    learning_rate: float,
    *,
    beta1: float,
    beta2: float = 0.999,
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
    scaling = optax.adam(rate, b1=beta1, b2=beta2)
    return optax.flatten(optax.chain(decay, scaling)) if decayed is None else optax.chain(decay, optax.flatten(scaling))
