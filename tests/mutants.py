"""Mutation test of the converters between the AWS SDK's types and the core's.

Disables the mapping of one field at a time and requires that a unit test of the converters fails.
A copy of the workspace gets a switch around each mapping and is built once; then the tests run
once for each switch. Prints the mappings whose loss no test notices, and exits with 1 if there
are any.

    python3 tests/mutants.py        (make mutants)
"""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
COPY = ROOT / "target/mutants/source"
FILES = ["glue_convert.rs", "glue_convert/column_statistics.rs", "glue_convert/function.rs",
         "glue_convert/partition_index.rs", "glue_convert/view.rs", "query_tools/convert.rs",
         "query_tools/convert/configuration.rs", "glue_tools/convert/classifier.rs", "glue_tools/convert/connection.rs",
         "glue_tools/convert/security_configuration.rs",
         "glue_tools/convert/crawler.rs", "glue_tools/convert/job.rs", "glue_tools/convert/trigger.rs",
         "glue_tools/convert/workflow.rs"]
# Fields that a builder requires, and methods that are not fields.
EXCLUDED = {"name", "column", "column_name", "column_type", "index_name", "type", "r#type",
            "function_name", "build", "builder", "object", "unsupported_fields", "transpose",
            "collect", "analyzed_time", "targets"}
# Setters of fields that are not optional: their names have no `set_` prefix.
PLAIN_SETTERS = {"retention", "compressed", "stored_as_sub_directories", "sort_order", "scale",
                 "view_version_id", "minimum_value", "maximum_value", "maximum_length",
                 "average_length", "enforce_work_group_configuration",
                 "publish_cloud_watch_metrics_enabled", "requester_pays_enabled", "enabled",
                 "enable_identity_center", "enable_s3_access_grants", "create_user_level_prefix",
                 "enable_minimum_encryption_configuration", "additional_configuration",
                 "custom_patterns", "disable_value_trimming", "allow_single_column",
                 "custom_datatype_configured", "use_lake_formation_credentials", "account_id"}
DISABLED_VARIABLE = "DISABLED_MUTANT"
SWITCH = f"""
/// Whether the mapping of this number is disabled.
pub(crate) fn is_disabled(number: u32) -> bool {{
    std::env::var("{DISABLED_VARIABLE}").is_ok_and(|disabled| disabled == number.to_string())
}}
"""


def closing_bracket(text, start):
    """Returns the index of the bracket that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(text[index], 0)
        if depth == 0:
            return index
    raise ValueError("a bracket is not closed")


def end_of_field(text, index):
    """Returns the index of the comma that ends a field of a struct expression."""
    while text[index] != ",":
        index = closing_bracket(text, index) + 1 if text[index] in "({[" else index + 1
    return index


def end_of_entry(text, index):
    """Returns the index after the value of an entry of a JSON object, which may be the last one."""
    while text[index] not in ",})":
        index = closing_bracket(text, index) + 1 if text[index] in "({[" else index + 1
    return index


def with_switches(text, mutants, file):
    """Returns the code with a switch around each mapping; appends their names to `mutants`."""
    mappings = []
    for match in re.finditer(r"(?:\n +| updates)\.(set_)?((?:r#)?\w+)\(", text):
        name = match.group(2)
        is_setter = match.group(1) or "number_of" in name or name in PLAIN_SETTERS
        if name in EXCLUDED or not is_setter:
            continue
        start = match.end()
        mappings.append((start, closing_bracket(text, start - 1), f"writes {name}"))
    for match in re.finditer(r"\n +(\w+): (?=(?:from|d|one|uri|skewed|serde|target|order|column"
                             r"|principal|representations|statistics"
                             r"|sort_columns|uris|permissions|defaults"
                             r"|text\(|texts\(|part\(|new\b|Some\(new))", text):
        if match.group(1) not in EXCLUDED | {"from", "version"}:
            start = match.end()
            mappings.append((start, end_of_field(text, start), f"reads {match.group(1)}"))
    json_start = len(mappings)
    for match in re.finditer(r'"(\w+)":\s*(?!\{)', text):
        start = match.end()
        mappings.append((start, end_of_entry(text, start), f"reads {match.group(1)}"))
    json_mappings = set(mappings[json_start:])
    # From the end of the file to its start, so that earlier indexes stay valid. A nested mapping
    # comes before the one around it, whose end then shifts.
    for start, end, description in sorted(mappings, reverse=True):
        number = len(mutants)
        mutants.append(f"{file}: {description}")
        shift = sum(len(new) - len(old)
                    for done_start, _, old, new in with_switches.done if start <= done_start < end)
        old = text[start:end + shift]
        disabled, kept = "Default::default()", old.rstrip().removesuffix(",")
        if (start, end, description) in json_mappings:
            disabled, kept = "serde_json::Value::Null", f"serde_json::json!({kept})"
        new = (f"if crate::glue_convert::is_disabled({number}) {{ {disabled} }} "
               f"else {{ {kept} }}")
        with_switches.done.append((start, end, old, new))
        text = text[:start] + new + text[end + shift:]
    return text


def write_copy(contents):
    """Makes the copy hold these files alone. A file that is as before keeps its time, so that it is not built again."""
    for path in [path for path in COPY.rglob("*") if path.is_file()]:
        if str(path.relative_to(COPY)) not in contents:
            path.unlink()
    for name, content in contents.items():
        path = COPY / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def main():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True,
                            text=True).stdout.split("\n")
    contents = {name: (ROOT / name).read_bytes() for name in filter(None, listed)}
    mutants = []
    for file in FILES:
        name = f"crates/aws/src/{file}"
        with_switches.done = []
        code = with_switches(contents[name].decode(), mutants, file)
        if file == "glue_convert.rs":
            code = code.replace("#[cfg(test)]\nmod tests;", SWITCH + "\n#[cfg(test)]\nmod tests;")
        contents[name] = code.encode()
    write_copy(contents)
    # Cargo takes the crates of the copy for those of the workspace: in one directory, either would be tested as the other.
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target/mutants/build")}
    built = subprocess.run(
        ["cargo", "test", "--locked", "--package", "twinlake-aws", "--lib", "--no-run"], cwd=COPY,
        env=environment, capture_output=True, text=True)
    if built.returncode != 0:
        sys.exit(built.stderr[-6000:])
    binary = COPY / re.search(r"\((\S*/twinlake_aws-[0-9a-f]+)\)", built.stderr).group(1)

    def tests_pass(disabled):
        done = subprocess.run([str(binary), "convert::"], capture_output=True, text=True,
                              env={**environment, DISABLED_VARIABLE: disabled})
        return done.returncode == 0

    if not tests_pass("none"):
        sys.exit("the tests fail although no mapping is disabled")
    survivors = [name for number, name in enumerate(mutants) if tests_pass(str(number))]
    print(f"{len(mutants)} mutants, {len(survivors)} survived")
    print("\n".join(survivors))
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
