"""The benchmarks' own parts: turns, rows, and that a peer has all of our weights."""

import functools
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from benchmarks import images, inference, measure, members, processes, programs, roofline, waiting
from benchmarks.segmentation_case import SegmentationCase
from benchmarks.transfer_case import TransferCase
from cxr_jax.report import benchmarks as report_benchmarks

SEGMENTATION = SegmentationCase("unet", 8, 32, 2)
TRANSFER = TransferCase("default", 8, 32, 2)


@pytest.fixture(autouse=True)
def parsed(tmp_path):
    """Parse the flags, and let rows go to a folder of the test."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])
    before = measure.RESULTS.value
    flags.FLAGS.results = str(tmp_path / "benchmarks.json")
    yield
    flags.FLAGS.results = before


def test_contestants_take_turns_after_a_warm_up():
    calls = []
    times = measure.race({name: lambda name=name: calls.append(name) for name in ("ours", "peer")})
    assert calls == ["ours", "peer"] * (1 + measure.ROUNDS.value)
    assert set(times) == {"ours", "peer"}


def test_a_row_says_how_many_times_faster_and_replaces_the_one_before(tmp_path):
    for peer in (20.0, 30.0):
        measure.report("step", {"size": 8}, {"ours": 10.0, "peer": peer}, divisor=5)
    measure.report("step", {"size": 16}, {"ours": 10.0, "peer": 5.0})
    rows = json.loads((tmp_path / "benchmarks.json").read_text())
    assert [(row["shape"]["size"], row["ours_ms"], row["peer_ms"], row["ratio"]) for row in rows] == [
        (16, 10.0, 5.0, 0.5),
        (8, 2.0, 6.0, 3.0),
    ]
    assert all(row["commit"] and row["versions"]["jax"] and row["device"] and row["command"] for row in rows)


def test_rows_with_and_without_tuned_memory_stand_side_by_side(tmp_path, monkeypatch):
    for tunables in (None, "glibc.malloc.hugetlb=1"):
        if tunables:
            monkeypatch.setenv(measure.ALLOCATOR, tunables)
        measure.report("step", {"size": 8}, {"ours": 10.0, "peer": 20.0})
    plain, tuned = sorted(json.loads((tmp_path / "benchmarks.json").read_text()), key=lambda row: len(row["device"]))
    assert tuned["device"] == f"{plain['device']}, tuned memory"
    assert tuned["command"] == f"GLIBC_TUNABLES=glibc.malloc.hugetlb=1 {plain['command']}"


def test_of_a_gpu_what_its_streams_do_counts_but_for_copies_of_the_host(monkeypatch, tmp_path):
    def line(name, *events):
        events = [SimpleNamespace(name=what, start_ns=start, duration_ns=1.0, stats=()) for what, start in events]
        return SimpleNamespace(name=name, events=events)

    stream = line("Stream #13(Compute)", ("fusion", 0.0), ("MemcpyH2D", 2.0), ("MemcpyD2D", 4.0))
    planes = [
        SimpleNamespace(name="/device:GPU:0", lines=[stream, line("XLA Modules", ("jit_step", 3.0))]),
        SimpleNamespace(name="/host:CPU", lines=[line("python", ("run", 0.0))]),
    ]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.profiler.ProfileData, "from_file", lambda path: SimpleNamespace(planes=planes))
    assert waiting.spans(tmp_path) == [[(0.0, 1.0), (4.0, 5.0)]]
    planes.pop(0)
    with pytest.raises(ValueError, match="/host:CPU: python"):
        waiting.spans(tmp_path)


@pytest.mark.parametrize(("spans", "percent"), [([(0, 4), (6, 10)], 20), ([(0, 9), (2, 3), (3, 10)], 0)])
def test_a_device_waits_where_no_program_runs_on_it(monkeypatch, spans, percent):
    monkeypatch.setattr(waiting, "spans", lambda _: [spans])
    assert waiting.waiting(None) == pytest.approx(percent)
    monkeypatch.setattr(waiting, "spans", lambda _: [spans, [(0, 10)]])  # two devices
    assert waiting.waiting(None) == pytest.approx(percent / 2)


def test_a_profile_tells_when_the_device_had_nothing_to_do(tmp_path):
    work = jax.jit(lambda x: (x @ x).sum())
    x = jnp.ones((512, 512))
    work(x).block_until_ready()
    busy = 0.0
    with jax.profiler.trace(tmp_path):
        for _ in range(2):
            start = time.perf_counter()
            work(x).block_until_ready()
            busy += time.perf_counter() - start
            time.sleep(0.5)
    (profile,) = tmp_path.rglob("*.xplane.pb")
    assert 100 * 0.5 / (0.5 + busy) < waiting.waiting(profile) < 100


def test_a_profile_without_programs_tells_what_it_has(tmp_path):
    with jax.profiler.trace(tmp_path), jax.profiler.TraceAnnotation("a part", of_the_host=1):
        time.sleep(0.01)
    (profile,) = tmp_path.rglob("*.xplane.pb")
    with pytest.raises(ValueError, match="/host:CPU"):
        waiting.waiting(profile)


def test_memory_counts_from_the_start_of_a_process():
    block = bytearray(b"1" * 2**29)
    program = "from benchmarks import processes; print(processes.peak())"
    assert 1 < float(processes.result(program)) < 128
    assert processes.peak() > len(block) / 2**20


def test_a_process_that_fails_shows_why(capfd):
    with pytest.raises(subprocess.CalledProcessError):
        processes.result("raise ValueError('the reason')")
    assert "the reason" in capfd.readouterr().err


def test_members_that_do_not_fit_are_told_and_others_measured(monkeypatch, capsys):
    monkeypatch.setattr(measure, "race", lambda calls: {name: call() for name, call in calls.items()})

    def program(case, members=1):
        def call():
            if members > 5:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
            return 10.0

        return SimpleNamespace(repeated=lambda number: call)

    monkeypatch.setattr(TransferCase, "program", program)
    flags.FLAGS.members = ["20", "5"]
    members.main([])
    assert [row["shape"]["members"] for row in json.loads(Path(flags.FLAGS.results).read_text())] == [5]
    assert "20 members: does not fit into the memory of" in capsys.readouterr().out


def test_only_a_lack_of_memory_is_passed_over():
    with pytest.raises(ValueError, match="another"), measure.told_if_too_large("a case"):
        raise ValueError("another")


def test_a_step_is_held_against_what_it_computes_and_moves(monkeypatch):
    monkeypatch.setattr(measure, "race", lambda calls: dict.fromkeys(calls, 20.0))
    side = 256
    step = programs.Program(lambda state, data: (state @ data, {}), *[jnp.ones((side, side))] * 2)
    cost = step.cost()
    assert cost.flops == 2 * side**3
    assert cost.bytes == pytest.approx(3 * 4 * side**2, rel=0.5)  # read twice, or once where both are the same
    monkeypatch.setattr(SegmentationCase, "program", lambda case: step)
    roofline.against(roofline.Chip(flops=1e12, bytes=1e9), SEGMENTATION)
    rows = {row["peer"]: row for row in json.loads(Path(flags.FLAGS.results).read_text())}
    assert rows.keys() == {"its arithmetic alone", "its memory traffic alone"}
    arithmetic = rows["its arithmetic alone"]
    assert arithmetic["ratio"] == pytest.approx(cost.flops / 1e12 / (0.02 / measure.STEPS.value))
    assert rows["its memory traffic alone"]["ratio"] == pytest.approx(cost.bytes / 1e9 / (0.02 / measure.STEPS.value))
    line = report_benchmarks.markdown(list(rows.values())).splitlines()[-1]
    assert line.split(" | ")[3:] == ["0.03", "17", "2% of 1000", "0.00", "0", f"{cost.bytes / 2e6:.0%} of 1 |"]


def test_what_the_device_does_is_measured(monkeypatch):
    monkeypatch.setitem(roofline.SIDE, "cpu", 64)
    monkeypatch.setitem(roofline.FLOATS, "cpu", 64)
    chip = roofline.measured()
    assert chip.flops > 0
    assert chip.bytes > 0


@pytest.mark.parametrize(
    "case", [SEGMENTATION, pytest.param(TRANSFER, marks=pytest.mark.slow)], ids=["segmentation", "transfer"]
)
def test_ours_runs_without_torch(case, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    case.program().repeated(1)()


@pytest.mark.parametrize("case", [SEGMENTATION, TRANSFER], ids=["segmentation", "transfer"])
def test_a_peer_computes_the_same(case):
    pytest.importorskip("torch")
    from benchmarks.peers import training

    case.check(training.EAGER)


def test_ours_and_a_peer_take_turns_in_processes_of_their_own():
    pytest.importorskip("torch")
    from benchmarks import turns

    turns.race("segmentation step", SEGMENTATION)
    (row,) = json.loads(Path(flags.FLAGS.results).read_text())
    assert (row["peer"], row["shape"]["segmenter"]) == ("PyTorch eager fp32", "unet")
    assert min(row["ours_ms"], row["peer_ms"]) > 0


def test_what_fails_in_a_contestants_process_is_told():
    program = "from benchmarks import processes; processes.serve(lambda: [].clear)"
    with processes.Contestant(program) as call:
        call()
        call()
    program = "from benchmarks import processes; processes.serve(lambda: [1].index(2))"
    with processes.Contestant(program) as call, pytest.raises(RuntimeError, match="ValueError: 2 is not in list"):
        call()
    with processes.Contestant("raise SystemExit") as call, pytest.raises(RuntimeError, match="the process ended"):
        call()


def test_masks_of_all_images_where_batches_do_not_come_out_even():
    pytest.importorskip("torch")
    from benchmarks.peers import training

    stored = images.unlabelled(TRANSFER.size)[:5]
    inference.ours(TRANSFER, True, stored)()
    inference.peer(TRANSFER, True, training.EAGER, stored)()


@pytest.mark.parametrize("case", [SEGMENTATION, TRANSFER], ids=["segmentation", "transfer"])
def test_a_compiled_peer_is_compiled_once(case, monkeypatch):
    torch = pytest.importorskip("torch")
    from benchmarks.peers import training

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    peer, mode = case.settings, training.COMPILED
    call = peer.call(mode, mode.place(peer.networks()), peer.data(case.size), 1)
    for _ in range(2):
        call()


def test_a_peer_that_compiles_anew_fails(monkeypatch):
    torch = pytest.importorskip("torch")
    from benchmarks.peers import training

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    sizes = iter((1, 1, 2))
    double = training.COMPILED.function(lambda x: 2 * x)
    call = training.COMPILED.repeated(lambda: double(torch.ones(next(sizes), 3)), 1)
    call()
    call()
    with pytest.raises(RuntimeError, match="recompile"):
        call()


def test_a_peer_must_have_all_of_our_weights():
    torch = pytest.importorskip("torch")
    from benchmarks.peers import weights

    kernel = np.arange(18, dtype=np.float32).reshape(3, 3, 1, 2)
    ours = {"kernel": kernel, "bias": np.ones(2, np.float32)}
    conv = weights.load(torch.nn.Conv2d(1, 2, 3), ours)
    np.testing.assert_array_equal(conv.weight.detach().numpy()[1, 0], kernel[:, :, 0, 1])
    with pytest.raises(ValueError, match="the peer's"):
        weights.load(torch.nn.Conv2d(1, 3, 3), ours)
    with pytest.raises(ValueError, match="of our 21 numbers"):
        weights.load(torch.nn.Conv2d(1, 2, 3), ours | {"scale": np.ones(1, np.float32)})


def test_both_read_all_images_of_a_crowd_alike(tmp_path):
    pytest.importorskip("torch")
    from benchmarks import streaming
    from benchmarks.peers import reading

    case = {"images": 12, "size": 32, "chunk": 6}
    streaming.crowd.prepare(tmp_path, 12, 32)
    ours = {image.tobytes() for chunk in streaming._ours(case, str(tmp_path)) for image in np.asarray(chunk)}
    assert ours == {image.numpy().tobytes() for image in map(reading.Files(str(tmp_path), case).__getitem__, range(12))}
    assert len(ours) == 12


def test_the_table_has_a_line_for_each_row():
    row = {
        "benchmark": "step",
        "device": "cpu",
        "shape": {"segmenter": "unet", "size": 8},
        "peer": "torch",
        "ratio": 2.0,
    }
    times, memory = {"ours_ms": 10.0, "peer_ms": 20.04}, {"ours_mib": 1.0, "peer_mib": 2.0}
    lines = report_benchmarks.markdown([row | times, row | memory]).splitlines()[2:]
    assert lines == [
        "| step | unet, size 8 | cpu | 10.0 ms | torch | 20.0 ms | 2.00 |",
        "| step | unet, size 8 | cpu | 1.0 MiB | torch | 2.0 MiB | 2.00 |",
    ]
    assert report_benchmarks.markdown([]) == report_benchmarks.NOTHING


def test_forms_of_a_convolution_share_a_table():
    shape = {"what": "forward", "form": "by_shifts", "channels": "2 to 4", "size": 8, "batch": 1}
    row = {"benchmark": "convolution", "device": "cpu", "shape": shape, "peer": "x", "ours_ms": 3.0, "ratio": 0.5}
    rows = [
        row | {"peer_ms": 2.0},
        row | {"peer": "y", "peer_ms": 1.0},
        row | {"shape": shape | {"form": "plain", "size": 16}, "peer_ms": 9.0},
    ]
    table = report_benchmarks.markdown(rows).split("\n\n")[-1].splitlines()
    assert table[0] == "| device | what | form | 2 to 4, size 16, batch 1 | 2 to 4, size 8, batch 1 |"
    assert table[2:] == ["| cpu | forward | by shifts |  | 3.0 / 1.0 |", "| cpu | forward | plain | 3.0 / 9.0 |  |"]
