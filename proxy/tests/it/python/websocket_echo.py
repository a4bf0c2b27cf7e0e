"""A WebSocket service and a client of it, both of the package `websockets`.

websocket_echo.py serve                     prints its port and serves until its input ends
websocket_echo.py call ADDRESS [CA NAME]    talks, over TLS if an authority is named, and prints what came of it
"""

import json
import socket as sockets
import ssl
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve as listen


def echo(socket):
    for message in socket:
        if message == "bye":
            socket.close(4001, "as asked")
            return
        socket.send(message)


def serve():
    with listen(echo, "127.0.0.1", 0, max_size=None, subprotocols=["serin.test"]) as server:
        print(server.socket.getsockname()[1], flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
        server.serve_forever()


def call(address, authority=None, name=None):
    host, port = address.rsplit(":", 1)
    url, options = f"ws://{address}/", {}
    if authority:
        url, options = f"wss://{name}/", {"ssl": ssl.create_default_context(cafile=authority)}
    options["sock"] = sockets.create_connection((host, int(port)))
    with connect(url, max_size=None, subprotocols=["serin.test"], open_timeout=20, **options) as socket:
        came = {"subprotocol": socket.subprotocol}
        socket.send("hello")
        came["text"] = socket.recv(timeout=20)
        large = bytes(range(256)) * 4096
        socket.send(large)
        came["large"] = socket.recv(timeout=30) == large
        socket.send([b"in ", b"pieces"])
        came["pieces"] = socket.recv(timeout=20).decode()
        came["ping"] = socket.ping().wait(20)
        socket.send("bye")
        try:
            socket.recv(timeout=20)
        except ConnectionClosed as closed:
            came["closed"] = [closed.rcvd.code, closed.rcvd.reason]
    print(json.dumps(came))


serve() if sys.argv[1] == "serve" else call(*sys.argv[2:])
