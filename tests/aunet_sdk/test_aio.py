"""aunet_sdk.aio: results in an event loop, cancellation, and threads that end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing

import numpy as np
import pytest

from aunet_sdk import AUNetError, Detector, Frame, FrameResult, InvalidInput, SourceLost, aio

from .streams import clip, probabilities


def frames(count: int = 30, error: BaseException | None = None) -> Iterator[Frame]:
    for i, (image, time_s) in enumerate(clip(count)):
        yield Frame(image, time_s, i)
    if error is not None:
        raise error


def threads() -> int:
    return sum(thread.name == "aunet-aio" for thread in threading.enumerate())


def test_the_same_results_while_the_loop_goes_on(detector: Detector, reference: list[FrameResult]) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    async def main() -> list[FrameResult]:
        other = asyncio.create_task(others())
        found = [result async for result in aio.results(detector, frames(), capacity=2)]
        other.cancel()
        return found

    found = asyncio.run(main())
    assert np.array_equal(probabilities(found), probabilities(reference)) and turns > 3 and not threads()


def test_two_streams_at_once(detector: Detector, reference: list[FrameResult]) -> None:
    async def one() -> list[FrameResult]:
        return [result async for result in aio.results(detector, frames())]

    async def main() -> list[list[FrameResult]]:
        return await asyncio.gather(one(), one())

    for found in asyncio.run(main()):
        assert np.array_equal(probabilities(found), probabilities(reference))


def test_an_error_comes_after_the_results_before_it(detector: Detector) -> None:
    async def main() -> int:
        count = 0
        with pytest.raises(SourceLost, match="cable"):
            async for _ in aio.results(detector, frames(12, SourceLost("the cable"))):
                count += 1
        return count

    assert asyncio.run(main()) == 12 and not threads()


def test_a_task_that_is_cancelled_while_it_waits_loses_nothing(detector: Detector) -> None:
    gate = threading.Event()

    def source() -> Iterator[Frame]:
        gate.wait()
        yield from frames(12)

    async def main() -> list[int]:
        async with aio.Results(detector, source()) as results:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(results), 0.05)
            gate.set()
            return [result.index async for result in results]

    assert asyncio.run(main()) == list(range(12))


@pytest.mark.parametrize("taken", [0, 1])
def test_leaving_early_ends_the_thread(detector: Detector, taken: int) -> None:
    async def main() -> None:
        async with aclosing(aio.results(detector, frames(), look_ahead="none", capacity=1)) as results:
            async for _ in results:
                if taken:
                    break
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                await asyncio.sleep(1)

    if taken:
        asyncio.run(main())
    else:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())
    assert not threads()


def test_what_cannot_be_read(detector: Detector) -> None:
    with pytest.raises(InvalidInput):
        aio.Results(detector, "none.mp4")
    with pytest.raises(InvalidInput):
        aio.Results(detector, 1.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        aio.Results(detector, frames(), capacity=0)
    results = aio.Results(detector, frames(3))

    async def first() -> None:
        await anext(results)

    asyncio.run(first())
    with pytest.raises(AUNetError, match="another event loop"):
        asyncio.run(first())
    asyncio.run(results.aclose())


def test_a_picture(detector: Detector) -> None:
    image = clip(1)[0][0]
    found = asyncio.run(aio.detect(detector, image))
    assert np.array_equal(found.boxes, detector.detect(image).boxes) and len(found.faces) == 1
