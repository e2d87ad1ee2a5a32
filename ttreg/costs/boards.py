"""The figures of the boards that a bound on device time is made of, and where they are published."""

from __future__ import annotations

from dataclasses import dataclass

# A matrix engine multiplies 8 × 16 by 16 × 16 in a cycle, and needs so many cycles for it at each fidelity, says
# https://github.com/tenstorrent/tt-metal/blob/main/tech_reports/GEMM_FLOPS/GEMM_FLOPS.md
FLOPS_PER_CYCLE = 2 * 8 * 16 * 16
CYCLES = {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}


@dataclass(frozen=True)
class Board:
    """A board with one chip: its Tensix cores, their clock in Hz, and its DRAM's bytes per second."""

    name: str
    cores: int
    clock: float
    bandwidth: float
    source: str

    def flops(self, fidelity: str) -> float:
        """What all matrix engines together do in a second: a multiplication and an addition count as two."""
        return self.cores * self.clock * FLOPS_PER_CYCLE / CYCLES[fidelity]


# By the architecture of the chip.
BOARDS = {
    "wormhole_b0": Board("N150", 72, 1.0e9, 288e9, "https://docs.tenstorrent.com/aibs/wormhole/specifications.html"),
    "blackhole": Board("P150", 140, 1.35e9, 512e9, "https://docs.tenstorrent.com/aibs/blackhole/specifications.html"),
}


def board_of(arch: str) -> Board:
    """The board for an architecture; that of Wormhole if it is not known."""
    return BOARDS.get(arch, BOARDS["wormhole_b0"])
