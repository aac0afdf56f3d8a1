"""The command cloudkitty-processor as a process, for tests that signal and kill it."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

STOP_S = 20


class Processor:
    """The command, in a process group of its own.

    :param environment: variables added to those of the test.
    """

    def __init__(self, path: Path, log_path: Path, **environment: str):
        with open(log_path, 'ab') as log:
            self.process = subprocess.Popen(
                [
                    os.path.join(os.path.dirname(sys.executable), 'cloudkitty-processor'),
                    '--config-file',
                    str(path),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **environment},
            )

    def end(self, signal_number: int) -> int:
        """Send a signal to the master, or SIGKILL to all; return the exit status."""
        if signal_number == signal.SIGKILL:
            self.signal_all(signal_number)
        else:
            self.process.send_signal(signal_number)
        return self.process.wait(STOP_S)

    def signal_all(self, number: int) -> None:
        """Send a signal to the master and all its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers there are now, that of the exporter included."""
        found = []
        # Each thread has children of its own.
        for children in Path(f'/proc/{self.process.pid}/task').glob('*/children'):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
        return sorted(found)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.is_running:
            self.end(signal.SIGKILL)
