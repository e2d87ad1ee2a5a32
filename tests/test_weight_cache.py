"""The cache of weights in the device's form: who finds what, and what becomes of broken files and of too many."""

from __future__ import annotations

import multiprocessing
import os
import stat
import time
import warnings

import pytest
import torch
import ttnn
from safetensors.torch import save_file
from torch import nn

import ttreg
from ttreg.settings import Settings
from ttreg.weights.cache import WeightCache, checksum, digest
from ttreg.weights.files import WeightFile

X = torch.linspace(-1, 1, 64 * 64).reshape(64, 64)
DTYPES = {"*.weight": "bfloat8_b"}


def model(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)).eval()


@pytest.fixture
def path(tmp_path):
    """A file of weights, written long enough ago that its times tell when it changes."""
    path = tmp_path / "model.safetensors"
    save_file(model(0).state_dict(), path)
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def files(folder):
    return sorted(each for each in folder.glob("??/*") if each.is_file())


def run(path, folder, seed=1, device="emulated", **keywords):
    """What a model gives with weights from a file, and the device's value of its first weight."""
    net = model(seed)
    with torch.no_grad(), ttreg.device_mode(device=device, weight_cache=folder, **keywords) as session:
        ttreg.load(net, path, dtypes=DTYPES)
        found = net(X).clone()
        value = session.value(net[0].weight, block_float=True)
    return found, value


def test_the_second_program_finds_what_the_first_has_prepared(path, folder, monkeypatch):
    from ttreg.devices.emulated.weights import EmulatedForms

    plain, _ = run(path, None)
    first, _ = run(path, folder)
    kept = files(folder)
    assert len(kept) == 2
    monkeypatch.setattr(EmulatedForms, "prepare", None)  # nothing is prepared any more
    second, _ = run(path, folder)
    assert torch.equal(first, plain)
    assert torch.equal(second, plain)
    assert files(folder) == kept
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_mocked_chip_gets_the_tensor_that_ttnn_has_written(path, folder):
    anew = run(path, None, device="mock")[1]
    values = [anew, run(path, folder, device="mock")[1], run(path, folder, device="mock")[1]]
    assert len(files(folder)) == 2
    assert len({(str(value.dtype), str(value.layout), str(value.spec)) for value in values}) == 1


def test_the_files_of_a_mocked_chip_have_the_values_that_a_chip_would_hold(path, folder):
    run(path, folder, device="mock")
    found = [ttnn.to_torch(ttnn.load_tensor(each)) for each in files(folder)]
    wanted = [model(0)[n].weight.detach() for n in (0, 2)]
    for value in wanted:
        (same,) = [each for each in found if each.shape == value.shape]
        torch.testing.assert_close(same, value, rtol=0, atol=0.002)


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty"])
def test_a_broken_file_is_made_anew_with_a_warning(harm, path, folder):
    whole, _ = run(path, folder)
    kept = files(folder)
    content = kept[0].read_bytes()
    middle = len(content) // 2
    kept[0].write_bytes(
        {
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "cut": content[:middle],
            "empty": b"",
        }[harm]
    )
    with pytest.warns(RuntimeWarning, match="is broken .* the weight is prepared anew"):
        again, _ = run(path, folder)
    assert torch.equal(again, whole)
    assert files(folder) == kept
    assert kept[0].read_bytes() == content


def test_other_content_under_the_same_name_is_seen(path, folder):
    run(path, folder)
    save_file(model(5).state_dict(), path)  # of the same size
    found, _ = run(path, folder)
    assert torch.equal(found, run(path, None)[0])
    assert len(files(folder)) == 4


def test_hashes_are_kept_of_a_file_that_stays_as_it_was_alone(path, folder):
    cache = WeightCache(str(folder), 1 << 20)
    assert cache.usable
    for harm, kept in ((lambda: os.utime(path), 0), (path.unlink, 0), (lambda: None, 1)):
        if not path.exists():
            save_file(model(0).state_dict(), path)
        os.utime(path, (1e9, 1e9))
        time.sleep(0.1)  # what was just written to may be written to again in the same tick
        file = WeightFile(path)
        assert cache.digest_of(file, "0.weight", file.programs("0.weight")) == digest(model(0)[0].weight)
        harm()
        cache.write_digests(file)
        assert len(list(folder.glob("digests/*"))) == kept


