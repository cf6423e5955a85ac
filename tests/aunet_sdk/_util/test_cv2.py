"""The level of OpenCV's log, which belongs to the whole process."""

from __future__ import annotations

import threading
import time

import cv2
import pytest

from aunet_sdk._util.cv2 import quiet_cv2

LOG = cv2.utils.logging


@pytest.fixture(autouse=True)
def warnings_on() -> object:
    before = LOG.getLogLevel()
    LOG.setLogLevel(LOG.LOG_LEVEL_WARNING)
    yield
    LOG.setLogLevel(before)


def test_blocks_of_several_threads_leave_the_level_of_before() -> None:
    """A block that was entered inside another's took "silent" for the level of before, and OpenCV stayed silent."""
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with quiet_cv2():
            first_in.set()
            second_in.wait(5)
        first_out.set()

    def second() -> None:
        first_in.wait(5)
        with quiet_cv2():
            second_in.set()
            first_out.wait(5)
            assert LOG.getLogLevel() == LOG.LOG_LEVEL_SILENT

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert LOG.getLogLevel() == LOG.LOG_LEVEL_WARNING


def test_many_threads_at_once() -> None:
    def work(seed: int) -> None:
        for i in range(200):
            with quiet_cv2():
                assert LOG.getLogLevel() == LOG.LOG_LEVEL_SILENT
                if (i + seed) % 37 == 0:
                    time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert LOG.getLogLevel() == LOG.LOG_LEVEL_WARNING


def test_errors_and_nested_blocks_give_the_level_back() -> None:
    with pytest.raises(ValueError, match="torn"), quiet_cv2(), quiet_cv2():
        raise ValueError("torn")
    assert LOG.getLogLevel() == LOG.LOG_LEVEL_WARNING
    with quiet_cv2():
        LOG.setLogLevel(LOG.LOG_LEVEL_ERROR)  # somebody else's wish
    assert LOG.getLogLevel() == LOG.LOG_LEVEL_ERROR
