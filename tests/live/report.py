"""The report of a run, and the answers as the simulator reads them. Both may be shared: they name no account, role or
object."""

import datetime
import json
import re

from live.question import NOT_RUN, QUESTIONS, UNEXPECTED

REPORT_FILE, ANSWERS_FILE = "live-report.md", "live-answers.json"
# The longest evidence in the report, in characters.
MAX_EVIDENCE = 600


def redact(value, prefix):
    """Hides account ids, ARNs and addresses in texts, and of whole responses all but the names of their fields. Names
    of the run stay."""
    if isinstance(value, dict):
        return {key: sorted(one) if key == "response" and isinstance(one, dict) else redact(one, prefix)
                for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(one, prefix) for one in value]
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    text = re.sub(r"arn:[\w-]+:([\w-]*):[^\s\"',)]*", lambda found: found.group(0) if prefix in found.group(0).replace(
        "-", "_") and ":iam:" not in found.group(0) and ":sts:" not in found.group(0) else f"<arn of {found.group(1)}>",
        str(value))
    text = re.sub(r"(?<!\d)\d{12}(?!\d)", "<account>", text)
    text = re.sub(r"\b(AKIA|ASIA|AIDA|AROA)[A-Z0-9]{12,}\b", "<id>", text)
    return re.sub(r"[\w.+-]+@[\w-]+\.[\w.]+|\b\d{1,3}(\.\d{1,3}){3}\b", "<address>", text)


def result(question, answer, evidence=None, reason="", prefix="-"):
    """One result of a run."""
    return {"id": question.id, "answer": answer, "evidence": redact(evidence, prefix),
            "reason": redact(reason, prefix), "asked": datetime.datetime.now(datetime.UTC).date().isoformat()}


def is_as_assumed(one):
    """Whether the code is right under an answer; None without an answer."""
    if one["answer"] in (NOT_RUN, UNEXPECTED):
        return None
    return QUESTIONS[one["id"]].answers[one["answer"]].is_assumed


def needs_attention(one):
    return one["answer"] == UNEXPECTED or is_as_assumed(one) is False


def what_to_do(one):
    question = QUESTIONS[one["id"]]
    if one["answer"] == NOT_RUN:
        return "nothing is known: " + one["reason"]
    if one["answer"] == UNEXPECTED:
        return f"read the evidence, and add the answer to the question: {question.ask.__module__}"
    return question.answers[one["answer"]].changes


def cell(text):
    """Text in a cell of a table."""
    return re.sub(r"\s+", " ", str(text)).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").strip()


def evidence_cell(one):
    text = json.dumps(one["evidence"], sort_keys=True, ensure_ascii=False, default=str)
    return cell(text if len(text) <= MAX_EVIDENCE else text[:MAX_EVIDENCE] + " ...") if one["evidence"] else ""


def markdown(results, regions, wrote, left):
    """The report: what needs attention first, then each question in the order of the run."""
    answered = [one for one in results if one["answer"] != NOT_RUN]
    attention = [one for one in results if needs_attention(one)]
    lines = [
        "# What AWS answered", "",
        f"Asked of {regions[0]} and {regions[1]}, {'with' if wrote else 'without'} writes. {len(answered)} of "
        f"{len(results)} questions were answered; {len(attention)} need attention. docs/assumptions.md explains the "
        "ids; docs/live.md explains this report.", ""]
    if left:
        lines += ["**Not removed**, repeat `make live-clean`:", "", *(f"- {cell(reason)}" for reason in left), ""]
    for title, chosen in (("Needs attention", attention), ("All questions", results)):
        if not chosen:
            continue
        lines += [f"## {title}", "", "| id | question | answer | right under | evidence | what to do |",
                  "|---|---|---|---|---|---|"]
        for one in chosen:
            question = QUESTIONS[one["id"]]
            assumed = [name for name, answer in question.answers.items() if answer.is_assumed]
            lines.append(f"| {one['id']} | {cell(question.text)} | **{one['answer']}** | {', '.join(assumed)} | "
                         f"{evidence_cell(one)} | {cell(what_to_do(one))} |")
        lines.append("")
    return "\n".join(lines)


def quirk_settings(results):
    """The quirks of the simulator that the answers settle, by name."""
    settings = {}
    for one in results:
        question = QUESTIONS[one["id"]]
        answer = question.answers.get(one["answer"])
        if question.quirk and answer and answer.quirk is not None:
            settings[question.quirk] = answer.quirk
    return settings


def answers_json(results, regions):
    """The answers for `twinlake sandbox --answers` and `twinlake scenario --answers`."""
    answers = {one["id"]: {"answer": one["answer"], "asked": one["asked"]} for one in results
               if one["answer"] != NOT_RUN}
    return json.dumps({"version": 1, "regions": list(regions), "quirks": quirk_settings(results), "answers": answers},
                      indent=2, sort_keys=True) + "\n"
