"""Tests the JSON of `make bench` and the comparison of two files."""

import json
import subprocess
import sys

import bench_results
import pytest
from bench_results import Results


def write(path, *rows):
    results = Results()
    for row, measures in rows:
        results.add(row, **measures)
    results.write(path)
    return str(path)


def run(*arguments):
    command = [sys.executable, bench_results.__file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def before(tmp_path):
    return write(tmp_path / "a.json", ("first sync", {"calls": 300, "seconds": 4.0, "varying_calls": 10}))


def test_equal_files_have_the_ratio_one(before):
    result = run(before, before)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("x1.00") == 3


def test_a_call_count_that_rose_by_one_fails(before, tmp_path):
    after = write(tmp_path / "b.json", ("first sync", {"calls": 301, "seconds": 2.0, "varying_calls": 10}))
    result = run(before, after)
    assert result.returncode == 1
    assert "first sync: calls rose from 300 to 301" in result.stdout
    assert "x0.50" in result.stdout


def test_times_and_varying_counts_may_rise(before, tmp_path):
    after = write(tmp_path / "b.json", ("first sync", {"calls": 200, "seconds": 40.0, "varying_calls": 90}))
    result = run(before, after)
    assert result.returncode == 0, result.stdout
    assert "x10.00" in result.stdout and "x0.67" in result.stdout and "x9.00" in result.stdout


def test_a_missing_row_or_measure_fails_and_a_new_one_does_not(before, tmp_path):
    other = write(tmp_path / "b.json", ("first sync", {"calls": 300, "seconds": 4.0}), ("new", {"calls": 1}))
    result = run(before, other)
    assert result.returncode == 1
    assert "first sync: varying_calls is missing in B" in result.stdout
    assert "new: calls is new" in result.stdout
    assert run(write(tmp_path / "c.json"), before).returncode == 0


def test_a_count_above_zero_is_no_division_by_zero(tmp_path):
    none = write(tmp_path / "a.json", ("unchanged", {"writes": 0}))
    one = write(tmp_path / "b.json", ("unchanged", {"writes": 1}))
    result = run(none, one)
    assert result.returncode == 1 and "from 0" in result.stdout, result.stderr


@pytest.mark.parametrize("content", [
    "no JSON", "[]", json.dumps({"rows": {}}), json.dumps({"format": 2, "rows": {}}),
    json.dumps({"format": 1}), json.dumps({"format": 1, "rows": {"first sync": {"calls": "many"}}}),
])
def test_an_unreadable_file_is_named(before, tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    for arguments in ((before, str(path)), (str(path), before)):
        result = run(*arguments)
        assert result.returncode == 2
        assert str(path) in result.stderr and "Traceback" not in result.stderr
    assert run(before, str(tmp_path / "missing.json")).returncode == 2
    assert run(before).returncode == 2


def test_a_measure_is_recorded_once():
    results = Results()
    results.add("first sync", calls=1)
    results.add("first sync", writes=1)
    with pytest.raises(AssertionError):
        results.add("first sync", calls=2)
    assert results.rows == {"first sync": {"calls": 1, "writes": 1}}


def test_a_missed_bar_is_kept_and_named(tmp_path, capsys):
    results = Results()
    results.judge("300 calls", True, "at most 330")
    results.judge("14 round trips", False, "at most 12")
    assert results.missed() == ["14 round trips (bar: at most 12)"]
    results.write(tmp_path / "a.json")
    assert [bar["met"] for bar in json.loads((tmp_path / "a.json").read_text())["bars"]] == [True, False]
    assert "MISSED 14 round trips" in capsys.readouterr().out
