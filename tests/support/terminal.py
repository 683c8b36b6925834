"""Runs a command behind a pseudo-terminal and prints what it wrote: COLUMNS LATER COMMAND...

The terminal is COLUMNS wide, and LATER wide from the command's first output on (with the signal that tells it).
"""
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

columns, later = int(sys.argv[1]), int(sys.argv[2])
master, slave = pty.openpty()


def size(width):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))


size(columns)
child = subprocess.Popen(
    sys.argv[3:],
    stdin=slave,
    stdout=slave,
    stderr=slave,
    start_new_session=True,
    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
)
os.close(slave)
said = b""
while True:
    try:
        piece = os.read(master, 65536)
    except OSError:  # Linux says so where the other end is closed.
        break
    if not piece:
        break
    if not said and later != columns:
        size(later)
    said += piece
sys.stdout.buffer.write(said)
sys.stdout.flush()
sys.exit(child.wait())
