"""Provenance: everything that is needed to make a result again, as text."""

import re
import subprocess

import pytest

from hepatojax.io.provenance import provenance, same_revision, sha256, source_revision


def test_provenance_names_scenario_parameters_versions_and_purpose():
    record = provenance(scenario_text="[run]\n", parameters_hash="abc", device="cpu: x", precision="float32")
    assert record["scenario"] == "[run]\n" and record["scenario_sha256"] == sha256("[run]\n")
    assert record["parameters_sha256"] == "abc" and record["precision"] == "float32"
    assert "not a medical device" in record["disclaimer"]
    assert record["version_jax"] != "not installed"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["created_utc"])
    assert all(isinstance(text, str) for text in record.values())


def test_hash_is_that_of_the_standard():
    assert sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_source_revision_is_a_commit_or_empty():
    assert re.fullmatch(r"([0-9a-f]{40}(\+changes\.[0-9a-f]{12}|\+unknown)?)?", source_revision())


@pytest.fixture
def tree(tmp_path):
    """A source tree of one commit, with letters that are not UTF-8."""
    (tmp_path / "code.py").write_bytes(b"a = 1  # \xe4\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    return tmp_path


def test_a_changed_tree_is_told_from_its_commit_and_from_another_change(tree):
    clean = source_revision(tree)
    assert re.fullmatch("[0-9a-f]{40}", clean)
    (tree / "notes.txt").write_text("git does not track this")
    assert source_revision(tree) == clean
    changed = []
    for number in (b"2", b"3", b"2"):
        (tree / "code.py").write_bytes(b"a = " + number + b"  # \xe4\n")
        changed.append(source_revision(tree))
    assert all(re.fullmatch(clean + r"\+changes\.[0-9a-f]{12}", revision) for revision in changed)
    assert changed[0] == changed[2] != changed[1]
    assert not same_revision(clean, changed[0]) and not same_revision(changed[0], changed[1])


def test_changes_that_git_cannot_tell_are_not_taken_for_none(tree):
    clean = source_revision(tree)
    (tree / ".git" / "index").write_bytes(b"damaged")
    unknown = source_revision(tree)
    assert unknown == f"{clean}+unknown"
    assert same_revision(unknown, clean) and same_revision(f"{clean}+changes.abc", unknown)
    assert not same_revision(unknown, f"{40 * '0'}+unknown") and same_revision("", clean)
