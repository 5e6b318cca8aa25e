"""A TCP proxy in front of PostgreSQL that breaks connections at COMMIT.

    cut.py HOST PORT WHEN EVERY TIMES       WHEN: before the COMMIT reaches the server, or after it took effect

Every EVERY-th COMMIT, TIMES in all, is not answered. Prints "listening PORT" and then "cut NUMBER" for each.
"""
import asyncio
import sys

HOST, PORT, WHEN, EVERY, TIMES = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
seen = cuts = 0


def is_due():
    global seen, cuts
    seen += 1
    if seen % EVERY or cuts == TIMES:
        return False
    cuts += 1
    return True


async def pump(reader, writer, other, on_data):
    try:
        while data := await reader.read(65536):
            if not await on_data(data):
                break
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    for side in (writer, other):
        side.transport.abort()


async def serve(client_reader, client_writer):
    server_reader, server_writer = await asyncio.open_connection(HOST, PORT)
    is_withheld = False

    async def from_client(data):
        nonlocal is_withheld
        # A statement ends with a NUL wherever it stands in a message.
        if b"COMMIT\0" not in data or not is_due():
            return True
        if WHEN == "before":
            print("cut", cuts, flush=True)
            return False
        is_withheld = True
        return True

    async def from_server(data):
        if is_withheld and b"COMMIT\0" in data:
            print("cut", cuts, flush=True)
            return False
        return True

    await asyncio.gather(
        pump(client_reader, server_writer, client_writer, from_client),
        pump(server_reader, client_writer, server_writer, from_server),
    )


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
