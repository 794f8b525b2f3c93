"""Run the command; print its exit code, the paths it writes to, and its sockets and processes."""

import os
import sys

from fastsm._command import main

seen = []


def watch(event, arguments):
    """Record an event of `sys.addaudithook`."""
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.system", "os.posix_spawn"):
        seen.append(f"{event} {arguments}")
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    if event == "open" and isinstance(arguments[0], str) and arguments[2] & writes:
        seen.append(os.path.abspath(arguments[0]))
    if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link"):
        seen.append(os.path.abspath(arguments[0]))


sys.addaudithook(watch)
code = main(sys.argv[1:])
print(code, *seen, sep="\n")
