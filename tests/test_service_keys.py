"""API keys, where they come from, and who is served without one."""

import hashlib
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from xraygen.core.errors import UserError
from xraygen.service import access, keys

SECRET = "xrg_a-key-instead-of-its-hash"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def xraygen(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "xraygen", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_the_command_prints_a_key_and_keeps_its_hash(tmp_path):
    made = xraygen(tmp_path, "api-key", "lab")
    key = made.stdout.removesuffix("\n")
    file = tmp_path / ".api-keys"
    assert made.returncode == 0 and key.startswith("xrg_") and len(key) == 47
    assert key not in made.stderr and ".api-keys" in made.stderr
    assert file.read_text() == f"lab:{digest(key)}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = xraygen(tmp_path, "api-key", "lab")
    assert (again.returncode, again.stdout) == (2, "")
    assert "has a key named lab" in again.stderr and "Traceback" not in again.stderr


def test_keys_are_added_to_those_that_the_file_has(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# of the clinic\nclinic:{digest('xrg_a')}")  # without a line break
    file.chmod(0o640)
    made = keys.create("lab", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = keys.load(file, {})
    assert found.name_of(made.encode()) == "lab"
    assert found.name_of(b"xrg_a") == "clinic"
    assert found.name_of(b"xrg_b") is None
    assert found.name_of(digest("xrg_a").encode()) is None


@pytest.mark.parametrize("name", ("", "a b", "-a", "a:b", "a\n", "ä", "a/b", "a" * 65))
def test_a_name_that_the_file_cannot_hold_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="the name of a key"):
        keys.create(name, tmp_path / "keys")
    assert not (tmp_path / "keys").exists()


def test_keys_come_from_the_environment_too(tmp_path):
    file = tmp_path / "keys"
    keys.create("lab", file)
    text = f"one:{digest('xrg_1')}, two:{digest('xrg_2')}\nthree:{digest('xrg_3')},"
    found = keys.load(file, {"XRAYGEN_API_KEYS": text})
    assert [found.name_of(f"xrg_{n}".encode()) for n in (1, 2, 3)] == ["one", "two", "three"]
    assert not keys.load(tmp_path / "none", {"XRAYGEN_API_KEYS": ""})
    with pytest.raises(UserError, match="XRAYGEN_API_KEYS, entry 1: the second key"):
        keys.load(file, {"XRAYGEN_API_KEYS": f"lab:{digest('xrg_1')}"})


@pytest.mark.parametrize(
    "line",
    (
        f"lab:{SECRET}",
        SECRET,
        f"{SECRET}:{digest(SECRET)}:",
        f"lab:{digest(SECRET)[:-1]}",
        f"lab:{digest(SECRET).upper()}",
        f"lab :{digest(SECRET)}",
        f"lab:{digest(SECRET)},other:{digest(SECRET)}",
        "lab\ufffd:",
    ),
)
def test_a_line_that_is_no_name_and_hash_is_refused_but_not_quoted(line, tmp_path):
    """It may be the key itself."""
    file = tmp_path / "keys"
    file.write_text(f"\nfine:{digest('xrg_1')}\n{line}\n")
    file.chmod(0o600)
    for read in (lambda: keys.load(file, {}), lambda: keys.create("new", file)):
        with pytest.raises(UserError, match="keys, line 3: not NAME:HASH") as caught:
            read()
        assert SECRET[4:] not in str(caught.value)
        assert digest(SECRET)[:60] not in str(caught.value).lower()


def test_two_keys_with_a_name_and_a_file_without_keys_are_refused(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"a:{digest('1')}\na:{digest('2')}\n")
    with pytest.raises(UserError, match="line 2: the second key with this name"):
        keys.load(file, {})
    file.write_text("# later\n")
    with pytest.raises(UserError, match="holds no key"):
        keys.load(file, {})


def test_a_file_that_others_may_write_is_refused_and_one_they_may_read_warned_of(tmp_path, capfd):
    file = tmp_path / "keys"
    keys.create("lab", file)
    assert keys.load(file, {}) and capfd.readouterr().err == ""
    file.chmod(0o644)
    assert keys.load(file, {}) and "can be read by others: chmod 600" in capfd.readouterr().err
    file.chmod(0o620)
    with pytest.raises(UserError, match="others may add keys"):
        keys.load(file, {})


NONE = keys.Keys({})
SOME = keys.Keys({"lab": digest("xrg_1")})


@pytest.mark.parametrize("host", ("127.0.0.1", "127.0.0.2", "::1", "localhost", "::ffff:127.0.0.1"))
def test_without_keys_loopback_is_bound_to_and_a_line_says_so(host, capfd):
    decided = access.decide(host, NONE, insecure=False)
    assert decided.local and decided.addresses
    assert capfd.readouterr().err.count("only programs on this machine") == 1


@pytest.mark.parametrize("host", ("0.0.0.0", "::", "", "10.1.2.3", "::ffff:10.1.2.3", "fe80::1"))
def test_without_keys_no_other_address_is(host):
    with pytest.raises(UserError, match="without API keys"):
        access.decide(host, NONE, insecure=False)
    assert not access.decide(host, SOME, insecure=False).local
    assert not access.decide(host, NONE, insecure=True).local


def test_a_host_name_counts_as_all_its_addresses(monkeypatch):
    """Of a resolver that is not asked here."""

    def resolve(host: str, *_, **__) -> list[tuple]:
        return [(socket.AF_INET, 1, 6, "", (address, 0)) for address in host.split("+")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    found = access.decide("127.0.0.1+127.0.0.1+127.0.0.5", NONE, insecure=False)
    assert found.addresses == ["127.0.0.1", "127.0.0.5"]
    with pytest.raises(UserError, match="without API keys"):
        access.decide("127.0.0.1+192.0.2.1", NONE, insecure=False)


def test_the_option_contradicts_keys_and_a_host_has_to_exist():
    with pytest.raises(UserError, match="--insecure-no-auth: there are API keys"):
        access.decide("127.0.0.1", SOME, insecure=True)
    with pytest.raises(UserError, match="no such host"):
        access.decide("a..b", NONE, insecure=False)


def test_the_file_of_keys_stays_out_of_git():
    assert "/.api-keys" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_an_origin_with_a_path_is_an_error_in_one_line(tmp_path):
    refused = xraygen(tmp_path, "serve", "--cors-origin", "https://viewer.example/page")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "error: --cors-origin: an origin is a scheme and a host" in refused.stderr
