import importlib
import io
import os
import pickle
import signal
import sys
import threading
import time

import pytest

from tfds_builders import isolation
from tfds_builders.isolation import Isolated, StartError, UnfinishedError

MEMORY = 2**31


def allocate(size):
    bytearray(size)


def talk():
    print("no answer", flush=True)
    os.system("echo no answer")
    return "an answer"


@pytest.mark.parametrize(
    ("deed", "seconds", "message"),
    [
        ((time.sleep, 60), 2, "reading it took more than 2 seconds"),
        ((os.abort,), 60, "its decoder crashed"),
        ((allocate, MEMORY), 60, f"reading it took more than {MEMORY} bytes of memory"),
    ],
    ids=["hang", "crash", "allocate"],
)
def test_what_hangs_crashes_or_devours_memory_is_one_bad_file(deed, seconds, message):
    with Isolated(seconds, MEMORY) as process:
        with pytest.raises(UnfinishedError, match=f"^bad.png: {message}; the file is damaged or hostile, take it away"):
            process.call("bad.png", *deed)
        assert process.call("good.png", len, "four") == 4


def test_what_is_raised_and_printed_there_comes_out_as_it_is():
    with Isolated() as process:
        number = process.call("a", os.getpid)
        with pytest.raises(ValueError, match="invalid literal"):
            process.call("a", int, "one")
        assert process.call("a", talk) == "an answer"
        assert process.call("a", os.getpid) == number != os.getpid()


def test_an_interrupt_while_the_clock_starts_stops_it_and_ends_the_process(monkeypatch):
    start = threading.Timer.start

    def interrupted(timer):
        start(timer)
        raise KeyboardInterrupt

    with Isolated() as process:
        number = process.call("a", os.getpid)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Timer, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                process.call("a", os.getpid)
        assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
        assert process.call("a", os.getpid) != number


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def odd():
    raise OddError(1, 2)


def test_errors_say_where_they_come_from_and_odd_ones_come_out_too():
    with Isolated() as process:
        with pytest.raises(ValueError, match="invalid literal") as caught:
            process.call("a", int, "one")
        assert "in the process that reads files:" in caught.value.__notes__[0]
        with pytest.raises(RuntimeError, match=r"OddError\('1 and 2'\)"):
            process.call("a", odd)
        assert process.call("a", len, "four") == 4


def test_importing_what_reads_takes_none_of_a_files_time(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text("import time\n\ntime.sleep(3)\n\n\ndef read():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    read = importlib.import_module("slow_to_import").read
    with Isolated(seconds=2) as process:
        assert process.call("a", read) == 1


def test_a_relative_path_may_come_to_mean_another_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(isolation.sys, "path", ["", *(path for path in sys.path if path), tmp_path])
    monkeypatch.chdir(tmp_path)
    with Isolated() as process:
        assert process.call("a", len, "four") == 4


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="the system has no alarms")
def test_a_question_rings_an_alarm_which_ends_a_process_that_nobody_waits_for(monkeypatch):
    rung, answers = [], io.BytesIO()
    monkeypatch.setattr(isolation, "START_SECONDS", 0.0)
    monkeypatch.setattr(isolation, "_limit", lambda memory: None)
    monkeypatch.setattr(isolation.signal, "signal", lambda *_: None)
    monkeypatch.setattr(isolation.signal, "alarm", rung.append)
    question = pickle.dumps(pickle.dumps((len, ("four",))))
    monkeypatch.setattr(isolation.sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(question))))
    isolation.serve(answers, 0, 0.5)
    assert (rung, pickle.loads(answers.getvalue())) == ([6, 0], (True, 4))


def test_a_process_that_does_not_start_is_no_bad_file(monkeypatch, capfd):
    with Isolated() as process:
        with monkeypatch.context() as patch:
            patch.setattr(isolation.sys, "path", [])
            with pytest.raises(StartError, match="does not start: expected an answer of"):
                process.call("good.png", len, "four")
        assert "Error" in capfd.readouterr().err
        assert process.call("good.png", len, "four") == 4


def test_the_answer_to_an_interrupted_call_is_not_taken_for_the_next_ones(monkeypatch):
    def interrupt(stream):
        raise KeyboardInterrupt

    with Isolated() as process:
        process.call("a", len, "")
        with monkeypatch.context() as patch:
            patch.setattr(isolation.pickle, "load", interrupt)
            with pytest.raises(KeyboardInterrupt):
                process.call("a", len, "four")
        assert process.call("b", len, "seven__") == 7
