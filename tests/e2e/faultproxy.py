"""The fault proxy of `fake-s3/` as a process: a wire that a test breaks, before a server that is well."""

from __future__ import annotations

import subprocess
from types import TracebackType

from service import binary


class FaultProxy:
    """Owns the process, which is built beside the service: leaving the `with` block ends it."""

    def __init__(self, port: int) -> None:
        self.command = [str(binary().parent / "fault-proxy"), "--to", f"127.0.0.1:{port}"]
        self.process: subprocess.Popen[str] | None = None
        self.endpoint = ""

    def __enter__(self) -> FaultProxy:
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.endpoint = self.process.stdout.readline().removeprefix("endpoint ").strip()
        assert self.endpoint, "the fault proxy does not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def tell(self, command: str) -> None:
        """Such as `dark silent`, `dark unreachable`, `light`, `fault delay=20 times=100`."""
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer == "ok", f"{command}: {answer}"
