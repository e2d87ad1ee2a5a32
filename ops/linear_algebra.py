"""Decompositions of matrices and Fourier transforms, which ttnn does not have."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, rand

aten = torch.ops.aten

NO_FACTORISATION = "ttnn factorises no matrices"
COMPLEX = "ttnn has no complex tensors with a Fourier transform"


def definite():
    matrix = rand(4, 4)
    yield Sample(matrix @ matrix.T + torch.eye(4))


def systems():
    matrix = rand(4, 4)
    yield Sample(matrix @ matrix.T + torch.eye(4), rand(4, 2))


cpu_only(
    aten.linalg_cholesky_ex.default,
    aten.linalg_inv_ex.default,
    aten.linalg_qr.default,
    aten._linalg_det.default,
    aten._linalg_eigh.default,
    aten._linalg_svd.default,
    aten.linalg_lu_factor_ex.default,
    because=NO_FACTORISATION,
    samples=definite,
)
cpu_only(aten._linalg_solve_ex.default, because=NO_FACTORISATION, samples=systems)
cpu_only(aten._fft_r2c.default, because=COMPLEX, samples=lambda: [Sample(rand(8), [0], 0, True)])
cpu_only(
    aten._fft_c2c.default, because=COMPLEX, samples=lambda: [Sample(torch.complex(rand(8), rand(8)), [0], 0, True)]
)
cpu_only(aten._fft_c2r.default, because=COMPLEX, samples=lambda: [Sample(torch.complex(rand(5), rand(5)), [0], 2, 8)])
