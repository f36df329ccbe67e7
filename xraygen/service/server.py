"""The process that speaks HTTP."""

from __future__ import annotations

import uvicorn

from xraygen.service.app import create_app
from xraygen.service.loaded import Loaded


def serve(loaded: Loaded, host: str, port: int) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        create_app(loaded),
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(loaded.options.grace),
    )
    uvicorn.Server(config).run()