def test_what_the_program_writes_before_the_first_use_is_seen(path, folder):
    run(path, folder)
    net = model(1)
    ttreg.load(net, path, dtypes=DTYPES)
    with torch.no_grad():
        net[0].weight.numpy()[:] = 0
        net[0].bias.zero_()
        with ttreg.device_mode(device="emulated", weight_cache=folder):
            assert not net[0](X).any()


def test_weights_that_were_not_loaded_are_kept_too(folder):
    net = model(0)
    ttreg.carry_in(net, "bfloat8_b")
    found = []
    for _ in range(2):
        with torch.no_grad(), ttreg.device_mode(device="emulated", weight_cache=folder):
            found.append(net(X).clone())
    assert torch.equal(*found)
    assert len(files(folder)) == 2


def test_each_form_has_a_file_of_its_own(path, folder):
    for keywords in ({}, {"precision": "bfloat16"}, {"arch": "blackhole"}):
        for dtypes in (DTYPES, {"*": "bfloat4_b"}):
            with ttreg.device_mode(device="emulated", weight_cache=folder, **keywords):
                ttreg.load(model(1), path, dtypes=dtypes)
    assert len(files(folder)) >= 2 * 2 * 2


def test_what_was_used_longest_ago_goes_first(folder):
    cache = WeightCache(str(folder), 250)
    assert cache.usable
    load = type(folder).read_bytes
    keys = [cache.key(n) for n in range(3)]

    def keep(key):
        assert cache.keep(key, ".raw", lambda path: path.write_bytes(b"x" * 100), load) == b"x" * 100

    keep(keys[0])
    keep(keys[1])
    for n, each in enumerate(files(folder)):
        os.utime(each, (1e9 + n, 1e9 + n))
    for each in folder.glob(f"*/{keys[0]}*"):
        os.utime(each, (1e9 - 1, 1e9 - 1))
    assert cache.find(keys[0], ".raw", load)  # so that it is the newest
    keep(keys[2])
    assert [cache.find(key, ".raw", load) is not None for key in keys] == [True, False, True]
    small = WeightCache(str(folder), 99)
    assert small.keep(keys[1], ".raw", lambda path: path.write_bytes(b"x" * 100), load)
    assert small.find(keys[1], ".raw", load) is None


def test_what_an_ended_process_left_unfinished_goes_and_what_another_writes_stays(folder):
    cache = WeightCache(str(folder), 1 << 20)
    assert cache.usable
    (folder / "ab").mkdir()
    old, new = folder / "ab" / ".unfinished-1-x", folder / "ab" / ".unfinished-2-y"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (1e9, 1e9))
    cache.keep(cache.key(1), ".raw", lambda path: path.write_bytes(b"x"), type(folder).read_bytes)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_folder_that_cannot_be_used_is_told_and_done_without(path, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match="no weights are kept in"):
        found, _ = run(path, tmp_path / "file" / "cache")
    assert torch.equal(found, run(path, None)[0])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_processes_that_start_together_find_whole_files(path, folder):
    run(path, None)  # what is imported first
    context = multiprocessing.get_context("fork")
    said = context.Queue()

    def start():
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            said.put(run(path, folder)[0].sum().item())

    processes = [context.Process(target=start) for _ in range(4)]
    for process in processes:
        process.start()
    sums = {said.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert sums == {run(path, None)[0].sum().item()}
    assert len(files(folder)) == 2


def test_the_setting_names_the_default_folder_or_another(monkeypatch, tmp_path):
    monkeypatch.setenv("TTREG_CACHE_DIR", str(tmp_path))
    for value, folder in [("1", tmp_path / "weights"), (True, tmp_path / "weights"), ("/a/b", "/a/b")]:
        settings = Settings.resolve({"weight_cache": value})
        assert str(WeightCache(settings.weight_cache, 1).folder) == str(folder)
    for value in ("0", "", None, False):
        assert Settings.resolve({"weight_cache": value}).weight_cache is None
    with pytest.raises(ttreg.SettingsError, match="weight_cache is 3; expected None, 1 for the default folder"):
        Settings.resolve({"weight_cache": 3})


def test_hashes_show_each_bit(tmp_path):
    path = tmp_path / "x"
    content = bytearray(8 * 512 * 2 + 11)
    path.write_bytes(content)
    seen = {checksum(path)}
    for place in (0, 7, 4095, 4096, 8000, len(content) - 1):
        changed = bytearray(content)
        changed[place] = 128
        path.write_bytes(changed)
        seen.add(checksum(path))
    path.write_bytes(content[:-1])
    assert len(seen | {checksum(path)}) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert digest(torch.zeros(2, 3)) != digest(torch.zeros(2, 3).neg())
