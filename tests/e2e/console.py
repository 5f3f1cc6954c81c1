"""Runs the examples of a Markdown file as a reader would type them, and compares what they print.

Every fenced block marked `console` is run, in order, in one shell in one empty directory:

    ```console
    $ curl -s http://127.0.0.1:8080/health/ready
    {"ready":true}
    ```

A line that starts with `$ ` is a command; a command goes on in the next line after a trailing
backslash, or in lines that start with `> `. The lines after it are what it prints, both streams
together. `...` stands for any text within a line, and alone in a line for any number of lines. A
command must succeed, unless its output ends with the line `[exit N]`. Blocks that are marked
otherwise (`sh`, `toml`) are not run.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\s*$")
EXIT = re.compile(r"^\[exit (\d+)\]$")
RUN_SECONDS = 120


@dataclass
class Step:
    """One command and what it should print."""

    line: int
    command: str
    expected: list[str] = field(default_factory=list)
    status: int = 0


class Mismatch(AssertionError):
    """A command printed something else, or ended with another status."""


def steps(markdown: str) -> list[Step]:
    """The commands of all `console` blocks, in order."""
    found: list[Step] = []
    language: str | None = None
    for number, line in enumerate(markdown.splitlines(), start=1):
        fence = FENCE.match(line)
        if fence:
            language = fence[1] if language is None else None
            if language == "console":
                found.append(Step(number, ""))
        elif language == "console":
            _read_line(found, number, line)
    return [step for step in found if step.command]


def _read_line(found: list[Step], number: int, line: str) -> None:
    current = found[-1]
    if line.startswith("$ "):
        found.append(Step(number, line[2:]))
    elif current.command.endswith("\\") and not current.expected:
        current.command += "\n" + line.removeprefix("> ")
    elif line.startswith("> ") and not current.expected:
        current.command += "\n" + line[2:]
    elif not current.command:
        raise ValueError(f"line {number}: a console block must begin with a command")
    elif status := EXIT.match(line):
        current.status = int(status[1])
    else:
        current.expected.append(line)


def matches(expected: list[str], printed: str) -> bool:
    """Whether a text fits expected lines with wildcards."""
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*".join(re.escape(part) for part in line.split("...")) + r"\n"
    return re.fullmatch(pattern, printed if not printed or printed.endswith("\n") else printed + "\n") is not None


def run(markdown: str, directory: Path, replace: dict[str, str]) -> int:
    """Runs every step; gives their number.

    `replace` maps texts of the file to what they are here, such as an address. It is applied to
    commands, and undone in what they print.

    Raises `Mismatch` at the first step that prints something else.
    """
    todo = steps(markdown)
    with subprocess.Popen(
        ["bash", "--noprofile", "--norc"],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:

        def end() -> None:
            os.killpg(shell.pid, signal.SIGKILL)

        # A command that hangs ends with the shell, and its step with a mismatch.
        watchdog = threading.Timer(RUN_SECONDS, end)
        watchdog.start()
        try:
            for step in todo:
                _check(shell, step, replace)
        finally:
            watchdog.cancel()
            end()
    return len(todo)


def _check(shell: subprocess.Popen[str], step: Step, replace: dict[str, str]) -> None:
    command = step.command
    for written, real in replace.items():
        command = command.replace(written, real)
    printed, status = _execute(shell, command)
    for written, real in replace.items():
        printed = printed.replace(real, written)
    if status != step.status or not matches(step.expected, printed):
        wanted = "\n".join(step.expected)
        raise Mismatch(
            f"line {step.line}: $ {step.command}\n"
            f"--- expected, status {step.status} ---\n{wanted}\n"
            f"--- printed, status {status} ---\n{printed}"
        )


def _execute(shell: subprocess.Popen[str], command: str) -> tuple[str, int]:
    """What a command prints, and its status. The shell keeps its variables and directory."""
    assert shell.stdin is not None and shell.stdout is not None
    mark = uuid.uuid4().hex
    quoted = "'" + command.replace("'", "'\\''") + "'"
    shell.stdin.write(f"eval {quoted} </dev/null\nprintf '\\n%s %d\\n' {mark} $?\n")
    shell.stdin.flush()
    lines: list[str] = []
    for line in shell.stdout:
        if line.startswith(mark):
            text = "".join(lines)
            # The mark begins with a line break of its own.
            return text.removesuffix("\n"), int(line.split()[1])
        lines.append(line)
    raise Mismatch(f"the shell ended in: {command}\n{''.join(lines)}")
