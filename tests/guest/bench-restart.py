"""Kills a worker and prints the milliseconds until its LUN serves again: bench-restart.py DISK PID"""
import mmap
import os
import signal
import sys
import time

disk, worker = sys.argv[1], int(sys.argv[2])
# O_DIRECT wants aligned memory.
block = mmap.mmap(-1, 4096)
fd = os.open(disk, os.O_RDONLY | os.O_DIRECT)


def read():
    if os.preadv(fd, [block], 0) != 4096:
        sys.exit(f"{disk}: short read")


def is_dead():
    try:
        with open(f"/proc/{worker}/stat", "rb") as stat:
            return stat.read().rsplit(b") ", 1)[1][:1] == b"Z"
    except FileNotFoundError:
        return True


read()
start = time.monotonic()
os.kill(worker, signal.SIGKILL)
# What the dying one still answers does not count.
while not is_dead():
    if time.monotonic() - start > 20:
        sys.exit(f"worker {worker} does not die")
    time.sleep(0.0005)
read()
print(f"{(time.monotonic() - start) * 1000:.1f}")
