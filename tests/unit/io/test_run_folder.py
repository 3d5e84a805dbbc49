"""The run folder: one writer, a summary that is always whole, names that stay inside."""

import json
import subprocess
import sys

import numpy as np
import pytest

from hepatojax.io.run_folder import (
    RunFolderLocked,
    arm_folder,
    locked,
    locked_arms,
    remove_summary,
    write_scenario,
    write_summary,
)
from hepatojax.status import ExitCode, OutputError

LOCK_AND_WAIT = """
import sys, time
from pathlib import Path
from hepatojax.io.run_folder import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_and_a_killed_one_frees_the_folder(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", LOCK_AND_WAIT, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "locked\n"
        with pytest.raises(RunFolderLocked, match=f"process {other.pid} on "), locked(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "", ".hidden", "a..b", "x" * 65, "a\0b", "figures"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(OutputError, match="cannot name a folder: 1 to 64 of"):
        arm_folder(tmp_path / "out", name)
    assert not (tmp_path / "out").exists()


def test_the_summary_is_plain_json(tmp_path):
    folder = arm_folder(tmp_path, "standard_care")
    write_summary(
        folder, {"status": "ok", "meld": np.float64(18.5), "grid": (np.int64(7), 5), "bad": np.array([np.nan, 1.0])}
    )
    held = json.loads((folder / "summary.json").read_text())
    assert held == {"status": "ok", "meld": 18.5, "grid": [7, 5], "bad": [None, 1.0]}
    assert [path.name for path in folder.iterdir()] == ["summary.json"]


def test_the_scenario_keeps_its_letters(tmp_path):
    assert (
        write_scenario(tmp_path, 'title = "Leber, Größe"\n').read_text(encoding="utf-8") == 'title = "Leber, Größe"\n'
    )


def test_all_arms_are_owned_at_once(tmp_path):
    with locked_arms(tmp_path, ["a", "b"]) as folders:
        assert folders == {"a": tmp_path / "a", "b": tmp_path / "b"}
        with pytest.raises(RunFolderLocked) as refused, locked_arms(tmp_path, ["c", "b"]):
            pass
        assert refused.value.exit_code == ExitCode.FOLDER_LOCKED
    with locked_arms(tmp_path, ["a", "b"]):
        pass


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "b").touch()
    with pytest.raises(OutputError, match=f"{tmp_path}/b is in the way"), locked_arms(tmp_path, ["a", "b"]):
        pass


def test_a_summary_can_be_taken_back(tmp_path):
    remove_summary(tmp_path)
    write_summary(tmp_path, {"status": "ok"})
    remove_summary(tmp_path)
    assert list(tmp_path.iterdir()) == []
