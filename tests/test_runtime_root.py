"""The folder that ttnn takes for its installation: made once, mended where damaged, by many at once."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ttreg.devices import runtime_root
from ttreg.devices.null_kernel import null_kernel
from ttreg.devices.runtime_root import RuntimeRoot, drop_damaged_kernels

PROGRAM = "runtime/sfpi/bin/g++"


@pytest.fixture
def wheel(tmp_path):
    """A folder to link to."""
    for part in ("wheel/tt_metal", "wheel/runtime/hw"):
        (tmp_path / part).mkdir(parents=True)
    return tmp_path / "wheel"


@pytest.fixture
def layout(wheel):
    links = {name: str(wheel / name) for name in ("tt_metal", "runtime/hw")}
    return RuntimeRoot(links, {PROGRAM: "#!/bin/sh\n" + "echo something\n" * 20})


def contents(folder: Path) -> dict[str, str]:
    """Every entry below a folder: where it links to, its text and whether it can be run, or nothing."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = f"{os.access(path, os.X_OK)} {path.read_text(errors='replace')}"
        else:
            found[name] = ""
    return found


def test_it_holds_what_it_is_to_hold_and_is_left_alone_then(layout, tmp_path):
    root = tmp_path / "cache" / "root"
    layout.prepare(root)
    assert contents(tmp_path / "cache") == {
        "root": "",
        **{f"root/{name}": target for name, target in layout.links.items()},
        **{f"root/{parent}": "" for parent in ("runtime", "runtime/sfpi", "runtime/sfpi/bin")},
        f"root/{PROGRAM}": f"True {layout.programs[PROGRAM]}",
    }
    stamps = {path: path.lstat().st_mtime_ns for path in root.rglob("*")}
    layout.prepare(root)
    assert {path: path.lstat().st_mtime_ns for path in root.rglob("*")} == stamps


def test_the_digest_tells_contents_apart(layout):
    others = [
        RuntimeRoot({**layout.links, "ttnn": "/elsewhere"}, layout.programs),
        RuntimeRoot({**layout.links, "tt_metal": "/elsewhere"}, layout.programs),
        RuntimeRoot(layout.links, {PROGRAM: "another"}),
        layout,
    ]
    assert len({other.digest() for other in others}) == 4
    assert RuntimeRoot(dict(reversed(layout.links.items())), layout.programs).digest() == layout.digest()


def remove(path):
    path.unlink()


def cut_short(path):
    path.write_text(path.read_text()[:100])


def make_binary(path):
    path.write_bytes(b"\xff\xfe")


def not_a_program(path):
    path.chmod(0o644)


def point_elsewhere(path):
    path.unlink()
    path.symlink_to("/nonexistent")


def make_a_folder(path):
    path.unlink()
    (path / "something").mkdir(parents=True)


def make_a_file(path):
    shutil.rmtree(path)
    path.write_text("something")


def link_into_the_wheel(path):
    shutil.rmtree(path)
    path.symlink_to(path.parents[1] / "wheel" / path.name)


@pytest.mark.parametrize(
    ("damage", "entry"),
    [
        (remove, "tt_metal"),
        (remove, "runtime/hw"),
        (remove, PROGRAM),
        (cut_short, PROGRAM),
        (make_binary, PROGRAM),
        (not_a_program, PROGRAM),
        (point_elsewhere, "tt_metal"),
        (point_elsewhere, PROGRAM),
        (make_a_folder, "tt_metal"),
        (make_a_folder, PROGRAM),
        (make_a_file, "runtime/sfpi"),
        (make_a_file, ""),
        (shutil.rmtree, "runtime"),
        (shutil.rmtree, ""),
        (link_into_the_wheel, "runtime"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_damage_is_mended(damage, entry, layout, tmp_path):
    root = tmp_path / "root"
    layout.prepare(root)
    before = contents(tmp_path)
    damage(root / entry)
    assert contents(tmp_path) != before
    layout.prepare(root)
    assert contents(tmp_path) == before


def test_many_may_make_it_and_mend_it_at_once(layout, tmp_path):
    root = tmp_path / "cache" / "root"
    layout.prepare(root)
    whole = contents(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        for damaged in (root.parent, root, root / "runtime") * 5:
            shutil.rmtree(damaged)
            list(pool.map(layout.prepare, [root] * 32))
            assert contents(tmp_path) == whole


@pytest.mark.parametrize("existing", [False, True], ids=["made", "mended"])
def test_a_full_disk_leaves_no_half(existing, layout, tmp_path, monkeypatch):
    root = tmp_path / "cache" / "root"
    if existing:
        layout.prepare(root)
        remove(root / PROGRAM)
    root.parent.mkdir(exist_ok=True)
    before = contents(tmp_path)

    def full(text, path):
        path.write_text(text[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(runtime_root, "_write_program", full)
        with pytest.raises(OSError, match="No space left on device"):
            layout.prepare(root)
    assert contents(tmp_path) == before
    layout.prepare(root)


def test_only_finished_kernels_of_the_wrong_size_are_dropped(tmp_path):
    folder = tmp_path / "kernels" / "reader" / "123" / "ncrisc"
    folder.mkdir(parents=True)
    whole, short, started = folder / "ncrisc.elf", folder / "trisc0.elf", folder / "ncrisc.456_78.elf"
    whole.write_bytes(null_kernel())
    short.write_bytes(null_kernel()[:-1])
    started.write_bytes(b"")
    drop_damaged_kernels(tmp_path)
    assert whole.exists()
    assert not short.exists()
    assert started.exists()
