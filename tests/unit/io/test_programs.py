"""A folder of programs gives back what it was given, to the code, versions and processor that made it alone."""

import os
import warnings
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from hepatojax.io import programs
from hepatojax.io.programs import KEPT, ProgramFolder

PROGRAM = bytes(range(256)) * 40
folder_of = partial(ProgramFolder, compiling=nullcontext)


def test_what_is_kept_comes_back_bit_for_bit(tmp_path):
    folder = tmp_path / "made" / "when needed"
    assert folder_of(folder).load("key") is None and not folder.exists()
    folder_of(folder).save("key", PROGRAM)
    folder_of(folder).save("another", b"")
    assert folder_of(folder).load("key") == PROGRAM
    assert folder_of(folder).load("another") == b""
    assert folder_of(folder).load("ke") is None


@pytest.mark.parametrize("what", ["_code", "_versions", "_processor"])
def test_other_code_versions_and_processors_find_nothing(tmp_path, monkeypatch, what):
    folder_of(tmp_path).save("key", PROGRAM)
    said = getattr(programs, what)()
    monkeypatch.setattr(programs, what, lambda: ("0.0.0", *said[1:]) if isinstance(said, tuple) else f"{said} other")
    assert folder_of(tmp_path).load("key") is None


def test_other_flags_of_the_compiler_find_nothing(tmp_path, monkeypatch):
    folder_of(tmp_path).save("key", PROGRAM)
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_enable_fast_math=true")
    assert folder_of(tmp_path).load("key") is None


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:40] + b"?" + data[41:], lambda _: b""])
def test_a_damaged_program_is_removed_and_never_given(tmp_path, damage):
    kept = folder_of(tmp_path)
    kept.save("key", PROGRAM)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged and was removed"):
        assert kept.load("key") is None
    assert not path.exists()


def test_a_program_under_the_name_of_another_is_not_given(tmp_path):
    kept = folder_of(tmp_path)
    kept.save("key", PROGRAM)
    (path,) = tmp_path.iterdir()
    kept.save("another", PROGRAM[1:])
    (other,) = set(tmp_path.iterdir()) - {path}
    other.write_bytes(path.read_bytes())
    with pytest.warns(UserWarning, match="is damaged and was removed"):
        assert kept.load("another") is None
    assert kept.load("key") == PROGRAM


def test_what_was_compiled_while_the_sources_changed_is_not_kept(tmp_path, monkeypatch):
    kept = folder_of(tmp_path)
    monkeypatch.setattr(programs, "_code", lambda: "changed")
    with pytest.warns(UserWarning, match="has changed meanwhile; the program is not kept"):
        kept.save("key", PROGRAM)
    assert not list(tmp_path.iterdir())


def test_the_code_is_that_of_which_programs_are_made(tmp_path, monkeypatch):
    for folder in ("numerics", "cli"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "module.py").write_text("one")
    monkeypatch.setattr("hepatojax.io.presets.resources.files", lambda _: tmp_path)
    first = programs._code()
    (tmp_path / "cli" / "module.py").write_text("other")
    (tmp_path / "numerics" / "numbers.toml").write_text("other")
    assert programs._code() == first
    (tmp_path / "numerics" / "module.py").write_text("other")
    assert programs._code() != first


def test_sources_that_cannot_be_read_any_more_cost_time_and_nothing_else(tmp_path, monkeypatch):
    kept = folder_of(tmp_path)

    def refuse():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(programs, "_code", refuse)
    with pytest.warns(UserWarning, match="No such file or directory; a later start compiles"):
        kept.save("key", PROGRAM)


def test_a_program_is_read_from_a_disk_that_cannot_be_written(tmp_path, monkeypatch):
    kept = folder_of(tmp_path)
    kept.save("key", PROGRAM)

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert kept.load("key") == PROGRAM


def test_only_files_that_lie_there_are_read(tmp_path):
    kept = folder_of(tmp_path / "programs")
    kept.save("key", PROGRAM)
    (path,) = (tmp_path / "programs").iterdir()
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert kept.load("key") is None


def test_programs_of_another_user_are_not_read(tmp_path, monkeypatch):
    kept = folder_of(tmp_path)
    kept.save("key", PROGRAM)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert kept.load("key") is None


def test_those_that_were_used_last_stay(tmp_path):
    kept = folder_of(tmp_path)
    for number in range(KEPT):
        kept.save(str(number), PROGRAM)
        for path in tmp_path.iterdir():
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10.0))
    assert kept.load("0") == PROGRAM
    kept.save("one more", PROGRAM)
    assert len(list(tmp_path.iterdir())) == KEPT
    assert [name for name in (*map(str, range(KEPT)), "one more") if kept.load(name) is None] == ["1"]


def test_a_folder_that_cannot_be_used_costs_time_and_nothing_else():
    kept = folder_of(Path("/proc/none"))
    with pytest.warns(UserWarning, match=r"^/proc/none: .*; a later start compiles its programs again$"):
        kept.save("key", PROGRAM)
    with warnings.catch_warnings(action="error"):
        assert kept.load("key") is None
