"""The folder of caches is the user's own: nobody else can read it, change it, or put theirs in its place."""

from __future__ import annotations

import os
import stat

import pytest

from ttreg.caches import private_folder
from ttreg.devices.mock_chip import MockChipError, environment

ANOTHER_USER = 12345


@pytest.fixture
def give_away(monkeypatch):
    """Makes a file or link another user's: really so for root, else by being another user from now on."""

    def give(path):
        if os.geteuid() == 0:
            os.lchown(path, ANOTHER_USER, ANOTHER_USER)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: ANOTHER_USER)

    return give


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_can_read_what_is_made(tmp_path):
    before = os.umask(0)
    try:
        private_folder(tmp_path / "new" / "ttreg")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == mode(tmp_path / "new" / "ttreg") == 0o700


@pytest.mark.parametrize("before", [0o777, 0o775, 0o755])
def test_what_others_could_change_is_closed_to_them(before, tmp_path):
    (tmp_path / "ttreg").mkdir()
    (tmp_path / "ttreg").chmod(before)
    private_folder(tmp_path / "ttreg")
    assert mode(tmp_path / "ttreg") == 0o700


def test_another_users_folder_is_refused(give_away, tmp_path):
    (tmp_path / "ttreg").mkdir()
    give_away(tmp_path / "ttreg")
    with pytest.raises(PermissionError, match="ttreg belongs to another user"):
        private_folder(tmp_path / "ttreg")


@pytest.mark.parametrize("below", ["", "mine", "mine/ttreg"])
def test_another_users_link_is_not_followed(below, give_away, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    give_away(tmp_path / "link")
    with pytest.raises(PermissionError, match="link is another user's link"):
        private_folder(tmp_path / "link" / below)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_nor_is_one_behind_a_link_of_ones_own(give_away, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "theirs").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine").symlink_to("theirs")
    give_away(tmp_path / "theirs")
    with pytest.raises(PermissionError, match="another user's link"):
        private_folder(tmp_path / "mine" / "ttreg")


def test_ones_own_links_are_followed(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "mine").symlink_to("scratch")
    private_folder(tmp_path / "mine" / "ttreg")
    assert mode(tmp_path / "scratch" / "ttreg") == 0o700


def test_links_in_a_circle_are_an_error_of_the_file_system(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="symbolic links"):
        private_folder(tmp_path / "circle" / "ttreg")


def test_a_folder_in_which_anybody_can_rename_is_refused_unless_it_is_as_tmp_is(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PermissionError, match="anybody can rename what is in"):
        private_folder(tmp_path / "open" / "ttreg")
    (tmp_path / "open").chmod(0o1777)
    private_folder(tmp_path / "open" / "ttreg")


def test_the_mocked_chip_is_kept_in_such_a_folder(give_away, tmp_path, monkeypatch):
    monkeypatch.setenv("TTREG_CACHE_DIR", str(tmp_path / "ttreg"))
    before = os.umask(0)
    try:
        made = environment("blackhole")
    finally:
        os.umask(before)
    root = tmp_path / "ttreg"
    found = [root, *(path for path in root.rglob("*") if not path.is_symlink())]
    assert len(found) > 5
    assert {mode(path) & 0o077 for path in found} == {0}
    assert made["TT_METAL_CACHE"].startswith(str(root))
    give_away(root)
    with pytest.raises(MockChipError, match=r"ttreg belongs to another user.*TTREG_CACHE_DIR"):
        environment("blackhole")
