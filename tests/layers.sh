#!/usr/bin/env bash
# The invariants of the layout, as far as a search can tell. Prints what breaks them.
set -u
cd "$(dirname "$0")/.."
broken=0

fail() {
    echo "layers: $1"
    broken=1
}

# Which of our crates a crate may use.
uses() {
    local crate=$1 allowed=$2 name
    for name in $(sed -n '/^\[dependencies\]/,/^\[/p' "crates/$crate/Cargo.toml" |
        grep -oE '^twinlake-[a-z]+' | sed 's/twinlake-//'); do
        case " $allowed " in
        *" $name "*) ;;
        *) fail "crates/$crate may not depend on $name" ;;
        esac
    done
}
uses core ""
uses engine "core"
uses aws "core engine"
uses sim "core engine"
uses lambda "core engine aws"
uses cli "core engine aws sim"

# The core is pure.
grep -qE '^(aws|tokio|futures|hyper|rand)' crates/core/Cargo.toml &&
    fail "crates/core depends on I/O, async, AWS or randomness"
grep -rnE '\basync\b|\.await|std::(fs|net|env|io|process)|SystemTime|Instant::' \
    crates/core/src --include='*.rs' | grep -vE ':[0-9]+:\s*//' &&
    fail "crates/core does I/O, waits, or asks for the time"

# The auditor is a second opinion, and the only one that approves.
grep -rnE 'crate::plan::(plan|database|table|grants)\b|crate::translate|\bLocationMap\b' \
    crates/core/src/audit.rs crates/core/src/audit | grep -vE ':[0-9]+:\s*//' && fail "audit shares code with plan"
grep -rnE 'ApprovedPlan \{' crates --include='*.rs' |
    grep -vE 'crates/core/src/audit.rs|impl ApprovedPlan|struct ApprovedPlan' &&
    fail "only audit makes an ApprovedPlan"

# AWS's error codes are read in one file.
grep -rnE '"[A-Za-z]+(Exception|Fault)"' crates/aws/src crates/engine/src crates/lambda/src \
    crates/core/src crates/cli/src --include='*.rs' |
    grep -vE 'crates/aws/src/fault.rs|crates/cli/src/scenario' &&
    fail "an AWS error code outside crates/aws/src/fault.rs"

# The environment is read in one file.
grep -rnE 'env::vars?\(' crates --include='*.rs' | grep -v 'crates/lambda/src/config.rs' &&
    fail "the environment is read outside crates/lambda/src/config.rs"

# Bins stay small and files readable.
for file in crates/lambda/src/bin/*.rs; do
    [ "$(wc -l <"$file")" -le 60 ] || fail "$file has more than 60 lines"
done
while read -r file; do
    lines=$(awk '/#\[cfg\(test\)\]/ { exit } { n++ } END { print n }' "$file")
    [ "$lines" -le 410 ] || fail "$file has $lines lines before its tests"
done < <(git ls-files 'crates/*.rs')

# Listeners are on 127.0.0.1.
grep -rnE '0\.0\.0\.0|UNSPECIFIED' crates tests --include='*.rs' --include='*.py' &&
    fail "a listener that is not on 127.0.0.1"

# A lint is only excused with a reason.
grep -rnE '#!?\[(allow|expect)\(' crates --include='*.rs' -A4 | grep -E '\)\]' |
    grep -vE 'reason' | grep -E '(allow|expect)\(clippy' && fail "a lint excused without a reason"

exit $broken
