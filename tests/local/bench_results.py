"""Measurements of `make bench` as JSON, and the comparison of two such files.

    python3 tests/local/bench_results.py A.json B.json        (make bench-compare A=... B=...)

Prints, for each row and measure, the value in A, the value in B and their ratio. The exit code is 1 if an
exact count rose or a row or measure of A is missing in B, and 2 if a file cannot be read.
"""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORMAT = 1
# Measures whose values are the same in every run of the same code: they must not rise.
EXACT = ("calls", "writes", "grant_calls")


class Results:
    """Rows of measures, by the name of the row; and bars, with what was measured and whether it meets them."""

    def __init__(self):
        self.rows, self.bars = {}, []

    def add(self, row, **measures):
        """Adds measures to a row. Times are in seconds, memory is in MB; counts that depend on the timing of a
        run are named `varying_...`."""
        known = self.rows.setdefault(row, {})
        repeated = known.keys() & measures.keys()
        assert not repeated, f"the row {row!r} has {repeated} already"
        known |= {name: round(value, 3) for name, value in measures.items()}

    def judge(self, measured, is_met, bar):
        """Prints what was measured beside the bar for it, and keeps the verdict."""
        self.bars.append({"measured": measured, "bar": bar, "met": bool(is_met)})
        print(f"  {'met   ' if is_met else 'MISSED'} {measured} (bar: {bar})", flush=True)

    def missed(self):
        """The bars that are not met, one a line."""
        return [f"{one['measured']} (bar: {one['bar']})" for one in self.bars if not one["met"]]

    def write(self, path):
        """Writes the rows and the bars with the commit that they are of."""
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                                text=True, check=False).stdout.strip()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": FORMAT, "commit": commit, "rows": self.rows, "bars": self.bars}, indent=2) + "\n")


class UnreadableFile(Exception):
    """A file is not one of `make bench`."""


def read(path):
    """Returns the commit and the rows of a file."""
    try:
        content = json.loads(pathlib.Path(path).read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnreadableFile(f"{path}: {error}. Name a file that `make bench` wrote.") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise UnreadableFile(f"{path}: format {found}, and this version reads format {FORMAT}. Run `make bench` again.")
    rows = content.get("rows")
    is_complete = isinstance(rows, dict) and all(
        isinstance(measures, dict) and all(type(value) in (int, float) for value in measures.values())
        for measures in rows.values())
    if not is_complete:
        raise UnreadableFile(f"{path}: it has no rows of numbers. Run `make bench` again.")
    return content.get("commit", "unknown"), rows


def ratio(before, after):
    """The second value divided by the first, as text."""
    if before:
        return f"x{after / before:.2f}"
    return "x1.00" if after == before else "from 0"


def compare(before, after):
    """Returns the lines of the comparison of two sets of rows, and what is worse in the second."""
    lines, worse = [], []
    for row, measures in before.items():
        for measure, value in measures.items():
            name = f"{row}: {measure}"
            found = after.get(row, {}).get(measure)
            if found is None:
                worse.append(f"{name} is missing in B")
                continue
            has_risen = measure in EXACT and found > value
            mark = "   ROSE" if has_risen else ""
            lines.append(f"  {name:<70} {value:>10g} {found:>10g}   {ratio(value, found)}{mark}")
            if has_risen:
                worse.append(f"{name} rose from {value} to {found}")
    new = [f"  {row}: {measure} is new" for row, measures in after.items() for measure in measures
           if measure not in before.get(row, {})]
    return lines + new, worse


def main(arguments):
    if len(arguments) != 2:
        print("Name two files: make bench-compare A=target/bench-before.json B=target/bench.json", file=sys.stderr)
        return 2
    try:
        (commit_a, before), (commit_b, after) = map(read, arguments)
    except UnreadableFile as error:
        print(error, file=sys.stderr)
        return 2
    lines, worse = compare(before, after)
    print(f"A is {arguments[0]} of {commit_a}, B is {arguments[1]} of {commit_b}:")
    print("\n".join(lines + worse))
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
