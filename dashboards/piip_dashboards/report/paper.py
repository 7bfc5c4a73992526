"""Prints a page as PDF with a browser of this machine."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from piip_search.errors import NoPaperError

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
"""Commands and paths of browsers that print without a screen; all are Chromium."""
PRINT_SECONDS = 120
"""Most seconds for printing."""


def find_browser(asked: str | None = None) -> str:
    """Finds a browser that can print.

    Args:
        asked: Its command or path; by default the first one found.

    Raises:
        NoPaperError: No browser was found.
    """
    found = next((path for path in map(shutil.which, [asked] if asked else BROWSERS) if path), None)
    if found is None:
        missing = f"no browser at {asked}" if asked else "no Chromium, Chrome or Edge was found on this machine"
        raise NoPaperError(
            f"{missing}; name one with --browser, or write the HTML report and print it from any browser"
        )
    return found


def print_page(page: str, browser: str) -> bytes:
    """The PDF of an HTML page that needs no other file.

    Raises:
        NoPaperError: The browser failed.
    """
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place) / "report.html", Path(place) / "report.pdf"
        source.write_text(page, encoding="utf-8")
        arguments = [
            browser,
            "--headless",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-pdf-header-footer",
            f"--user-data-dir={place}/profile",
            f"--print-to-pdf={target}",
            *_in_containers(),
            source.as_uri(),
        ]
        try:
            ended = subprocess.run(arguments, capture_output=True, text=True, timeout=PRINT_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoPaperError(f"{browser} printed nothing: {error}; print the HTML report from a browser") from None
        if not target.is_file():
            said = (ended.stderr.strip().splitlines() or ["it printed no error"])[-1]
            raise NoPaperError(f"{browser} printed nothing: {said}; print the HTML report from a browser")
        return target.read_bytes()


def _in_containers() -> list[str]:
    """Options for containers: Chromium's sandbox refuses the root user. The page is ours and has no script."""
    return ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
