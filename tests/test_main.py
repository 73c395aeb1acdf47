"""The command line: what is refused is refused at once, with a reason."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxr_jax import checkpoints
from tests import hospitals

ROOT = Path(__file__).parent.parent


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--mode=train needs --config"),
        (["--config=configs/transfer.py:tiny"], "wrong flags: ValueError: unknown preset 'tiny': expected one of"),
        (
            ["--config=configs/transfer.py", "--coordinator=here"],
            "--coordinator expects HOST:PORT or auto, found 'here'",
        ),
        (["--config=configs/none.py", "--config.seed=1"], "No such file or directory: 'configs/none.py'"),
        (["--config=configs/transfer.py", "--config.pretrainin.epochs=3"], 'Did you mean "pretraining"'),
        (["--config=configs/transfer.py", "--config.lable_frac=0.5"], "lable_frac"),
        (["--config=configs/transfer.py", "--config.label_frac=7"], r"config.label_frac must be in [0, 1], found 7.0"),
        (["--config=configs/transfer.py", "--config.label_frac=half"], "half"),
        (
            ["--config=configs/table1.py", "--config.source=radiograph_folder", "--config.source_dir=/x"],
            "it is not there",
        ),
        (["--config=configs/transfer.py", "0.5"], "unexpected arguments: 0.5"),
        (["--config=configs/transfer.py", "--mode=dream"], "train|evaluate"),
        (["--mode=predict", "--input=docs", "--output=x"], "--mode=predict does not take --workdir; it takes --ch"),
        (["--mode=export", "--output=x", "--checkpoint="], "expected work directories after --checkpoint=, found none"),
        (["--config=configs/transfer.py", "--coordinator=auto"], "found no processes to join"),
        (["--config=configs/transfer.py:phantom", "--workdir=README.md/run"], "README.md is no folder)"),
    ],
)
def test_wrong_input_is_a_usage_error(arguments, message, tmp_path):
    workdir = () if "--mode=export" in arguments else (f"--workdir={tmp_path / 'run'}",)
    result = run(*workdir, *arguments)
    assert result.returncode != 0
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_dataset_that_is_not_there_says_where_to_get_it(tmp_path):
    folders = [f"--data_dir={tmp_path / 'data'}", f"--manual_dir={tmp_path / 'manual'}"]
    result = run("--config=configs/transfer.py", f"--workdir={tmp_path / 'run'}", *folders)
    assert result.returncode != 0
    assert "'jsrt' could not be prepared" in result.stdout + result.stderr
    assert "Japanese Society of Radiological Technology" in result.stdout + result.stderr


LOOK_B = ("--config.transfer.supervised_looks.b=1.0", "--config.transfer.target_look=b")
NEGATED = ("--config.negated=('phantom/a',)", "--config.discriminator.layers=4", *LOOK_B)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), NEGATED], ids=["", "negated"])
def test_phantom_transfer_mends_what_the_other_scanner_breaks(tmp_path, tfds_dir, options):
    result = run("--config=configs/transfer.py:phantom", *options, f"--workdir={tmp_path}", f"--data_dir={tfds_dir}")
    assert result.returncode == 0, result.stderr
    test = json.loads((tmp_path / "results.json").read_text())["test"]
    jaccard = {name: scores["jaccard"]["mean"] for name, scores in test.items()}
    assert jaccard["source"] > 90
    assert jaccard["source_only"] < 70
    assert jaccard["transfer"] > jaccard["source_only"] + 15


SAVES_EACH_EPOCH = """
import runpy, time
from cxr_jax import journal, training
training.CHECKPOINT_EVERY = 0.0
write = journal.Journal.scalars
def late(*told):
    time.sleep(1.0)  # the epoch before is saved by then
    write(*told)
journal.Journal.scalars = late
runpy.run_path("main.py", run_name="__main__")
"""


def kill_after(epochs: int, stage: Path, command: list[str], environment: dict[str, str]) -> None:
    """Start a command, and kill it as soon as a stage has logged so many epochs."""
    log, deadline = stage / "scalars.jsonl", time.monotonic() + 300
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not log.exists() or log.read_text().count("\n") < epochs:
            assert process.poll() is None, f"expected a run that logs {epochs} epochs in {log}, found its end"
            assert time.monotonic() < deadline, f"expected {epochs} epochs in {log} within 300 s, found fewer"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_killed_process_continues_and_ends_as_if_it_had_not_been(tmp_path, tfds_dir):
    small = ["--config=configs/transfer.py:phantom", "--config.image_size=32", "--config.segmenter.depth=2"]
    small += ["--config.pretraining.epochs=3", "--config.transfer.warmup_epochs=3", "--config.transfer.epochs=3"]
    small += [f"--data_dir={tfds_dir}"]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    whole = run(*small, f"--workdir={tmp_path / 'whole'}", **cache)
    assert whole.returncode == 0, whole.stderr
    stages = [tmp_path / "parts" / name for name in ("pretraining", "warmup", "transfer")]
    for stage in stages:
        command = [sys.executable, "-c", SAVES_EACH_EPOCH, *small, f"--workdir={tmp_path / 'parts'}"]
        kill_after(2, stage, command, os.environ | cache)
        assert 0 < max(checkpoints.saved_epochs(stage / "checkpoints"), default=0) < 3
    parts = run(*small, f"--workdir={tmp_path / 'parts'}", **cache)
    assert parts.returncode == 0, parts.stderr
    ends = [text.partition("phantom/a -> ")[2].splitlines()[:-1] for text in (parts.stdout, whole.stdout)]
    assert ends[0] == ends[1] != []  # what the first prints of preparing its data stands in front
    for stage in stages:
        log = f"{stage.name}/scalars.jsonl"
        assert (stage / "scalars.jsonl").read_text() == (tmp_path / "whole" / log).read_text()


@pytest.mark.slow
def test_a_hospital_without_labels_gets_masks_and_later_scores(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path / "hospital", tfds_dir, patients=10)
    words = ["--config=configs/transfer.py:phantom", "--config.image_size=32", "--config.segmenter.depth=2"]
    words += ["--config.pretraining.epochs=2", "--config.transfer.warmup_epochs=1", "--config.transfer.epochs=1"]
    words += ["--config.target=radiograph_folder", f"--config.target_dir={folder}", f"--workdir={tmp_path / 'run'}"]
    words += ["--config.transfer.convergence.restarts=0", f"--data_dir={tfds_dir}"]
    result = run(*words)
    assert result.returncode == 0, result.stderr
    assert f"{folder}: 20 images, masks of nothing, 10 patients" in result.stderr
    assert "no labels; " in result.stdout
    assert (tmp_path / "run/overlays/transfer.png").exists()
    refused = run(*words, "--config.label_frac=0.5")
    assert "belongs to another config" in refused.stdout + refused.stderr
    hospitals.of_phantoms(folder, tfds_dir, masks=hospitals.LUNGS, patients=10)
    again = run(*words, "--mode=evaluate")
    assert again.returncode == 0, again.stderr
    test = json.loads((tmp_path / "run/results.json").read_text())["test"]
    assert len(test["transfer"]["jaccard"]["per_image"]) == 4
