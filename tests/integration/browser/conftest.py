"""A real browser on real pages; whatever a page complains of in its console fails the test."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

from integration.web.conftest import house, sandbox_side

__all__ = ["house", "sandbox_side"]

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 360, "height": 740}
STEP_MS = 10_000

OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    program = shutil.which("chromium")
    assert program is not None, "the pages are looked at with Debian's chromium: sudo apt-get install chromium"
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        await started.close()


@pytest.fixture
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens an address as somebody new, on a phone and in English unless told otherwise."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # A refusal's status is shown there too; the policy's and the scripts' complaints are what counts.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    async with AsyncExitStack() as stack:

        async def opened(address: str, **options: Any) -> Page:
            context = await browser.new_context(**{"viewport": PHONE, "locale": "en-US", **options})
            stack.push_async_callback(context.close)
            context.set_default_timeout(STEP_MS)
            page = await context.new_page()
            page.on("console", listen)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(address)
            return page

        yield opened
    assert complaints == []
