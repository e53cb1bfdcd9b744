"""Texts that become objects on several threads."""

from __future__ import annotations

import ctypes
import gc
import threading

import pytest

from mlx.backend.llvm import jit
from mlx.backend.llvm.emission import Emission, emit_object

TEXTS = {
    f"key {i}": f"define i64 @f(i64 %x) {{\n %y = add i64 %x, {i}\n ret i64 %y\n}}\n"
    for i in range(20)
}


def helpers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "mlx compiler"]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_objects_do_not_depend_on_threads(threads: int) -> None:
    with Emission(threads) as emission:
        for key, text in TEXTS.items():
            emission.add(key, text)
        objects = emission.objects()
    assert objects == {key: emit_object(text) for key, text in TEXTS.items()}
    assert not helpers()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_text_that_is_wrong(threads: int) -> None:
    with Emission(threads) as emission, pytest.raises(RuntimeError, match="parsing"):
        for key, text in TEXTS.items():
            emission.add(key, text)
        emission.add("wrong", "define nonsense")
        emission.objects()
    assert not helpers()


def test_an_interruption_ends_the_helpers() -> None:
    with pytest.raises(KeyboardInterrupt), Emission(3) as emission:
        for key, text in TEXTS.items():
            emission.add(key, text)
        raise KeyboardInterrupt
    assert not helpers()


def test_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Emission(4) as emission:
        for key, text in TEXTS.items():
            emission.add(key, text)
        assert len(emission.objects()) == len(TEXTS)


def test_many_threads_compile_what_shares_routines() -> None:
    def source(i: int) -> jit.Source:
        text = (
            "declare i64 @shared_by_a_test(i64)\n"
            f"define i64 @user{i}(i64 %x) {{\n %y = call i64 @shared_by_a_test(i64 {i})\n"
            " ret i64 %y\n}\n"
        )
        routine = "define i64 @shared_by_a_test(i64 %x) {\n ret i64 %x\n}\n"
        return jit.Source(text, {"shared_by_a_test": lambda: routine})

    failures = []

    def compile_some(first: int) -> None:
        try:
            keys = {f"user{i}": lambda i=i: source(i) for i in range(first, first + 4)}
            assert len(dict(jit.compile_all(keys, lambda key: {key: key}, 2))) == 4
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=compile_some, args=(4 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_code_outlives_its_linker() -> None:
    text = "define i64 @kernel(i64 %x) {\n %y = mul i64 %x, 3\n ret i64 %y\n}\n"
    image = emit_object(text)
    first = jit.link(image, ["kernel"])
    others = [jit.link(image, ["kernel"]) for _ in range(2 * jit.LINKS)]
    del others
    gc.collect()
    triple = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(first.address("kernel"))
    assert triple(14) == 42
