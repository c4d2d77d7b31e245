"""Certificates of a host: which client gets which, pairs that can't be used, and new files."""

import datetime
import os
import shutil
import signal
import ssl

import pytest
from wire_tls import TLS12, TLS13, TlsClient, say

from conftest import TALK
from support.certificates import Pair
from wire import close_frame

YEAR = datetime.timedelta(days=365)


def serial(client: TlsClient) -> int:
    return int(client.tls.getpeercert()["serialNumber"], 16)


def names_of(client: TlsClient) -> list[str]:
    return [value for _, value in client.tls.getpeercert()["subjectAltName"]]


# Names


def test_a_client_gets_the_certificate_for_the_name_it_asks_for(serve, authority, dial):
    first = authority.issue("localhost")
    second = authority.issue("two.example", "zwei.example", rsa_bits=2048)
    wild = authority.issue("*.wild.example")
    host = serve({"talk.lua": TALK}, *first.flags, *second.flags, *wild.flags)
    for version in (TLS12, TLS13):
        assert names_of(dial(host, version)) == ["localhost"]
        for name in ("two.example", "ZWEI.example"):
            assert names_of(dial(host, version, name=name)) == ["two.example", "zwei.example"]
        assert names_of(dial(host, version, name="a.wild.example")) == ["*.wild.example"]
        context = authority.context(version)
        context.check_hostname = False
        for name in (None, "a.b.wild.example", "nobody.example", "127.0.0.1"):
            assert names_of(dial(host, context=context, name=name)) == ["localhost"]


# The start


@pytest.fixture
def bad(authority, pair, tmp_path):
    """Flags that end the start, by what is wrong."""
    other = authority.issue("other.example")
    rsa = authority.issue("rsa.example", rsa_bits=2048)
    sealed = authority.issue("sealed.example", passphrase=b"secret")
    weak = authority.issue("weak.example", rsa_bits=1024)
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    return {
        "missing": (Pair(tmp_path / "no.pem", pair.key), "no.pem can't be used: No such file"),
        "no key": (Pair(pair.cert, tmp_path / "no.key"), "no.key can't be read: No such file"),
        "folder": (Pair(tmp_path, pair.key), " holds no certificate in PEM form"),
        "no pem": (Pair(nothing, pair.key), "nothing.pem holds no certificate in PEM form"),
        "no pem key": (Pair(pair.cert, nothing), "nothing.pem holds no private key in PEM form"),
        "swapped": (Pair(pair.key, pair.cert), "holds no certificate in PEM form"),
        "other": (Pair(pair.cert, other.key), "does not belong to the certificate"),
        "other kind": (Pair(pair.cert, rsa.key), "does not belong to the certificate"),
        "sealed": (sealed, "sealed.example.key has a passphrase, which nobody is there to type"),
        "weak": (weak, "weak.example.pem can't be used: ee key too small"),
    }


@pytest.mark.parametrize(
    "what",
    "missing|no key|folder|no pem|no pem key|swapped|other|other kind|sealed|weak".split("|"),
)
def test_a_pair_that_can_not_be_used_ends_the_start_with_one_line(run, bad, what):
    files, expected = bad[what]
    status, out, err = run("serve", str(files.cert.parent), "--port=0", *files.flags)
    (line,) = [line for line in err.splitlines() if line.startswith("perigee: ")]
    assert (status, out) == (1, "")
    assert expected in line


def test_a_certificate_without_its_key_ends_the_start(run, pair, tmp_path):
    status, _, err = run("serve", str(tmp_path), "--port=0", "--tls-cert", str(pair.cert))
    assert status == 1
    assert "tls_cert and tls_key go in pairs: there are 1 and 0 files" in err


@pytest.mark.parametrize("lasts, what", [(-1, "has expired"), (-2, "has expired")])
def test_an_expired_certificate_is_served_with_a_warning(serve, authority, dial, lasts, what):
    expired = authority.issue("localhost", lasts=lasts * YEAR)
    host = serve({"talk.lua": TALK}, *expired.flags)
    host.wait_log(f'level=warn msg="the certificate {expired.cert} {what}: clients will refuse it')
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        dial(host)


def test_settings_of_tls_may_stand_in_the_file_of_config(serve, folder, pair, dial):
    folder({"machine.lua": f'return {{ tls_cert = "{pair.cert}", tls_key = {{"{pair.key}"}} }}'})
    config = folder({}) / "machine.lua"
    host = serve({"s/talk.lua": TALK}, "--config", str(config))
    assert host.http.startswith("https://")
    dial(host)


# Reload


def replace(old: Pair, new: Pair) -> None:
    """As certbot does: one after the other, each at once."""
    for to, of in ((old.cert, new.cert), (old.key, new.key)):
        shutil.copy(of, f"{to}.new")
        os.replace(f"{to}.new", to)


def test_new_files_are_shown_to_new_connections_and_the_living_go_on(
    talk, authority, pair, dial, join
):
    host = talk()
    old = join(host)
    say(old, "before")
    replace(pair, authority.issue("localhost", file="renewed"))
    host.wait_log("certificate read anew")
    new = join(host)
    assert serial(new) > serial(old)
    say(old, "x" * 100_000)
    say(new, "after")
    old.send(close_frame(1000))
    assert old.hear_close() == (1000, "")
    assert host.complaints() == []


def test_bad_new_files_leave_the_old_ones_serving_and_say_why(talk, authority, pair, dial):
    host = talk()
    number = serial(dial(host))
    good = pair.key.read_bytes()
    pair.key.write_text("half of a k")
    host.wait_log(f'level=warn msg="{pair.key} holds no private key in PEM form: the one before')
    assert serial(dial(host)) == number
    pair.key.write_bytes(good)
    host.wait_log("certificate read anew")
    replace(pair, authority.issue("localhost", file="stale", lasts=-YEAR))
    host.wait_log(f'level=warn msg="the certificate {pair.cert} has expired: the one before serve')
    pair.cert.unlink()
    host.wait_log(f"level=warn msg=\"the certificate {pair.cert} can't be used: No such file")
    assert serial(dial(host)) == number


def test_sighup_reads_certificates_anew_at_once(talk, authority, pair, dial):
    host = talk()
    number = serial(dial(host))
    replace(pair, authority.issue("localhost", file="renewed"))
    host.signal(signal.SIGHUP)
    host.wait_log("SIGHUP: the scripts and the certificates are read anew")
    host.wait(lambda: host.count("certificate read anew") >= 1)
    assert serial(dial(host)) > number
