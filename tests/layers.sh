#!/usr/bin/env bash
# Checks the invariants of the source layout that a search can find. Prints each violation; exits
# with 1 if there is one. tests/layout.py checks those that need parsing.
set -u
cd "$(dirname "$0")/.."
failed=0

fail() {
    echo "layers: $1"
    failed=1
}

# Fails if a crate depends on another crate of the workspace than the listed ones.
allow_dependencies() {
    local crate=$1 allowed=$2 name
    for name in $(sed -n '/^\[dependencies\]/,/^\[/p' "crates/$crate/Cargo.toml" |
        grep -oE '^twinlake-[a-z]+' | sed 's/twinlake-//'); do
        case " $allowed " in
        *" $name "*) ;;
        *) fail "crates/$crate may not depend on $name" ;;
        esac
    done
}
allow_dependencies core ""
allow_dependencies iceberg ""
allow_dependencies engine "core iceberg"
allow_dependencies aws "core engine iceberg"
allow_dependencies sim "core engine"
allow_dependencies lambda "core engine aws"
allow_dependencies cli "core engine aws iceberg sim"

# These crates are pure: no I/O, no async code, no clock, no randomness, no AWS crate. The traits Read
# and Write of std::io are those of compressors in memory.
for crate in core iceberg; do
    grep -qE '^(aws|tokio|futures|hyper|rand)' "crates/$crate/Cargo.toml" &&
        fail "crates/$crate depends on I/O, async, AWS or randomness"
    grep -rnE '\basync\b|\.await|std::(fs|net|env|io|process)|SystemTime|Instant::' \
        "crates/$crate/src" --include='*.rs' |
        grep -vE ':[0-9]+:\s*//|crates/iceberg/src/compression.rs:[0-9]+:use std::io::\{Read, Write as _\};' &&
        fail "crates/$crate does I/O, has async code, or reads the clock"
done

# The audit is independent of the plan: it shares only the types Inputs and Plan with it. Only the
# audit makes an ApprovedPlan.
grep -rnE 'crate::plan::|crate::desired|\bLocationMap\b' crates/core/src/audit.rs crates/core/src/audit |
    grep -vE ':[0-9]+:\s*//|crate::plan::(\{Inputs, Plan\}|Inputs|Plan);' && fail "audit shares code with plan"
grep -rnE 'ApprovedPlan \{' crates --include='*.rs' |
    grep -vE 'crates/core/src/audit.rs|impl ApprovedPlan|struct ApprovedPlan' &&
    fail "an ApprovedPlan is made outside the audit"
# So is the audit of the query tools: it shares the types of the inputs and of the plan with the planner.
grep -rnE 'mapping|sql_text|map_to_standby|rewrite_locations|plan_query|schema_statements' crates/core/src/query/audit.rs \
    crates/core/src/query/audit --include='*.rs' |
    grep -vE ':[0-9]+:\s*//|/tests.rs:' && fail "the audit of the query tools shares code with their plan"
grep -rnE 'ApprovedQueryPlan \{' crates --include='*.rs' |
    grep -vE 'crates/core/src/query/audit.rs|impl ApprovedQueryPlan|struct ApprovedQueryPlan' &&
    fail "an ApprovedQueryPlan is made outside the audit"
grep -rnE 'ApprovedStatement \{' crates --include='*.rs' |
    grep -vE 'crates/core/src/query/audit/statement.rs' && fail "an ApprovedStatement is made outside the audit"

# Only one file reads AWS's error codes. The scenario scripts name them, to inject errors.
grep -rnE '"[A-Za-z]+(Exception|Fault)"' crates/aws/src crates/engine/src crates/lambda/src \
    crates/core/src crates/cli/src --include='*.rs' |
    grep -vE 'crates/aws/src/call_error.rs|crates/cli/src/commands/scenario' &&
    fail "an AWS error code outside crates/aws/src/call_error.rs"

# Only one file reads the environment.
grep -rnE 'env::vars?\(' crates --include='*.rs' | grep -v 'crates/lambda/src/config.rs' &&
    fail "the environment is read outside crates/lambda/src/config.rs"

# The binaries of the functions stay small.
for file in crates/lambda/src/bin/*.rs; do
    [ "$(wc -l <"$file")" -le 60 ] || fail "$file has more than 60 lines"
done

# Listeners bind to 127.0.0.1 only.
grep -rnE '0\.0\.0\.0|UNSPECIFIED' crates tests --include='*.rs' --include='*.py' &&
    fail "a listener is not on 127.0.0.1"

# A lint is suppressed only with a reason.
grep -rnE '#!?\[(allow|expect)\(' crates --include='*.rs' -A4 | grep -E '\)\]' |
    grep -vE 'reason' | grep -E '(allow|expect)\(clippy' && fail "a lint is suppressed without a reason"

# `cargo build` and `cargo test` compile the dependencies with the same features, so once: the AWS SDKs take minutes.
features() {
    cargo tree --workspace --locked --edges "$1" --prefix none --format '{p} [{f}]' |
        sed -E 's/ \((\*|proc-macro|\/[^)]*)\)//g' | sort -u
}
doubled=$(comm -13 <(features normal,build) <(features normal,build,dev) | cut -d' ' -f1 | sort |
    comm -12 - <(features normal,build | cut -d' ' -f1 | sort -u))
[ -z "$doubled" ] ||
    fail "dev-dependencies enable features of $(echo $doubled); make these normal dependencies of tests/Cargo.toml"

exit $failed
