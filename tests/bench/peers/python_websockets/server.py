"""Python's websockets with asyncio, one process: an echo at /echo; at /broadcast what anyone
sends goes to all.

    server.py [--deflate] [--tls CERT KEY]
"""

import argparse
import asyncio
import logging
import ssl

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

# As perigee has it: no context is kept, and a window of 4 KiB.
DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True, server_max_window_bits=12
)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--deflate", action="store_true")
    parser.add_argument("--tls", nargs=2)
    args = parser.parse_args()
    context = None
    if args.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*args.tls)
    members: set[ServerConnection] = set()

    async def handle(connection: ServerConnection) -> None:
        try:
            if connection.request.path != "/broadcast":
                async for message in connection:
                    await connection.send(message)
                return
            members.add(connection)
            async for message in connection:
                broadcast(members, message)
        except ConnectionClosed:
            pass
        finally:
            members.discard(connection)

    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    async with serve(
        handle,
        "127.0.0.1",
        0,
        ssl=context,
        compression=None,
        extensions=[DEFLATE] if args.deflate else None,
        ping_interval=None,
        backlog=4096,
    ) as server:
        print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


asyncio.run(main())
