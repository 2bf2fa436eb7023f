"""TLS with a certificate of one's own; trustme makes one for this example."""

import ssl

import trio

import trioton


async def main() -> None:
    try:
        import trustme
    except ImportError:
        print("this example needs the package trustme: pip install trustme")
        return

    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)

    async with trioton.open_context("server") as server, trioton.open_context("client") as client:
        listener = await server.bind("tls://localhost:0", ssl_context=server_context)
        address = f"tls://localhost:{listener.port}"
        connection = await client.connect(address, ssl_context=client_context)

        secrets = trioton.PubChannel(server, "secrets")
        reader = trioton.SubChannel(client, "secrets")
        await secrets.send("nobody on the way can read this")
        print(await reader.receive())
        print("over", connection.transport)

    async with trioton.open_context("server") as server, trioton.open_context("stranger") as stranger:
        listener = await server.bind("tls://localhost:0", ssl_context=server_context)
        try:
            # The server logs a warning about this guest.
            await stranger.connect(f"tls://localhost:{listener.port}")
        except trioton.ConnectError:
            print("who does not trust the certificate stays outside")


if __name__ == "__main__":
    trio.run(main)
