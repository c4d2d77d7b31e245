"""A machine beside this one, for peers that vanish: a network namespace at the end of a cable
(veth) that can be cut. Needs Linux, iproute2 and the right to do it.

The namespace has no name, and the addresses follow from the process: its cable goes when it has
gone, however it ends, and those of two processes at a time don't meet."""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

CLONE_NEWNET = 0x40000000


def why_not() -> str:
    """Why there can be none here; empty when there can."""
    if not shutil.which("ip"):
        return "there is no ip (iproute2)"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    try:
        os.close(_namespace())
    except OSError as error:
        return f"no network namespaces: {error}"
    return ""


def _in_thread(call: Callable):
    """What `call` answers in a thread of its own, since each thread has a namespace of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()


def _checked(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _namespace() -> int:
    """A descriptor of a new namespace, which lives as long as something of it is open."""

    def make() -> int:
        _checked("unshare", CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    return _in_thread(make)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Cable:
    """Two ends of a cable; one is here, and has the address `near`."""

    def __init__(self):
        pid = os.getpid()
        third, fourth = pid // 64 % 256, pid % 64 * 4
        self.near, far = f"10.213.{third}.{fourth + 1}", f"10.213.{third}.{fourth + 2}"
        self.device = f"peri{pid % 10_000_000}"
        self.namespace = _namespace()
        try:
            there = ("peer", "eth0", "netns", f"/proc/{pid}/fd/{self.namespace}")
            _ip("link", "add", self.device, "type", "veth", *there)
            _ip("addr", "add", f"{self.near}/30", "dev", self.device)
            _ip("link", "set", self.device, "up")
            self._there(lambda: _ip("addr", "add", f"{far}/30", "dev", "eth0"))
            self._there(lambda: _ip("link", "set", "eth0", "up"))
        except BaseException:
            self.remove()
            raise

    def _there(self, call: Callable):
        """What `call` answers at the far end."""

        def enter():
            _checked("setns", self.namespace, CLONE_NEWNET)
            return call()

        return _in_thread(enter)

    def cut(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._there(lambda: _ip("link", "set", "eth0", "down"))

    def sockets(self, count: int) -> list[socket.socket]:
        """TCP sockets of the machine at the far end."""
        return self._there(lambda: [socket.socket() for _ in range(count)])

    def remove(self) -> None:
        """At once. What is still open at the far end would keep it until it closes."""
        subprocess.run(["ip", "link", "del", self.device], capture_output=True, check=False)
        os.close(self.namespace)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
