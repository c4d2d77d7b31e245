"""A machine beside this one, for peers that vanish: a network namespace at the end of a cable
(veth) that can be cut. Needs Linux, iproute2 and the right to do it."""

import ctypes
import os
import shutil
import socket
import subprocess
import threading

CLONE_NEWNET = 0x40000000


def why_not() -> str:
    """Why there can be none here; empty when there can."""
    if not shutil.which("ip"):
        return "there is no ip (iproute2)"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    name = f"perigee-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode != 0:
        return f"no network namespaces: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Cable:
    """Two ends of a cable; one is here, and has the address `near`."""

    near, far = "10.213.87.1", "10.213.87.2"  # the cable's own

    def __init__(self):
        self.namespace = f"perigee-{os.getpid()}"
        self.device = f"peri{os.getpid() % 10_000_000}"
        _ip("netns", "add", self.namespace)
        try:
            _ip("link", "add", self.device, "type", "veth", "peer", "eth0", "netns", self.namespace)
            _ip("addr", "add", f"{self.near}/30", "dev", self.device)
            _ip("link", "set", self.device, "up")
            _ip("-n", self.namespace, "addr", "add", f"{self.far}/30", "dev", "eth0")
            _ip("-n", self.namespace, "link", "set", "eth0", "up")
        except BaseException:
            self.remove()
            raise

    def cut(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        _ip("-n", self.namespace, "link", "set", "eth0", "down")

    def sockets(self, count: int) -> list[socket.socket]:
        """TCP sockets of the machine at the far end."""
        made: list[socket.socket] = []

        def make():
            libc = ctypes.CDLL(None, use_errno=True)
            there = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
            try:
                if libc.setns(there, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
                made.extend(socket.socket() for _ in range(count))
            finally:
                os.close(there)

        thread = threading.Thread(target=make)  # a thread has a namespace of its own
        thread.start()
        thread.join()
        return made

    def remove(self) -> None:
        for arguments in (("link", "del", self.device), ("netns", "del", self.namespace)):
            subprocess.run(["ip", *arguments], capture_output=True, check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
