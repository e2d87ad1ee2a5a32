"""What stands in for ttnn's compiler: what it leaves behind, and that it fails where it cannot."""

from __future__ import annotations

import struct
import subprocess

import pytest

from ttreg.devices.null_kernel import null_kernel, stand_in_compiler


@pytest.fixture
def compiler(tmp_path):
    path = tmp_path / "riscv-tt-elf-g++"
    path.write_text(stand_in_compiler("it's 1.2.3[4] (100%)"))
    path.chmod(0o755)
    return path


def test_the_compiler_answers_with_the_version_it_was_given(compiler):
    answer = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout == "it's 1.2.3[4] (100%)\n"


def test_a_compilation_leaves_an_empty_object_and_its_dependencies(compiler, tmp_path):
    made, dependencies = tmp_path / "a b.o", tmp_path / "a b.d"
    subprocess.run([compiler, "-O2", "-MMD", "-c", "-o", made, "x.cc", "-MF", dependencies], check=True)
    assert made.read_bytes() == b""
    assert dependencies.read_text() == f"{made}:\n"


def test_a_link_leaves_the_null_kernel(compiler, tmp_path):
    made = tmp_path / "brisc.elf"
    subprocess.run([compiler, "-O2", "-T/x/kernel_brisc.ld", "-Wl,--emit-relocs", "x.o", "-o", made], check=True)
    assert made.read_bytes() == null_kernel()


@pytest.mark.parametrize(
    "options", [["-T/x/kernel.ld", "-o"], ["-c", "-o", "/dev/null", "-MF"]], ids=["link", "compile"]
)
def test_a_full_disk_fails_the_compiler(compiler, options):
    assert subprocess.run([compiler, *options, "/dev/full"], capture_output=True).returncode != 0


def test_the_null_kernel_is_an_executable_for_risc_v():
    kernel = null_kernel()
    kind, machine, _, entry, segments_at, sections_at = struct.unpack_from("<HHIIII", kernel, 16)
    assert kernel[:7] == b"\x7fELF\1\1\1"
    assert (kind, machine) == (2, 243)
    load, at, address, _, size, *_ = struct.unpack_from("<8I", kernel, segments_at)
    assert (load, address) == (1, entry)
    assert kernel[at : at + size] == bytes.fromhex("67800000")
    assert sections_at + 6 * 40 == len(kernel)
