"""What all tests share: two threads unless OMP_NUM_THREADS says otherwise, and the folder with the real data sets where there is one."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))

# nohup, and a shell's background, hand down that signals are to be ignored, which tests of signals must not inherit
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def course_data():
    """The data root that COURSE_DATA names; tests that ask for it are skipped where it is not set."""
    chosen = os.environ.get("COURSE_DATA")
    if not chosen:
        pytest.skip("COURSE_DATA is not set: this test reads real data sets, see data/README.md")
    return Path(chosen).expanduser().resolve()


@pytest.fixture(scope="module")
def chrome():
    """Chromium, for the tests of a file."""
    import browser  # needs playwright

    with browser.chromium() as started:
        yield started


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder of its own for records and weights, in which there are none yet."""
    (tmp_path / "data").mkdir()
    shutil.copy(Path(__file__).resolve().parents[1] / "data" / "SHA256SUMS", tmp_path / "data")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    return tmp_path
