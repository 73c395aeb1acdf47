"""Models that leave their work directory: exported ones run without this project, shipped ones are small."""

import dataclasses
import io
import json
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from cxr_jax import checkpoints, compact, config, exported, inference, networks, provenance, reading, results, ship, tta
from cxr_jax.checkpoints import CheckpointError
from cxr_jax.files import write_json
from cxr_jax.models import SEGMENTERS
from cxr_jax.plausibility import Shape
from cxr_jax.views import Views
from tests import tiny

ROOT = Path(__file__).parent.parent
SHOWN = (2, 1, 32, 32, 1)  # an image of either dataset
SHAPE = Shape.of(np.ones((1, 32, 32, 1), np.uint8))

FRESH = """
import sys
from pathlib import Path
import jax, numpy
call = jax.export.deserialize(Path(sys.argv[1]).read_bytes()).call
numpy.save(sys.argv[3], call(numpy.load(sys.argv[2])))
assert not {name.partition(".")[0] for name in sys.modules} & {"cxr_jax", "flax", "orbax"}
"""


def untrained(folder: Path, look: str) -> Path:
    """Leave in `folder` what a run would whose networks learn nothing, and whose target has that look."""
    plan = tiny.experiment(
        self_training__epochs=0,
        transfer__supervised_looks={"a": 1.0, "b": float(look == "b")},
        transfer__target_look=look,
    )
    graph, segmenter = networks.build_segmenter(plan, jax.random.key(0))
    graphs, parameters = networks.build_transfer(plan, graph, jax.random.key(1))
    _, others = networks.build_transfer(plan, graph, jax.random.key(2))
    translator = parameters["translator"] | {"b": others["translator"]["b"]}  # from one key both would start alike
    reference = Views(graphs, look).reference(translator, *np.random.default_rng(0).integers(0, 256, SHOWN, np.uint8))
    _, transferred = networks.build_segmenter(plan, jax.random.key(3))
    both = {"segmenter": transferred, "translator": translator, "reference": reference}
    for stage, model in {"pretraining": segmenter, "transfer": both}.items():
        about = {"stage": stage, "config": config.to_json(plan), "shape": SHAPE.plain(), "made": provenance.here()}
        store = checkpoints.Checkpoints(folder / stage / "checkpoints", about)
        store.save(plan.settings(stage).epochs, model, {"step": np.zeros(1)}, 0.0)
        store.close()
    write_json(folder / results.FILE, {**results.describe(plan), "data": {}})
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Return the folder of a run that segments translated images."""
    return untrained(tmp_path_factory.mktemp("run"), "a")


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    """Return the folder of a run that reads images as they are, which the files that are shipped must do."""
    return untrained(tmp_path_factory.mktemp("run"), "b")


@pytest.mark.parametrize("stage", ["pretraining", "transfer"])
def test_a_fresh_process_without_this_project_runs_it(workdir, tmp_path, stage):
    (path,) = exported.write([workdir / stage], tmp_path / "out")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), np.uint8)
    np.save(tmp_path / "images.npy", images)
    words = [sys.executable, "-c", FRESH, path, tmp_path / "images.npy", tmp_path / "found.npy"]
    subprocess.run(words, cwd=tmp_path, check=True, timeout=300)
    expected = inference.restore(workdir / stage).soften(images)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-5)
    about = json.loads(path.with_suffix(".json").read_text())
    assert (about["organ"], about["input"]["shape"]) == ("lungs", ["b", 32, 32, 1])
    assert len(about["preparation"]) == 5
    learned_from = ["phantom/a", "phantom/b"] if stage == "transfer" else ["phantom/a"]
    assert (about["stage"], about["learned_from"], about["plausible_masks"]) == (stage, learned_from, SHAPE.plain())
    plan = tiny.experiment(tones="equalised", negated=("phantom/b",))
    steps = exported.describe(dataclasses.replace(inference.restore(workdir / stage), experiment=plan))["preparation"]
    assert (steps[4], len(steps)) == (exported.RANKS, 7)


def test_nothing_is_overwritten_unless_told(workdir, tmp_path):
    exported.write([workdir / "pretraining"], tmp_path)
    with pytest.raises(exported.ExportError, match="is there already"):
        exported.write([workdir / "pretraining"], tmp_path)
    exported.write([workdir / "pretraining"], tmp_path, overwrite=True)


def test_two_models_of_one_organ_are_refused_before_either_is_exported(workdir, tmp_path):
    with pytest.raises(CheckpointError, match="draws lungs, as another checkpoint does"):
        exported.write([workdir, workdir / "pretraining"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prepare", [lambda soften: soften, tta.averaged], ids=["once", "averaged"])
@pytest.mark.parametrize(
    "name", ["segnet", *(pytest.param(n, marks=pytest.mark.slow) for n in SEGMENTERS if n != "segnet")]
)
def test_every_segmenter_can_be_exported_for_any_batch(name, prepare):
    plan = dataclasses.replace(tiny.experiment(), segmenter={"name": name, "width": 16})
    graph, model = networks.build_segmenter(plan, jax.random.key(0))
    soften = partial(prepare(networks.probability(graph)), model)
    call = jax.export.deserialize(exported.serialise(inference.Predictor(plan, "pretraining", 0, model, soften))).call
    for count in (1, 3):
        images = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 1), np.uint8)
        np.testing.assert_allclose(call(images), soften(images), atol=1e-5)


def test_a_shipped_model_is_that_of_its_run_in_less_than_half_of_the_bytes(direct, tmp_path):
    path, found = ship.segmenter(direct, tmp_path), inference.restore(direct)
    assert path.name == "lungs.npz"
    assert compact.shipped(tmp_path) == [path]
    shipped, segmenter = inference.restore(path), found.model["segmenter"]
    for before, after in zip(jax.tree.leaves(segmenter), jax.tree.leaves(shipped.model), strict=True):
        largest = np.abs(before).max(axis=tuple(range(before.ndim - 1)))  # of each output channel
        assert (np.abs(np.asarray(after) - before) <= largest / 254 + 1e-6).all()
        assert after.dtype == before.dtype
    # A quarter, but for the names of arrays, which count where these are so small.
    assert (shipped.stage, shipped.epoch) == ("transfer", found.epoch)
    assert shipped.shape.plain() == found.shape.plain() == SHAPE.plain()
    assert path.stat().st_size < 0.45 * sum(leaf.nbytes for leaf in jax.tree.leaves(segmenter))
    graph, _ = networks.build_segmenter(found.experiment, None)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), np.uint8)
    expected = networks.probability(graph)(segmenter, images)
    np.testing.assert_allclose(shipped.soften(images), expected, atol=0.02)


def test_a_shipped_translator_translates_as_that_of_its_run(workdir, tmp_path):
    path = ship.translator(workdir, tmp_path)
    images = jax.random.uniform(jax.random.key(0), (2, 32, 32, 1), minval=-1, maxval=1)
    original, shipped = inference.restore_translator(workdir), inference.restore_translator(path)
    reference = original.reference(images, images)
    for way in ("to_a", "to_b"):
        expected = getattr(original, way)(images, reference)
        np.testing.assert_allclose(getattr(shipped, way)(images, reference), expected, atol=0.05)
    assert np.abs(original.to_a(images, reference) - original.to_b(images, reference)).max() > 0.2
    with pytest.raises(CheckpointError, match=r"holds a model of 'translator': expected one of self_training, .*"):
        inference.restore(path)


def test_what_is_shipped_is_measured_as_it_lies_there(direct, tmp_path, tfds_dir):
    rows = ship.measure(ship.segmenter(direct, tmp_path), tfds_dir, None)
    assert [(row["dataset"], row["images"]) for row in rows] == [("phantom/a", 32), ("phantom/b", 32)]
    assert all(0 <= row["jaccard"]["mean"] <= 100 and 0 <= row["plausible"] <= 32 for row in rows)
    assert all(0 < row["expected_jaccard"] < 100 for row in rows)
    assert all(0 <= row["seem_inverted"][which] <= 32 for row in rows for which in ("images", "negatives"))
    assert rows[0]["trained"]["commit"]
    assert {row["weights"] for row in rows} == {inference.restore(tmp_path / "lungs.npz").fingerprint}


def test_a_segmenter_of_translated_images_is_not_shipped(workdir, tmp_path):
    with pytest.raises(ship.ShipError, match="expected a model that reads images as they are"):
        ship.segmenter(workdir, tmp_path)


def test_the_weights_that_ship_are_small_and_draw_masks_of_an_images_own_size():
    files = compact.shipped()
    rows = json.loads((ROOT / "docs/results" / ship.FILE).read_text())
    assert {row["file"] for row in rows} == {path.name for path in files}
    assert sum(path.stat().st_size for path in compact.WEIGHTS.iterdir()) < 10e6
    image = np.random.default_rng(0).integers(0, 4096, (150, 130)).astype(np.uint16)
    example = reading.read(ROOT / "docs/example.png").pixels
    for path in files:
        model = inference.restore(path)
        assert model.experiment.task == path.stem
        told = {row["weights"] for row in rows if row["file"] == path.name}
        assert told == {model.fingerprint}, "measure what ships anew: python -m cxr_jax.ship"
        assert model(image, tidy=True).shape == image.shape
        assert model.shape.parts == model.parts
        assert next(model.find([example], tidy=True, batch=1)).plausible


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def said(about: object) -> bytes:
    return npz(about=np.frombuffer(json.dumps(about).encode(), np.uint8))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


FOREIGN = {
    "empty": b"",
    "cut off": b"PK\x03\x04 cut off",
    "text": b"no model",
    "an array alone": npy(np.ones(3)),
    "nothing said": npz(kernel=np.ones(3)),
    "no JSON": npz(about=np.frombuffer(b"{", np.uint8)),
    "no mapping": said(5),
    "a pickle": npz(about=np.array([{"an": "object"}], dtype=object)),  # may hold code
    "not deflated": npz(about=np.zeros(1, np.uint8)).replace(b"\x08\0", b"\x0e\0"),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_damaged_or_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "lungs.npz"
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"damaged or another kind of file: expected .*; fetch it anew"
    ) as refusal:
        inference.restore(path)
    assert "pickle" not in str(refusal.value)


UNADAPTED = config.to_json(dataclasses.replace(tiny.experiment(), adaptation=None))


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"epoch": 0, "config": {}}, "expected a model with its stage, epoch and config, found no stage;"),
        ({"stage": "transfer", "epoch": 0, "config": 5}, "is of another version of this project"),
        ({"stage": "adaptation", "epoch": 0, "config": UNADAPTED}, "holds a model of 'adaptation'"),
        ({"stage": "transfer", "epoch": 0, "config": UNADAPTED, "shape": {}}, "another version .*expected areas"),
    ],
)
def test_a_file_that_says_something_else_about_itself_is_refused(tmp_path, about, message):
    path = tmp_path / "lungs.npz"
    compact.write(path, {"a": np.ones(3, np.float32)}, about)
    with pytest.raises(CheckpointError, match=message):
        inference.restore(path)


def test_a_file_is_bounded_before_it_is_unpacked(tmp_path, monkeypatch):
    path, model = tmp_path / "lungs.npz", {"a": np.zeros(10**5, np.float32)}
    compact.write(path, model, {})
    assert path.stat().st_size < 2000
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    monkeypatch.setattr(compact, "MAX_BYTES", 10**5)
    with pytest.raises(CheckpointError, match=r"unpacks to 400\d\d\d bytes: expected a model of at most 100000"):
        compact.restore_model(path, model)
    with pytest.raises(ValueError, match=r"expected a model of at most 100000 bytes, found \d+: keep its checkpoint"):
        compact.write(tmp_path / "large.npz", model, {})
    assert not (tmp_path / "large.npz").exists()


def test_changed_bytes_never_change_a_model_or_raise_anything_else(tmp_path):
    path, model = tmp_path / "lungs.npz", {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2)}
    compact.write(path, model, {"stage": "pretraining"})
    whole, expected = path.read_bytes(), compact.restore_model(path, model)
    generator, refused = np.random.default_rng(0), 0
    for count in [1, 8] * 200:
        changed = bytearray(whole)
        start = generator.integers(len(whole) - count)
        changed[start : start + count] = generator.bytes(count)
        path.write_bytes(changed)
        try:
            assert compact.read_about(path) == {"stage": "pretraining"}
            for one, other in zip(*map(jax.tree.leaves, (compact.restore_model(path, model), expected)), strict=True):
                np.testing.assert_array_equal(one, other)
        except CheckpointError:
            refused += 1
    assert 200 < refused < 400  # what remains is in times and other things that nothing reads


def test_a_model_of_another_architecture_is_refused(tmp_path):
    path = tmp_path / "lungs.npz"
    compact.write(path, {"a": np.ones(3, np.float32)}, {})
    for like in ({"b": np.ones(3, np.float32)}, {"a": np.ones(4, np.float32)}):
        with pytest.raises(CheckpointError, match="another architecture"):
            compact.restore_model(path, like)
