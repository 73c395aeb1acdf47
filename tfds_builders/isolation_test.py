import os
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
        ((time.sleep, 60), 0.5, "reading it took more than 0.5 seconds"),
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
