"""Checks invariants of the source layout that no compiler knows. Prints each violation; exit code 1 if there is one.

    python3 tests/layout.py        (make check)

- A public type name stands once in the workspace, but for the names in `SHARED_NAMES`.
- A file has at most 600 lines before its tests.
- Files of a crate import each other without a circle. A module and the modules below it count as one.
- Only `core/src/topology.rs` computes with epochs.
- A text that puts a number before a noun is right for 1: the noun comes from `render::counted`, or the text of 1 stands
  in an arm beside it.
- A loop over the pages of a listing is in `aws/src/pages.rs`, or asks `PageTokens` for the token of the next page.
- Links between the pages of README.md and docs/ lead to a file and a heading that exist.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
MAX_LINES = 600
# Type names that may stand more than once, with the reason.
SHARED_NAMES = {
    "Args": "clap's convention for the arguments of one command",
    "Error": "the error type of a module, named with its module",
}
# Modules that are being redesigned as a whole; their circles are not new.
CIRCLES_LEFT = ("crates/core/src/plan/", "crates/core/src/audit/", "crates/core/src/step",
                "crates/engine/src/observe/", "crates/engine/src/apply/", "crates/engine/src/reconcile/")
# Texts whose number is never 1, with the reason.
NEVER_ONE = {
    "{path} has {length} bytes, and a function": "more than a function reads",
    "it has {} bytes, more than the limit": "more than an event has",
    "a name has {0} characters; the maximum": "more than Glue's maximum",
    "has {count} values": "of an LF-Tag without one value",
    "{kept} versions of it are there": "MAX_KEPT_VERSIONS or more",
    "compares its {} partitions": "more than MAX_PARTITIONS_LISTED",
    "{key} has {count} entries; the maximum": "more than a request may have",
    "give 3 to {max_chars} small letters": "the longest name of a bucket",
    "more than {limit} bytes after decompression": "a limit of megabytes",
    "{} days": "the unit `days` begins at two",
    "{days} days": "one day has an arm of its own",
    "{} checks the channel": "the subject of a verb",
    "{} changes\"": "the subject of a verb",
    "{subject} changes\"": "the subject of a verb",
}
COUNTED_NOUNS = ("administrators alerts bytes calls cases changes characters checks databases days deletions differences "
                 "entries failures fields files findings grants items keys kinds letters manifests messages minutes "
                 "objects occurrences partitions permissions principals problems reads resyncs roles rows rules snapshots "
                 "steps tables tools values versions").replace(" ", "|")
# A placeholder, but for one of a constant, and the adjectives before the noun.
NUMBER_AND_NOUN = re.compile(
    r"(?<!\{)\{(?![A-Z_]+\})[^{}]*\} (?:(?:more|other|further|whole|open|data|delete|bookkeeping|Iceberg|partitioned|sampled|query"
    r"|existing) )*(?:" + COUNTED_NOUNS + r")\b(?! nothing)")
TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|b?r(?P<h>\#*)".*?"(?P=h)|b?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^\\'])'""", re.S)


def code_of(path):
    """The code of a file, without comments, strings and unit tests."""
    text = path.read_text()
    text = re.split(r"#\[cfg\(test\)\]\s*mod tests", text)[0]
    return TOKEN.sub(lambda found: " " if found.group().startswith("/") else '""', text)


