"""Runs the cases that the scripts hold: each is a test of its own, by its name.

A case that wants connections gets them as arguments, in the order in which they were opened; what
it returns is what each client must have received.
"""

import itertools

import pytest

from conftest import SCRIPTS
from serving import Host

AREAS = sorted(path.stem for path in SCRIPTS.glob("*.lua") if "check.suite()" in path.read_text())
tokens = itertools.count(1)


def pytest_generate_tests(metafunc):
    if "case" not in metafunc.fixturenames:
        return
    with Host(SCRIPTS) as host:
        cases = [
            pytest.param((area, case["name"], case["conns"]), id=f"{area}: {case['name']}")
            for area in AREAS
            for case in listed(host, area)
        ]
    metafunc.parametrize("case", cases)


def listed(host: Host, area: str) -> list[dict]:
    answer = host.get(f"/{area}")
    assert answer.status == 200, f"{area}: {answer} {host.tail()}"
    return answer.json()


def test_case(host, case):
    area, name, count = case
    token = str(next(tokens))
    clients = [host.connect(f"/{area}?run={token}") for _ in range(count)]
    try:
        answer = host.get(f"/{area}", case=name, run=token)
        assert answer.status == 200, answer
        result = answer.json()
        assert result["ok"], result["message"]
        if "received" in result:
            got = [client.all_until_pong() for client in clients]
            assert got == result["received"]
    finally:
        for client in clients:
            client.close()


def test_every_script_has_cases():
    assert AREAS
