"""Asks two Regions the open questions about AWS: `make live`, `make live-clean`.

    python -m live ask --primary us-east-1 --standby ap-south-1
    python -m live clean
    python -m live list

It only reads, unless the environment has LIVE_WRITES=yes. Exit codes: 0 if every answer is one under which the code is
right, or was not given; 2 if an answer needs attention; 1 for an error, or if something could not be removed.
"""

import argparse
import collections
import os
import pathlib
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from live import report, subjects  # noqa: F401  (importing the subjects registers the questions)
from live.guard import WriteRefused
from live.journal import Journal
from live.question import NOT_RUN, QUESTIONS, NotRun, decide
from live.run import Run

ROLES = {
    "test_role": "a role to grant permissions to; the caller may assume it, it may read Glue and Lake Formation in "
                 "IAM, and it holds nothing in Lake Formation",
    "events_role": "a role that EventBridge may assume to put events on the standby's buses twinlake-live-*",
    "replication_role": "a role that S3 may assume to replicate buckets twinlake-live-*",
    "location_role": "a role that Lake Formation may assume, for a registered location",
    "definer_role": "a role that may define Data Catalog views",
}
JOURNAL_FILE = "live-journal.jsonl"


class UsageError(Exception):
    """The run may not start. The text says why and what to do."""


def parse(arguments):
    parser = argparse.ArgumentParser(prog="live", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="lists the questions")
    ask, clean = commands.add_parser("ask", help="asks them"), commands.add_parser("clean", help="removes what is left")
    ask.add_argument("--primary", required=True)
    ask.add_argument("--standby", required=True)
    ask.add_argument("--only", nargs="*", default=[], metavar="ID", help="asks only these questions")
    ask.add_argument("--wait-minutes", type=float, default=20.0, help="the longest wait for one answer")
    ask.add_argument("--poll-seconds", type=float, default=10.0, help=argparse.SUPPRESS)
    for role, text in ROLES.items():
        ask.add_argument("--" + role.replace("_", "-"), metavar="ARN", default=None, help=text)
    for command in (ask, clean):
        command.add_argument("--expect-account", default=None, help="refuses the credentials of another account")
        command.add_argument("--directory", type=pathlib.Path, default=pathlib.Path("."),
                             help="where the report, the answers and the journal are")
    return parser.parse_args(arguments)


def check_options(options, environment):
    """Raises UsageError for options that no run may have."""
    writes = environment.get("LIVE_WRITES", "")
    if writes not in ("", "no", "yes"):
        raise UsageError(f"LIVE_WRITES is {writes!r}: set it to yes, or leave it out to only read")
    options.may_write = writes == "yes"
    if options.command != "ask":
        return
    if options.primary == options.standby:
        raise UsageError(f"both Regions are {options.primary}: name two")
    unknown = sorted(set(options.only) - QUESTIONS.keys())
    if unknown:
        raise UsageError(f"no such question: {', '.join(unknown)}; `python -m live list` lists them")


def check_account(options, account):
    if options.expect_account and account != options.expect_account:
        raise UsageError(f"the credentials are of account {account}, not of {options.expect_account}")


def ask_one(run, question, say):
    """Asks one question, and removes what it made. Returns its result and the reasons for what is left."""
    say(f"{question.id}: {question.text} (up to {question.minutes} min)")
    left, missing = [], [role for role in question.needs if not getattr(run.options, role)]
    try:
        if question.writes and not run.options.may_write:
            raise NotRun("it writes: set LIVE_WRITES=yes")
        if missing:
            raise NotRun("needs " + ", ".join(f"{role.upper()}, {ROLES[role]}" for role in missing))
        with run.cleaning() as left:
            evidence = question.ask(run)
        found = report.result(question, decide(question, evidence), evidence, prefix=run.prefix)
    except NotRun as reason:
        found = report.result(question, NOT_RUN, reason=str(reason), prefix=run.prefix)
    except (BotoCoreError, ClientError, WriteRefused, KeyError, TypeError, IndexError, ValueError) as error:
        # An answer that the question does not understand is no answer. The other questions go on.
        reason = f"the question itself failed, {type(error).__name__}: {error}"
        found = report.result(question, NOT_RUN, reason=reason, prefix=run.prefix)
    say(f"  {found['answer']}" + (f": {found['reason']}" if found["reason"] else ""))
    return found, left


def ask_all(options, sessions=boto3.Session, say=print):
    """Asks all questions, or those of `--only`, and writes the report. Returns the exit code."""
    journal = Journal(options.directory / JOURNAL_FILE)
    try:
        run = Run(options, journal, sessions)
    except NotRun as reason:
        raise UsageError(str(reason)) from reason
    check_account(options, run.account)
    if options.may_write:
        left = journal.remove_all(run.client, run.account)
        if left:
            raise UsageError("an earlier run left something that cannot be removed:\n" + "\n".join(left))
    chosen = [question for question in QUESTIONS.values() if not options.only or question.id in options.only]
    results, left = [], []
    regions = options.primary, options.standby
    for question in sorted(chosen, key=lambda one: one.minutes):
        found, left_by_it = ask_one(run, question, say)
        results.append(found)
        left += left_by_it
        # The files are complete for what was asked so far, also if the run is stopped.
        (options.directory / report.REPORT_FILE).write_text(
            report.markdown(results, regions, options.may_write, left))
        (options.directory / report.ANSWERS_FILE).write_text(report.answers_json(results, regions))
    if options.may_write:
        left = journal.remove_all(run.client, run.account)
        (options.directory / report.REPORT_FILE).write_text(
            report.markdown(results, regions, options.may_write, left))
    counts = collections.Counter(
        "not run" if one["answer"] == NOT_RUN else "needs attention" if report.needs_attention(one) else "as assumed"
        for one in results)
    say(", ".join(f"{count} {what}" for what, count in sorted(counts.items())) + f": see {report.REPORT_FILE}")
    if left:
        say("Not removed; run `make live-clean`:\n" + "\n".join(left))
        return 1
    return 2 if counts["needs attention"] else 0


def clean(options, sessions=boto3.Session, say=print):
    """Removes what earlier runs left. Returns the exit code."""
    journal = Journal(options.directory / JOURNAL_FILE)
    entries = journal.entries()
    if not entries:
        say("Nothing is left of an earlier run.")
        return 0
    # LIVE_WRITES was given when these were made.
    options.may_write, options.primary, options.standby = True, entries[0]["region"], entries[0]["region"]
    options.test_role = None
    run = Run(options, journal, sessions)
    check_account(options, run.account)
    left = journal.remove_all(run.client, run.account)
    say(f"{len(entries) - len(left)} removed." + ("".join(f"\nNot removed: {reason}" for reason in left)))
    return 1 if left else 0


def main(arguments=None, environment=None):
    options = parse(arguments)
    try:
        check_options(options, os.environ if environment is None else environment)
        if options.command == "list":
            for question in QUESTIONS.values():
                print(f"{question.id:<16}{'writes' if question.writes else 'reads':<8}{question.minutes:>3} min  "
                      f"{question.text}")
            return 0
        return ask_all(options) if options.command == "ask" else clean(options)
    except (UsageError, BotoCoreError, ClientError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
