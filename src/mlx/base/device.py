"""Devices and streams.  There is one device, the CPU; all programs run in order on one queue,
and streams are labels on it."""

from __future__ import annotations

import contextlib
import enum
import itertools
import os
import platform
import threading
from typing import Any


class DeviceType(enum.Enum):
    """A kind of device."""

    cpu = 0
    gpu = 1

    def __repr__(self) -> str:
        return f"DeviceType.{self.name}"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return other == self if isinstance(other, Device) else self is other

    def __hash__(self) -> int:
        return hash(self.name)


class Device:
    """A device: its type and its number.

    >>> Device(DeviceType.cpu)
    Device(cpu, 0)
    """

    __slots__ = ("index", "type")

    def __init__(self, type: DeviceType, index: int = 0) -> None:
        if not isinstance(type, DeviceType):
            raise TypeError(f"[Device] Expected a device type such as mx.cpu, got {type!r}.")
        self.type = type
        self.index = index

    def __repr__(self) -> str:
        return f"Device({self.type.name}, {self.index})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DeviceType):
            return self.type is other
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


class Stream:
    """A label on the queue of programs."""

    __slots__ = ("device", "index")

    def __init__(self, device: Device, index: int) -> None:
        self.device = device
        self.index = index

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.device!r}, {self.index})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (self.device, self.index) == (
            other.device,
            other.index,
        )

    def __hash__(self) -> int:
        return hash((self.device, self.index))


class ThreadLocalStream(Stream):
    """A stream of its own for each thread."""

    __slots__ = ()


cpu = DeviceType.cpu
gpu = DeviceType.gpu
_numbers = itertools.count(1)
_first = Stream(Device(cpu), 0)
_local = threading.local()
_default = {"device": Device(cpu), "stream": _first}


def as_device(name: str, device: Any) -> Device:
    """The device meant.  Raises ValueError for a GPU, which no backend serves yet."""
    if isinstance(device, DeviceType):
        device = Device(device)
    if not isinstance(device, Device):
        raise TypeError(f"[{name}] Expected a device such as mx.cpu, got {device!r}.")
    if device.type is gpu:
        raise ValueError(
            f"[{name}] Cannot use a gpu without a gpu backend: this build runs on the CPU; use "
            "mx.cpu, or test mx.is_available(mx.gpu) first."
        )
    return device


def check_stream(name: str, stream: Any) -> None:
    """Accept what may be given as ``stream=``: None, a stream or a device."""
    if stream is not None and not isinstance(stream, Stream):
        as_device(name, stream)


def default_device() -> Device:
    """The device that operations run on."""
    return getattr(_local, "device", None) or _default["device"]  # type: ignore[return-value]


def set_default_device(device: Any) -> None:
    """Set the device that operations run on.  Raises ValueError for ``mx.gpu``."""
    _default["device"] = as_device("set_default_device", device)


def default_stream(device: Any) -> Stream:
    """The stream of a device that operations run on.  Raises ValueError for ``mx.gpu``."""
    as_device("default_stream", device)
    return getattr(_local, "stream", None) or _default["stream"]  # type: ignore[return-value]


def set_default_stream(stream: Stream) -> None:
    """Set the stream that operations run on."""
    if not isinstance(stream, Stream):
        raise TypeError(f"[set_default_stream] Expected a stream, got {stream!r}.")
    _default["stream"] = stream


def new_stream(device: Any) -> Stream:
    """A new stream of a device.  Raises ValueError for ``mx.gpu``."""
    return Stream(as_device("new_stream", device), next(_numbers))


new_thread_unsafe_stream = new_stream


def new_thread_local_stream(device: Any) -> ThreadLocalStream:
    """A stream of its own for each thread.  Raises ValueError for ``mx.gpu``."""
    return ThreadLocalStream(as_device("new_thread_local_stream", device), next(_numbers))


def clear_streams() -> None:
    """Make the first stream the default again."""
    _default["stream"] = _first


class StreamContext(contextlib.AbstractContextManager["StreamContext"]):
    """The default stream or device within a ``with`` block.

    >>> with StreamContext(cpu):
    ...     default_device()
    Device(cpu, 0)
    """

    def __init__(self, s: Stream | Device | DeviceType) -> None:
        self._stream = s if isinstance(s, Stream) else None
        self._device = s.device if isinstance(s, Stream) else as_device("stream", s)

    def __enter__(self) -> StreamContext:
        self._before = (getattr(_local, "device", None), getattr(_local, "stream", None))
        _local.device = self._device
        _local.stream = self._stream or self._before[1]
        return self

    def __exit__(self, exc_type: Any = None, exc_value: Any = None, traceback: Any = None) -> None:
        _local.device, _local.stream = self._before


def stream(s: Stream | Device | DeviceType) -> StreamContext:
    """A context in which ``s`` is the default stream or device."""
    return StreamContext(s)


def is_available(device: Any) -> bool:
    """Whether a device can be used: the CPU can."""
    return (device.type if isinstance(device, Device) else device) is cpu


def device_count(device_type: Any) -> int:
    """How many devices of a type there are."""
    return int(is_available(device_type))


def device_info(d: Any = None) -> dict[str, Any]:
    """Facts about a device: its name, architecture, memory in bytes and cores."""
    as_device("device_info", default_device() if d is None else d)
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "architecture": platform.machine(),
        "device_name": platform.processor() or platform.machine(),
        "memory_size": pages * page,
        "cores": os.cpu_count() or 1,
    }
