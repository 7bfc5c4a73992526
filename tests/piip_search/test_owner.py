"""Whose a process's work is."""

import os
import pwd
import socket

import pytest

from piip_search.owner import Owner, this_owner


def test_the_owner_is_the_user_of_the_process_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "somebody-else")
    monkeypatch.delenv("PIIP_SEARCH_OWNER", raising=False)
    assert this_owner() == Owner(pwd.getpwuid(os.geteuid()).pw_name, socket.gethostname())


def test_a_driver_on_a_cluster_acts_for_the_user_who_submitted_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIIP_SEARCH_OWNER", "alice@laptop")
    assert this_owner() == Owner("alice", "laptop")


@pytest.mark.parametrize("owner", [Owner("alice", "laptop"), Owner("alice"), Owner()])
def test_an_owner_is_read_as_it_is_written(owner: Owner) -> None:
    assert Owner.parse(str(owner)) == owner


def test_a_user_is_the_same_on_every_machine_and_an_unknown_one_is_nobody() -> None:
    assert Owner("alice", "a").is_same_user(Owner("alice", "b"))
    assert not Owner("alice", "a").is_same_user(Owner("bob", "a"))
    assert not Owner("", "a").is_same_user(Owner("", "a"))
