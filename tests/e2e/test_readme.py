"""The examples of README.md, executed as typed against a service with an empty data directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import console
from service import ROOT, Service

SAMPLE = """
Text.

```sh
$ exit 9  # not run
```

```console
$ name=world
$ printf 'hello %s\\n' "$name"
hello world
$ printf '%s\\n' one two \\
    three; printf end
one
...
end
$ cat <<'END'
> quoted 'text'
> END
quoted 'text'
$ echo 127.0.0.1:8080 id=$RANDOM$RANDOM
127.0.0.1:8080 id=...
$ false
[exit 1]
```
"""


def test_runner_runs_what_is_marked(tmp_path: Path) -> None:
    assert console.run(SAMPLE, tmp_path, {"127.0.0.1:8080": "127.0.0.1:4321"}) == 6


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("hello world", "hello word"),
        ("[exit 1]", "[exit 0]"),
        ("id=...", "id=1...z"),
        ("one\n...", "two\n..."),
        ("quoted 'text'\n$", "quoted 'text'\nand more\n$"),
        ("$ false\n[exit 1]", "$ false"),
        ("$ name=world", "$ echo unexpected"),
    ],
)
def test_runner_sees_what_differs(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in SAMPLE
    with pytest.raises(console.Mismatch):
        console.run(SAMPLE.replace(right, wrong, 1), tmp_path, {})


def test_readme_examples_do_what_they_show(start: Callable[..., Service], tmp_path: Path) -> None:
    service = start(STORAGE_HOLDS="on")
    shell = tmp_path / "shell"
    shell.mkdir()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    replace = {"127.0.0.1:8080": f"127.0.0.1:{service.port}"}
    assert console.run(readme, shell, replace) >= 5
