"""The report of a run: everything in it, nothing outside of it, and a browser shows it."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from cxr_jax import journal, pictures, run_report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RESULTS = {
    "command": "python main.py --config=a.py --config.note='<script>'",
    "config": {"seed": 3, "task": "lungs"},
    "seed": 3,
    "commit": "abc",
    "device": "cpu x1",
    "versions": {"jax": "0.10"},
    "data": {"phantom/a": "0123"},
    "converged": False,
    "faults": ["cycle error 0.9"],
}


def case(name: str, jaccard: float | None, plausible: bool = True, expected: float = 90.0) -> run_report.Case:
    mask = np.zeros((1, 32, 32, 1), bool)
    mask[0, 8:24, 8:24] = True
    picture = pictures.outlined(np.full((1, 32, 32, 1), 90, np.uint8), mask, np.roll(mask, 4, axis=2))[0]
    scores = {} if jaccard is None else {"jaccard": jaccard, "dice": jaccard}
    return run_report.Case(name, picture, scores, plausible, expected)


@pytest.fixture
def report(tmp_path):
    """Return the path of a report with a stage and two models, one of them without labels."""
    log = journal.Journal(tmp_path / "warmup", 0)
    for epoch in (1, 2, 3):
        log.scalars(epoch, {"cycle": 1 / epoch, "sane": 90.0})
    log.pictures(3, {"translation": np.full((16, 16, 3), 200, np.uint8)})
    log.close()
    tests = {
        "transfer": [case("good", 95.0), case("bad", 12.0, plausible=False), case("fair", 60.0)],
        "no labels": [case("sane", None), case("unsure", None, expected=71.5), case("strange", None, plausible=False)],
        "some labels": [case("unknown", None), case("known", 50.0), case("odd", None, plausible=False)],
    }
    path = tmp_path / "report.html"
    run_report.write(path, "a & b", "a -> b", RESULTS, {"warmup": tmp_path / "warmup"}, tests)
    return path


def test_it_holds_all_that_was_given_and_refers_to_nothing_outside(report):
    page = report.read_text()
    assert set(re.findall(r'(?:src|href)="([^"#]{5})', page)) == {"data:"}
    assert "http:" not in page.replace("http://www.w3.org", "")
    for text in ("a &amp; b", "a -&gt; b", "&lt;script&gt;", "cycle error 0.9", "abc", "0123", "12.00", "71.50"):
        assert text in page
    assert "<script" not in page
    assert json.dumps(RESULTS["config"], indent=1).replace('"', "&#34;") in page


def test_images_come_from_the_worst_to_the_best_and_then_those_without_labels(report):
    names = re.findall(r'alt="(good|bad|fair|sane|unsure|strange|known|odd|unknown)"', report.read_text())
    assert names == ["bad", "fair", "good", "strange", "unsure", "sane", "known", "odd", "unknown"]


def test_of_many_images_the_worst_are_shown_and_all_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(run_report, "MOST", 2)
    path = tmp_path / "report.html"
    tests = {"transfer": [case("good", 95.0), case("bad", 12.0), case("fair", 60.0)]}
    run_report.write(path, "a", "a", RESULTS, {}, tests)
    page = path.read_text()
    assert re.findall(r'alt="(good|bad|fair)"', page) == ["bad", "fair"]
    assert re.search(r"The first 2 of\s+3 are shown", page)
    assert "<td>good</td><td>95.00</td>" in page


def test_the_same_run_has_the_same_report(report, tmp_path):
    again = tmp_path / "again.html"
    first = {"transfer": [case("good", 95.0)]}
    for path in (report, again):
        run_report.write(path, "a", "b", RESULTS, {"warmup": tmp_path / "warmup"}, first)
    assert report.read_text() == again.read_text()


def test_a_run_without_a_log_still_has_one(tmp_path):
    run_report.write(tmp_path / "report.html", "a", "b", RESULTS, {"transfer": tmp_path}, {})
    assert "No log." in (tmp_path / "report.html").read_text()


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_shows_it(report, tmp_path):
    shot = tmp_path / "shot.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
    flags += [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1200,3000",
    ]
    words = [BROWSER, *flags, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", report.as_uri()]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(shot).convert("RGB")).reshape(-1, 3)
    for colour in (pictures.TRUTH, pictures.PREDICTION, (200, 200, 200)):  # outlines, and the stage's picture
        assert (pixels == colour).all(axis=1).sum() > 100, colour
