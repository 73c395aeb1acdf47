"""The three steps of the method in PyTorch (paper, section IV-C), without labels of B."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Styles = tuple[Tensor, Tensor]  # in which B's images are translated to A, and A's to B


class Networks(nn.Module):
    """All that learns."""

    def __init__(self, segmenter: nn.Module, translator: nn.Module, judge_a: nn.Module, judge_b: nn.Module):
        """Hold the networks."""
        super().__init__()
        self.segmenter, self.translator = segmenter, translator
        self.judges = nn.ModuleDict({"a": judge_a, "b": judge_b})


def discriminative_loss(networks: Networks, a: Tensor, b: Tensor, styles: Styles) -> Tensor:
    """Return the loss in which D_A and D_B tell real from translated (LSGAN)."""
    with torch.no_grad():
        translator = networks.translator
        a_to_b = translator.b.decode(translator.a.content(a), styles[1])
        b_to_a = translator.a.decode(translator.b.content(b), styles[0])
    total = 0.0
    for name, real, made in (("a", a, b_to_a), ("b", b, a_to_b)):
        judge = networks.judges[name]
        total += sum(((r - 1) ** 2).mean() + (m**2).mean() for r, m in zip(judge(real), judge(made), strict=True))
    return total


def generative_loss(networks: Networks, a: Tensor, b: Tensor, styles: Styles, weights: Mapping[str, float]) -> Tensor:
    """Return adversarial and translation losses (MUNIT, section 4)."""
    side_a, side_b = networks.translator.a, networks.translator.b
    content_a, own_a = side_a.content(a), side_a.style(a)
    content_b, own_b = side_b.content(b), side_b.style(b)
    a_to_b, b_to_a = side_b.decode(content_a, styles[1]), side_a.decode(content_b, styles[0])
    found_a, found_b = side_b.content(a_to_b), side_a.content(b_to_a)
    terms = {
        "image": F.l1_loss(side_a.decode(content_a, own_a), a) + F.l1_loss(side_b.decode(content_b, own_b), b),
        "content": F.l1_loss(found_a, content_a) + F.l1_loss(found_b, content_b),
        "style": F.l1_loss(side_a.style(b_to_a), styles[0]) + F.l1_loss(side_b.style(a_to_b), styles[1]),
        "cycle": F.l1_loss(side_a.decode(found_a, own_a), a) + F.l1_loss(side_b.decode(found_b, own_b), b),
        "adversarial": sum(
            ((score - 1) ** 2).mean()
            for name, made in (("a", b_to_a), ("b", a_to_b))
            for score in networks.judges[name](made)
        ),
    }
    return sum(weights[name] * term for name, term in terms.items())


def supervised_loss(networks: Networks, a: Tensor, masks: Tensor, style_b: Tensor) -> Tensor:
    """Return M_A's cross entropy on G_BA(G_AB(a))."""
    side_a, side_b = networks.translator.a, networks.translator.b
    recovered = side_a.decode(side_b.content(side_b.decode(side_a.content(a), style_b)), side_a.style(a))
    return F.binary_cross_entropy_with_logits(networks.segmenter(recovered), masks)
