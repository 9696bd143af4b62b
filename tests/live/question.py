"""A question to AWS and its known answers.

A question has two halves. `ask` calls AWS and returns evidence: a JSON object. `judge` is pure: it names the answer
that the evidence gives, or returns None for evidence that no known answer explains. So each answer can be tested
without AWS.
"""

import dataclasses
import typing

UNEXPECTED = "unexpected"
NOT_RUN = "not-run"

OK = "ok"
INVALID = "InvalidInputException"
NOT_FOUND = "EntityNotFoundException"
# How services spell a denial.
DENIED = ("AccessDeniedException", "AccessDenied")


class NotRun(Exception):
    """A question could not be asked. The text is the reason, for the report."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """A known answer.

    `changes` says what it means for Twinlake: which code is right, or what has to change. `is_assumed` says whether
    the code is right if this is the answer. `quirk` is the setting of the question's quirk of the simulator.
    """

    changes: str
    is_assumed: bool
    quirk: bool | None = None


def right(changes, quirk=None):
    """An answer under which the code is right."""
    return Answer(changes, True, quirk)


def wrong(changes, quirk=None):
    """An answer under which something has to change."""
    return Answer(changes, False, quirk)


@dataclasses.dataclass(frozen=True)
class Question:
    """`id` is an entry of docs/assumptions.md, with a suffix if the entry has several questions. `needs` names
    options that hold roles, without which the question is not asked. `quirk` is a name of `twinlake scenario`.
    `minutes` is how long the question may take on AWS."""

    id: str
    entry: str
    text: str
    answers: dict[str, Answer]
    ask: typing.Callable
    judge: typing.Callable
    writes: bool
    needs: tuple[str, ...]
    quirk: str | None
    minutes: int


QUESTIONS: dict[str, Question] = {}


def question(question_id, text, *, answers, judge, entry=None, writes=True, needs=(), quirk=None, minutes=1):
    """Registers the decorated function as the `ask` of a question."""
    def register(ask):
        assert question_id not in QUESTIONS, f"two questions {question_id}"
        QUESTIONS[question_id] = Question(
            question_id, entry or question_id, text, answers, ask, judge, writes, tuple(needs), quirk, minutes)
        return ask
    return register


def by_code(step, table):
    """A judge that looks up the error code of one step, or OK, in a table of answers."""
    return lambda evidence: table.get(evidence.get(step, {}).get("code"))


def by_value(key, table):
    """A judge that looks up one value of the evidence in a table of answers. A list counts as a tuple."""
    def judge(evidence):
        value = evidence.get(key)
        value = tuple(value) if isinstance(value, list) else value
        return table.get(value) if isinstance(value, (str, bool, int, tuple, type(None))) else None
    return judge


def decide(question_, evidence):
    """The name of the answer that the evidence gives, or UNEXPECTED."""
    try:
        answer = question_.judge(evidence)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        # The evidence has another shape than any known answer.
        answer = None
    return answer if answer in question_.answers else UNEXPECTED
