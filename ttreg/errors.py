"""The exceptions that ttreg raises of its own."""


class TtregError(Exception):
    """Base of every exception that ttreg raises of its own."""


class SettingsError(TtregError, ValueError):
    """A keyword of `device_mode`, or its environment variable, is unknown or has a value that is not."""


class RegistryError(TtregError):
    """An entry is wrong in itself: it repeats another, names a packet, or names an argument that is not there."""


class PyTorchError(TtregError, ImportError):
    """PyTorch lacks a private name that ttreg needs, which the error names."""


class DeviceUnavailableError(TtregError):
    """The device that was asked for cannot be opened on this machine."""


class DeviceError(TtregError, RuntimeError):
    """The device, or ttnn on its behalf, refused a call that a lowering made."""


class LoweringError(TtregError, RuntimeError):
    """A lowering raised something of its own, or returned what the op's metadata does not say."""


class FallbackError(TtregError):
    """An op fell back to the host under `on_fallback="raise"`."""


class AccuracyError(TtregError):
    """A device op differs from the host's result by more than `check` allows.

    Beside the text it has the name of the `op` and of its `lowering`, the `pcc`, the largest differences `max_abs` and
    `max_ulp` (units in the last place of the dtype that the device carries), and a `snippet`: a program that repeats
    the call. Values that are not finite count apart: `pcc` is 0 if one side alone has some, `finite_pcc` is that of all
    others, `nans` and `infinities` say how many places have a NaN on one side only, or else an infinity.
    """

    op = ""
    lowering = ""
    pcc = finite_pcc = max_abs = max_ulp = float("nan")
    nans = infinities = 0
    snippet = ""


class ValidationError(TtregError):
    """Real ttnn on the mocked chip refused a call, or reports another shape, dtype or layout than the emulation."""


def first_line(error: Exception) -> str:
    """What an error says, in a line; its type if it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__
