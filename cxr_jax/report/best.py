"""What the parts of configs/best.py give without labels, as Markdown, from the rows of `docs/results/best.json`.

The rows are those of Table II at 0 %, of one protocol for each variant, and of both directions.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from cxr_jax.report import cells, without_labels
from cxr_jax.report.rows import Row, markdown_table

ROWS = replace(
    cells.ROWS,
    name="best",
    config="table2",
    varying=(*cells.ROWS.varying, "source", "target"),
    also=(("variant", "protocol"),),
)
WORST = 10  # images that are shown


def markdown(rows: Sequence[Row]) -> str:
    """Return the tables of variants over their seeds, and for each direction the images on which its best is worst."""
    rows = [row for row in rows if row["label_frac"] == 0]
    if not rows:
        return ROWS.nothing
    scored = [row for row in sorted(rows, key=ROWS.key) if row["jaccard"]]
    settings = dict.fromkeys(map(_setting, scored))
    worst = (part for setting in settings for part in _worst(scored, setting))
    return "\n\n".join([without_labels.markdown(rows), *worst])


def _setting(row: Row) -> tuple[str, str, str, int, str]:
    """Return what the rows of a table of images have in common: source, target, task, size and M_A's architecture."""
    return row["source"], row["target"], row["task"], row["image_size"], row["segmenter"]


def _shared(tested: Sequence[set]) -> set:
    """Return the largest of these sets that at least half of them hold."""
    common = [cases for cases in tested if 2 * sum(cases <= other for other in tested) >= len(tested)]
    return max(common or tested, key=len)


def _worst(rows: Sequence[Row], setting: tuple[str, str, str, int, str]) -> tuple[str, str]:
    """Return heading and table for the best variant of a setting, on the cases that most variants have."""
    scores = {}  # by variant, and by seed and image
    for row in rows:
        if _setting(row) == setting:
            of_variant = scores.setdefault(f"{row['protocol']}, {without_labels.method(row)}", {})
            of_variant |= {(row["seed"], image): score for image, score in row["jaccard"]["per_image"].items()}
    shared = _shared([set(images) for images in scores.values()])
    scores = {name: images for name, images in scores.items() if shared <= images.keys()}
    best = max(scores, key=lambda name: mean(scores[name][case] for case in shared))
    lines = [
        [case[1], str(case[0]), *(f"{images[case]:.1f}" if case in images else "-" for images in scores.values())]
        for case in sorted(scores[best], key=scores[best].get)[:WORST]
    ]
    source, target, task, size, segmenter = setting
    heading = (
        f"{source} to {target}, {task}, {size} px, {segmenter}: the {len(lines)} cases, each an image and a seed, "
        f"in which {best} is worst, beside the others:"
    )
    return heading, markdown_table(["image", "seed", *scores], lines)