def sources():
    """Every Rust file under version control."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.rs"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.split()
    return [ROOT / name for name in sorted(set(listed)) if (ROOT / name).exists()]


def name(path):
    return path.relative_to(ROOT).as_posix()


def repeated_types(files):
    """Public type names that stand in more than one place."""
    places = {}
    for path in files:
        for found in re.finditer(r"^\s*pub(?:\([a-z: ]+\))? (?:struct|enum|trait|type|union) (\w+)", code_of(path), re.M):
            places.setdefault(found.group(1), []).append(name(path))
    for type_name, where in sorted(places.items()):
        # An associated or wire type of one module is indented and not public on its own.
        if len(where) > 1 and type_name not in SHARED_NAMES:
            yield f"the public type {type_name} stands in {', '.join(where)}"


def long_files(files):
    for path in files:
        lines = re.split(r"^\s*#\[cfg\(test\)\]", path.read_text(), maxsplit=1, flags=re.M)[0].count("\n")
        if lines > MAX_LINES:
            yield f"{name(path)} has {lines} lines before its tests; {MAX_LINES} are allowed"


def module_of(path, root):
    """The path of a module in its crate, as a tuple: () for lib.rs."""
    parts = path.relative_to(root).with_suffix("").parts
    return () if parts in (("lib",), ("main",)) else parts


def uses_of(code):
    """The paths that a file names, `{...}` groups expanded."""
    def expand(text):
        depth, start, parts = 0, 0, []
        for at, char in enumerate(text):
            depth += {"{": 1, "}": -1}.get(char, 0)
            if char == "," and depth == 0:
                parts.append(text[start:at])
                start = at + 1
        parts.append(text[start:])
        for part in parts:
            part = part.strip()
            head, brace, tail = part.partition("{")
            if brace:
                for rest in expand(tail.rstrip()[:-1]):
                    yield head.strip() + rest
            elif part:
                yield re.sub(r"\s+as\s+\w+$", "", part)

    for found in re.finditer(r"\b(?:pub(?:\([a-z: ]+\))? )?use\s+([^;]+);", code):
        yield from (path.replace(" ", "").replace("\n", "") for path in expand(found.group(1)))
    body = re.sub(r"\buse\s+[^;]+;", "", code)
    yield from (found.group() for found in re.finditer(r"\b(?:crate|super|self)(?:::\w+)+", body))


def arrows(files, root):
    """Which file of a crate takes something from which other one."""
    modules = {module_of(path, root): path for path in files}
    exports = {}
    for module, path in modules.items():
        code = code_of(path)
        for found in re.finditer(r"\bpub(?:\([a-z: ]+\))? use\s+([^;]+);", code):
            for used in uses_of(f"use {found.group(1)};"):
                parts = used.split("::")
                exports.setdefault(module, {})[parts[-1]] = parts[:-1]

    def resolve(module, parts, depth=0):
        if depth > 5:
            return None
        while parts and parts[0] in ("crate", "self", "super"):
            module = {"crate": (), "self": module, "super": module[:-1]}[parts[0]]
            parts = parts[1:]
        while parts and module + (parts[0],) in modules:
            module, parts = module + (parts[0],), parts[1:]
        if parts and parts[0] in exports.get(module, {}):
            target = exports[module][parts[0]]
            if target and (target[0] in ("crate", "self", "super") or module + (target[0],) in modules):
                return resolve(module, target + parts[:1], depth + 1)
        return module

    for module, path in modules.items():
        for used in uses_of(code_of(path)):
            parts = used.split("::")
            if parts[0] not in ("crate", "self", "super") and module + (parts[0],) not in modules:
                continue
            target = resolve(module, parts)
            is_family = target is None or target[:len(module)] == module or module[:len(target)] == target
            if not is_family:
                yield path, modules[target]


def circles(edges):
    """Sets of files that reach each other (Tarjan's strongly connected components)."""
    graph = {}
    for source, target in edges:
        graph.setdefault(source, set()).add(target)
        graph.setdefault(target, set())
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            members = []
            while not members or members[-1] != node:
                members.append(stack.pop())
            if len(members) > 1:
                found.append(sorted(name(path) for path in members))

    sys.setrecursionlimit(10_000)
    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def import_circles(files):
    for root in sorted((ROOT / "crates").glob("*/src")) + [ROOT / "tests/src"]:
        inside = [path for path in files if root in path.parents and "/bin/" not in name(path)]
        for members in circles(arrows(inside, root)):
            if not all(member.startswith(CIRCLES_LEFT) for member in members):
                yield f"these files import each other in a circle: {', '.join(members)}"


def epoch_arithmetic(files):
    patterns = [r"\bEpoch\s*\(", r"\bepoch\.0\b", r"\.number\(\)\s*[-+%&]", r"\bepoch\w*\.number\(\)\s*[<>]", r"is_multiple_of\(2\)"]
    for path in files:
        if name(path) == "crates/core/src/topology.rs" or not name(path).startswith("crates/") or "/tests/" in name(path):
            continue
        for pattern in patterns:
            if re.search(pattern, code_of(path)):
                yield f"{name(path)} computes with epochs ({pattern}); only core/src/topology.rs does"


PAGE = re.compile(r"\b(?:set_(?:next_token|marker|key_marker|continuation_token|exclusive_start_key)|next_token|next_marker"
                  r"|next_key_marker|next_continuation_token|last_evaluated_key|partitions_page|versions_page)\b")


def blocks_of_loops(code):
    """The loops of a file, each with its head and its block."""
    for found in re.finditer(r"\b(?:loop|while\b[^;{}]*|for\b[^;{}]* in\b[^;{}]*)\s*\{", code):
        at, depth = found.end(), 1
        while depth and at < len(code):
            depth += {"{": 1, "}": -1}.get(code[at], 0)
            at += 1
        yield found.start(), code[found.start():at]


def endless_listings(files):
    """Loops over pages that nothing ends if a service repeats a page token."""
    for path in files:
        if not re.match(r"crates/(?:aws|engine|lambda|cli)/src/", name(path)) or name(path) == "crates/aws/src/pages.rs":
            continue
        code = code_of(path)
        if "into_paginator" in code:
            yield f"{name(path)} reads pages by a paginator of the SDK; all_pages of crates/aws/src/pages.rs does"
        for start, block in blocks_of_loops(code):
            outside = re.sub(r"\ball_pages\s*\(.*", "", block, flags=re.S)
            if PAGE.search(outside) and not re.search(r"\b(?:tokens|markers)\.next\(", block):
                line = code[:start].count("\n") + 1
                yield f"{name(path)}: loop {line} reads pages without PageTokens: {block.split(chr(10))[0].strip()}"


def numbers_before_nouns(files):
    for path in files:
        if not re.match(r"crates/\w+/src/", name(path)) or path.name == "tests.rs":
            continue
        text = re.split(r"#\[cfg\(test\)\]\s*mod tests", path.read_text())[0]
        for found in TOKEN.finditer(text):
            literal = re.sub(r"\\\n\s*", "", found.group())
            if not literal.startswith('"') or not NUMBER_AND_NOUN.search(literal):
                continue
            before = text[:found.start()]
            has_arm_of_one = re.search(r"^\s*\(?1[ ,]", "\n".join(before.split("\n")[-8:]), re.M)
            if not has_arm_of_one and not any(known in literal for known in NEVER_ONE):
                yield f"{name(path)}:{before.count(chr(10)) + 1} puts a number before a plural: {literal}"


def anchor(heading):
    """The anchor that a Markdown heading gets."""
    text = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", lambda found: found.group(1) or ("_" if found.group() == "_" else ""), heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def broken_links():
    pages = [ROOT / "README.md", *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
    anchors = {}
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        found = {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}
        anchors[page.resolve()] = found | set(re.findall(r'<a id="([^"]+)"', text))
    for page in pages:
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, part = target.partition("#")
            to = (page.parent / file).resolve() if file else page.resolve()
            if not to.exists():
                yield f"{name(page)} links to {target}, and there is no such file"
            elif part and to in anchors and part not in anchors[to]:
                yield f"{name(page)} links to {target}, and there is no such heading"
    docs = ROOT / "docs"
    for path in [*sources(), ROOT / "template.yaml", *sorted((ROOT / "tests/local").glob("*.py"))]:
        for file, part in re.findall(r"docs/([\w-]+\.md)(?:#([\w-]+))?", path.read_text()):
            if not (docs / file).exists():
                yield f"{name(path)} names docs/{file}, and there is no such file"
            elif part and part not in anchors[(docs / file).resolve()]:
                yield f"{name(path)} names docs/{file}#{part}, and there is no such heading"


def main():
    files = sources()
    problems = [*repeated_types(files), *long_files(files), *import_circles(files), *epoch_arithmetic(files),
                *numbers_before_nouns(files), *endless_listings(files), *broken_links()]
    for problem in problems:
        print(f"layout: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
