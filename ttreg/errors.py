"""The exceptions that ttreg itself raises."""


class TtregError(Exception):
    """The base of all exceptions that ttreg itself raises."""


class SettingsError(TtregError, ValueError):
    """A keyword of `device_mode`, its environment variable, or its line in pyproject.toml is unknown or invalid."""


class RegistryError(TtregError):
    """An entry is invalid: the op already has one, or it names a packet or an argument that the op lacks."""


class VersionError(TtregError, ImportError):
    """The installed torch or ttnn is older than those that ttreg supports."""


class PyTorchError(TtregError, ImportError):
    """PyTorch lacks a private name that ttreg needs, which the error names."""


class DeviceUnavailableError(TtregError):
    """The device that was asked for cannot be opened on this machine."""


class DeviceError(TtregError, RuntimeError):
    """The device, or ttnn on its behalf, refused a call that a lowering made, or answers no more.

    `lost` names the tensors whose only copy was on a device that answers no more.
    """

    lost: tuple[str, ...] = ()


class WeightsError(TtregError, RuntimeError, ValueError):
    """Weights cannot be loaded: a file is broken, names or shapes do not fit the model, or a dtype is unknown."""


class LoweringError(TtregError, RuntimeError):
    """A lowering raised an error of its own, or its result does not match the op's metadata."""


class FallbackError(TtregError):
    """An op fell back to the host under `on_fallback="raise"`."""


class AccuracyError(TtregError):
    """A device op differs from the host's result by more than `check` allows.

    Its attributes are the names of the `op` and of its `lowering`, the `pcc`, the largest differences `max_abs` and
    `max_ulp` (units in the last place of the dtype that the device carries), and a `snippet`: a program that repeats
    the call. Values that are not finite count separately. If one side alone has some, `pcc` is 0; `finite_pcc` is the
    PCC of the finite values. `nans` counts the places where only one side has a NaN; `infinities`, the other places
    where only one side has an infinity.
    """

    op = ""
    lowering = ""
    pcc = finite_pcc = max_abs = max_ulp = float("nan")
    nans = infinities = 0
    snippet = ""


class ValidationError(TtregError):
    """Real ttnn on the mocked chip refused a call, or reports another shape, dtype or layout than the emulation."""


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type if it has no text."""
    return str(error).partition("\n")[0] or type(error).__name__
