#!/usr/bin/python3
"""Runs the commands of a recorded transcript again and compares what they print with a reviewed list of differences.

replay.py run TRANSCRIPT DEVICE             prints a new transcript of the same commands on DEVICE
replay.py compare RECORDED NEW LIST         fails for a difference that is not on LIST, and for an entry that is none

LIST is Markdown: what stands as "* `COMMAND` STATUS" below a heading and its reason is an intended difference, and
STATUS is the exit status that the command has now. The second and third time that a transcript has the same command,
it is followed by (2) and (3) within the backticks.
"""

import re
import subprocess
import sys

SECONDS = 60
BINARY = set(range(9)) | set(range(11, 32)) | set(range(127, 256))


def shown(output):
    if BINARY & set(output):
        return "bytes: " + output.hex(" ") + "\n"
    text = output.decode("ascii")
    return text if not text or text.endswith("\n") else text + "\n"


def run(transcript, device):
    for line in open(transcript, encoding="ascii"):
        kind, command = line[:2], line[2:].rstrip("\n")
        if kind not in ("$ ", "! "):
            continue
        try:
            done = subprocess.run(
                ["sh", "-c", command.replace("DEVICE", device)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            sys.exit(f"not over after {SECONDS} s: {command}")
        if kind == "$ ":
            output = shown(done.stdout.replace(device.encode(), b"DEVICE"))
            print(f"$ {command}\n{output}-> {done.returncode}\n", flush=True)
        elif done.returncode:
            sys.exit(f"ended with {done.returncode}: {command}\n{shown(done.stdout)}")


def parse(path):
    """The answers of a transcript: command to (status, lines)."""
    answers = {}
    command = None
    for line in open(path, encoding="ascii"):
        line = line.rstrip()
        if line.startswith("$ "):
            command, count = line[2:], 1
            while command in answers:
                count += 1
                command = f"{line[2:]} ({count})"
            answers[command] = (None, [])
        elif command and line.startswith("-> "):
            answers[command] = (int(line[3:]), comparable(answers[command][1]))
            command = None
        elif command:
            answers[command][1].append(line)
    unfinished = [command for command, (status, _) in answers.items() if status is None]
    if unfinished or not answers:
        sys.exit(f"{path}: no end of {unfinished}")
    return answers


def comparable(lines):
    """Random data has another digest each time: what matters is which digests are the same. So it is with times."""
    digests = {}

    def named(match):
        return digests.setdefault(match.group(), f"digest-{len(digests) + 1}")

    lines = [re.sub(r"\b[0-9a-f]{32}\b(?=  -)", named, line) for line in lines]
    return [re.sub(r"^(time to transfer data:).*", r"\1", line) for line in lines]


def listed(path):
    """The intended differences: command to exit status. Each stands below a heading and a reason."""
    intended = {}
    reason = False
    for line in open(path, encoding="utf-8"):
        line = line.strip()
        if line.startswith("#"):
            reason = False
        elif entry := re.fullmatch(r"\* `(.+)` (\d+)", line):
            if not reason or entry[1] in intended:
                sys.exit(f"{path}: {entry[1]}: listed twice, or below no reason")
            intended[entry[1]] = int(entry[2])
        elif line.startswith("*"):
            sys.exit(f"{path}: not understood: {line}")
        elif line:
            reason = True
    return intended


def compare(recorded, new, differences):
    recorded, new, intended = parse(recorded), parse(new), listed(differences)
    faults = []
    if list(recorded) != list(new):
        faults.append(f"not the same commands: {set(recorded) ^ set(new)}")
    for command, there in recorded.items():
        here = new.get(command)
        if here == there:
            if command in intended:
                faults.append(f"no longer another answer, take it off the list: {command}")
        elif here and command not in intended:
            faults.append("\n".join([f"another answer: {command}", *diff(there, here)]))
        elif here and intended[command] != here[0]:
            faults.append("\n".join([f"status {here[0]}, not {intended[command]} as listed: {command}", *diff(there, here)]))
    faults += [f"on the list and not in the transcript: {command}" for command in intended if command not in recorded]
    same = sum(1 for command in recorded if new.get(command) == recorded[command])
    print(f"{len(recorded)} commands, {same} answers as recorded, {len(intended)} differences are listed")
    for fault in faults:
        print(fault)
    return not faults


def diff(there, here):
    yield from (f"  - {line}" for line in there[1] if line not in here[1])
    yield from (f"  + {line}" for line in here[1] if line not in there[1])
    yield f"  status {there[0]} then, {here[0]} now"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", transcript, device]:
            run(transcript, device)
        case ["compare", recorded, new, differences]:
            sys.exit(not compare(recorded, new, differences))
        case _:
            sys.exit(__doc__)
