"""Runs a command at a terminal of its own, presses Ctrl-C as soon as the
command's output says so, and prints that output and the exit status.

usage: ctrlc.py WHEN COMMAND [ARGUMENT …]
"""

import os
import pty
import select
import sys
import time

when, command = sys.argv[1].encode().decode("unicode_escape").encode(), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(command[0], command)
out, pressed, until = b"", False, time.time() + 60
while time.time() < until:
    if not select.select([fd], [], [], 1)[0]:
        continue
    try:
        more = os.read(fd, 4096)
    except OSError:  # the other side is closed
        break
    out += more
    if when in out and not pressed:
        os.write(fd, b"\x03")
        pressed = True
sys.stdout.buffer.write(out)
print("exit status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
