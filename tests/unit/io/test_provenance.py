"""Provenance: everything that is needed to make a result again, as text."""

import re

from hepatojax.io.provenance import provenance, sha256, source_revision


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
    assert re.fullmatch(r"([0-9a-f]{40}(\+changes)?)?", source_revision())
