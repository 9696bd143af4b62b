"""Loses each mapped field of the converters, one at a time, and demands that a test fails.

A copy of the workspace is changed so that every mapping has a switch, and built once; then the
tests of the converters run with one switch thrown after the other.

    python tests/mutants.py        (make mutants)
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
COPY = ROOT / "target/mutants/source"
FILES = ["convert.rs", "convert/function.rs", "convert/part.rs", "convert/view.rs"]
# What a builder cannot do without, or what is no field.
NEEDED = {"name", "column", "column_name", "column_type", "index_name", "type", "r#type",
          "function_name", "build", "builder", "object", "extra", "transpose", "collect",
          "analyzed_time"}
SWITCH = """
/// Whether the switch of this number is thrown.
pub(crate) fn thrown(number: u32) -> bool {
    std::env::var("THROWN").is_ok_and(|thrown| thrown == number.to_string())
}
"""


def end_of(text, at):
    """Where the bracket that opens at a place closes."""
    depth = 0
    for place in range(at, len(text)):
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError("a bracket that never closes")


def field_end(text, at):
    """The comma that ends a field of a struct."""
    while text[at] != ",":
        at = end_of(text, at) + 1 if text[at] in "({[" else at + 1
    return at


def switched(text, mutants, file):
    """The code with a switch at every mapping."""
    found = []
    for match in re.finditer(r"\n +\.(set_)?((?:r#)?\w+)\(", text):
        name = match.group(2)
        if name in NEEDED or (not match.group(1) and "number_of" not in name and name not in {
                "retention", "compressed", "stored_as_sub_directories", "sort_order", "scale",
                "view_version_id", "minimum_value", "maximum_value", "maximum_length",
                "average_length"}):
            continue
        start = match.end()
        found.append((start, end_of(text, start - 1), f"sends {name}"))
    for match in re.finditer(r"\n +(\w+): (?=(?:from|d|one|uri|skewed|serde|target|order|column"
                             r"|map\(|time\(|principal|columns\(|representations|statistics"
                             r"|sort_columns|uris|permissions|defaults))", text):
        if match.group(1) not in NEEDED | {"from", "version"}:
            start = match.end()
            found.append((start, field_end(text, start), f"reads {match.group(1)}"))
    # From the end on, so that places stay; an inner mapping before the one around it.
    for start, end, what in sorted(found, reverse=True):
        number = len(mutants)
        mutants.append(f"{file}: {what}")
        shift = sum(len(new) - len(old) for s, e, old, new in switched.done if start <= s < end)
        inner = text[start:end + shift]
        new = (f"if crate::convert::thrown({number}) {{ Default::default() }} "
               f"else {{ {inner.rstrip().removesuffix(',')} }}")
        switched.done.append((start, end, inner, new))
        text = text[:start] + new + text[end + shift:]
    return text


def main():
    shutil.rmtree(COPY, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True,
                            text=True).stdout.split("\n")
    for name in filter(None, listed):
        (COPY / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, COPY / name)
    mutants = []
    for file in FILES:
        path = COPY / "crates/aws/src" / file
        switched.done = []
        code = switched(path.read_text(), mutants, file)
        if file == "convert.rs":
            code = code.replace("#[cfg(test)]\nmod tests;", SWITCH + "\n#[cfg(test)]\nmod tests;")
        path.write_text(code)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target/mutants/build")}
    built = subprocess.run(
        ["cargo", "test", "--locked", "-p", "twinlake-aws", "--lib", "--no-run"], cwd=COPY,
        env=environment, capture_output=True, text=True)
    if built.returncode != 0:
        sys.exit(built.stderr[-6000:])
    binary = COPY / re.search(r"\((.+)\)", built.stderr.strip().split("\n")[-1]).group(1)

    def passes(thrown):
        done = subprocess.run([str(binary), "convert::"], env={**environment, "THROWN": thrown},
                              capture_output=True, text=True)
        return done.returncode == 0

    if not passes("none"):
        sys.exit("the tests fail with no switch thrown")
    survivors = [what for number, what in enumerate(mutants) if passes(str(number))]
    print(f"{len(mutants)} mappings lost one at a time, {len(survivors)} unnoticed")
    print("\n".join(survivors))
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
