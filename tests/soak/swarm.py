"""The soak's loop: clients by epoll, each with a plan that goes on at its time."""

import heapq
import select
import time
from collections import Counter

from client import Client, Target

LAG_S = 0.7  # far less than the limits that a host ends its clients by
FLOOD = select.EPOLLERR | select.EPOLLHUP


class Swarm:
    """@param done  called with each client that is no more"""

    def __init__(self, seed: int, done):
        self.seed, self.done = seed, done
        self.closing = False  # plans come to their ends
        self.left = time.monotonic()  # its last turn
        self.lagged = 0.0  # when clients were last kept waiting by us for LAG_S
        self.messages = 0
        self.kinds: Counter[str] = Counter()
        self.number = 0
        self._epoll = select.epoll()
        self._by_fd: dict[int, Client] = {}
        self._due: list[tuple[float, int, int, Client]] = []
        self._woken: list[Client] = []

    def add(self, target: Target, plan) -> Client:
        self.number += 1
        client = Client(self, target, self.number, plan, self.seed)
        self.kinds[client.what] += 1
        target.alive.add(client)
        self.step(client)
        return client

    def fill(self, target: Target, population: int, plans: dict, rng) -> None:
        """Adds clients, a few at once. @param plans  each with its weight"""
        for _ in range(min(8, population - len(target.alive))):
            self.add(target, rng.choices(list(plans), plans.values())[0])

    def register(self, client: Client) -> None:
        fd = client.socket.fileno()
        self._by_fd[fd] = client
        client.events = client.wanted
        self._epoll.register(fd, client.events)

    def watch(self, client: Client) -> None:
        if not client.end and client.wanted != client.events:
            client.events = client.wanted
            self._epoll.modify(client.socket.fileno(), client.events)

    def remove(self, client: Client) -> None:
        fd = client.socket.fileno()
        if self._by_fd.pop(fd, None):
            self._epoll.unregister(fd)
        client.target.alive.discard(client)
        client.serial += 1
        self._woken.append(client)

    def step(self, client: Client) -> None:
        """Its plan goes on to the next wait."""
        if client.end:
            return
        client.serial += 1
        try:
            wait_s = next(client.steps)
        except StopIteration:
            client.leave("ours")
            return
        client.idle = wait_s is None
        if wait_s is not None and not client.end:
            at = time.monotonic() + wait_s
            heapq.heappush(self._due, (at, client.number, client.serial, client))

    def turn(self, wait_s: float = 0.02) -> None:
        now = time.monotonic()
        if now - self.left > LAG_S:
            self.lagged = now
        while self._due and self._due[0][0] <= now:
            _, _, serial, client = heapq.heappop(self._due)
            if serial == client.serial:
                self.step(client)
        if self._due:
            wait_s = min(wait_s, max(0.0, self._due[0][0] - time.monotonic()))
        for fd, events in self._epoll.poll(wait_s):
            client = self._by_fd.get(fd)
            if client and events & select.EPOLLOUT:
                client.write()
            if client and not client.end and events & (select.EPOLLIN | FLOOD):
                client.read()
                if client.idle:
                    self.step(client)
        for client in self._woken:
            client.steps.close()
            self.done(client)
        self._woken.clear()
        self.left = time.monotonic()
        if self.left - now > LAG_S:
            self.lagged = self.left
