"""The page of a running sweep in headless Chromium: ``python benchmarks/dashboard.py`` -> docs/pictures/dashboard.png.

A sweep runs on the shipped model ``ch-jump``, partly outside its domain. Half way the page is opened, what it shows is
compared with the facts behind it, and the picture is taken. Needs ``chromium``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from common import ROOT
from common.runs import parser, sweep_blocks
from tornado.websocket import websocket_connect

PICTURE = ROOT / "docs" / "pictures" / "dashboard.png"
# Bokeh draws into shadow trees, which textContent leaves out.
LOOK = """(function text(node) {
    const inside = e => e.shadowRoot ? e.shadowRoot.textContent + text(e.shadowRoot) : '';
    return [...node.querySelectorAll('*')].map(inside).join(' ');
})(document)"""
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --window-size=1020,1010 --remote-debugging-port=0"
)


def configuration(folder: Path) -> dict[str, Any]:
    """A sweep of 96 points of which the last kappas are outside the model's domain."""
    return sweep_blocks(
        "dashboard",
        folder / "dashboard.zarr",
        grid={"shape": [64, 64]},
        parameters={"mobility": {"logspace": [0.5, 2, 8]}, "kappa": {"linspace": [0.5, 2.6, 12]}},
        realizations={"count": 2},
        times={"stop": 500, "count": 51},
        engine={"kind": "surrogate", "model": "ch-jump"},
        batch={"rollouts": 1},
        cluster={"kind": "local", "workers": 1},
        verify={"count": 3},
    )


class Browser:
    """A page of a headless browser, through its debugging protocol."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command; returns its result."""
        self._number += 1
        await self._socket.write_message(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await self._socket.read_message())
            if answer.get("id") == self._number:
                return dict(answer["result"])

    async def text(self) -> str:
        """What the page shows."""
        found = await self.call("Runtime.evaluate", expression=LOOK, returnByValue=True)
        return str(found["result"].get("value", ""))


async def look(url: str, picture: Path, wanted: list[str], seconds: float = 60.0) -> str:
    """Open a page, wait until it shows all that is wanted, take a picture.

    Raises:
        AssertionError: if it does not in time.
    """
    profile = tempfile.mkdtemp()
    program = subprocess.Popen(
        ["chromium", *FLAGS.split(), f"--user-data-dir={profile}", url], stderr=subprocess.DEVNULL
    )
    try:
        port_file = Path(profile, "DevToolsActivePort")
        while not port_file.exists():
            await asyncio.sleep(0.2)
        port = port_file.read_text().split()[0]
        page = None
        while page is None:
            pages = json.loads(urlopen(f"http://127.0.0.1:{port}/json", timeout=10).read())
            page = next((p for p in pages if p["type"] == "page"), None)
        browser = Browser(await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=2**26))
        until, text = time.monotonic() + seconds, ""
        while time.monotonic() < until and not all(word in text for word in wanted):
            await asyncio.sleep(0.5)
            text = await browser.text()
        missing = [word for word in wanted if word not in text]
        assert not missing, f"the page does not show {missing}: {text[:2000]}"
        await asyncio.sleep(1.5)
        shot = await browser.call("Page.captureScreenshot", format="png")
        picture.write_bytes(base64.b64decode(shot["data"]))
        return await browser.text()
    finally:
        program.kill()
        program.wait()
        shutil.rmtree(profile, ignore_errors=True)


def main() -> None:
    given = parser(__doc__)
    given.add_argument("--out", type=Path, default=PICTURE)
    options = given.parse_args()
    from sweeps import Sweep
    from sweeps.cluster.client import open_client

    folder = Path(tempfile.mkdtemp())
    sweep = Sweep.from_config(configuration(folder))
    try:
        with open_client(sweep.config.cluster, 1) as client:
            run = threading.Thread(target=sweep.run, args=(client, False))
            run.start()
            address = str(client.dashboard_link).replace("/status", "/phasetwin")
            facts: dict[str, Any] = {}
            while not facts or facts["states"]["done"] < 48:
                time.sleep(0.3)
                try:
                    found = json.loads(urlopen(f"{address}.json", timeout=10).read())["sweeps"]
                except OSError:
                    continue
                facts = found[0] if found else {}
            wanted = ["dashboard", "of 96 points", "points/s", "1 worker,", "samples inside its domain", "Failures"]
            text = asyncio.run(look(address, options.out, wanted))
            print(f"{options.out}: the page shows {wanted}; {len(text)} characters in all")
            run.join()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
