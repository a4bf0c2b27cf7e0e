"""A gRPC service and a client of it, both grpcio's: calls of all kinds, and the ways they end.

grpc_echo.py serve                          prints its port and serves until its input ends
grpc_echo.py call ADDRESS [CA NAME]         calls, over TLS if an authority is named, and prints what came of it
"""

import json
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "serin.Echo"


def unary(request, context):
    fields = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-first", "1"),))
    context.set_trailing_metadata((("x-last-bin", b"\x00\xff"),))
    return request + b" for " + fields.get("x-user", "nobody").encode()


def expand(request, context):
    for letter in request:
        yield bytes([letter])


def collect(requests, context):
    return b"".join(requests)


def chat(requests, context):
    for request in requests:
        yield b"re: " + request


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not “today”")


LEFT = threading.Semaphore(0)


def never(request, context):
    context.add_callback(LEFT.release)
    LEFT.acquire(timeout=30)
    return b"too late"


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(16))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Expand": grpc.unary_stream_rpc_method_handler(expand),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Never": grpc.unary_unary_rpc_method_handler(never),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


def status(call):
    """How a call ends, in words."""
    try:
        call()
        return "OK"
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


def ask(address, authority=None, name=None):
    if authority:
        credentials = grpc.ssl_channel_credentials(open(authority, "rb").read())
        channel = grpc.secure_channel(address, credentials, (("grpc.ssl_target_name_override", name),))
    else:
        channel = grpc.insecure_channel(address)
    path = f"/{SERVICE}/"
    one = channel.unary_unary(path + "Unary")
    answer, call = one.with_call(b"hello", metadata=(("x-user", "ada"),), timeout=20)
    came = {"unary": answer.decode(), "first": dict(call.initial_metadata()).get("x-first")}
    came["last"] = dict(call.trailing_metadata()).get("x-last-bin", b"").hex()
    came["expand"] = [piece.decode() for piece in channel.unary_stream(path + "Expand")(b"abc", timeout=20)]
    came["collect"] = channel.stream_unary(path + "Collect")(iter([b"a", b"b", b"c"]), timeout=20).decode()
    # Each message goes out when the answer to the one before is there.
    answered = threading.Semaphore(1)

    def messages():
        for message in (b"one", b"two"):
            answered.acquire()
            yield message

    came["chat"] = []
    for piece in channel.stream_stream(path + "Chat")(messages(), timeout=20):
        came["chat"].append(piece.decode())
        answered.release()
    large = bytes(3 << 20)
    came["large"] = len(channel.stream_unary(path + "Collect")(iter([large]), timeout=30))
    came["fail"] = status(lambda: channel.unary_unary(path + "Fail")(b"", timeout=20))
    came["unknown"] = status(lambda: channel.unary_unary(path + "Nothing")(b"", timeout=20)).split(":")[0]
    came["late"] = status(lambda: channel.unary_unary(path + "Never")(b"", timeout=0.3)).split(":")[0]
    cancelled = channel.unary_unary(path + "Never").future(b"")
    cancelled.cancel()
    came["cancelled"] = cancelled.code().name
    came["elsewhere"] = status(lambda: channel.unary_unary("/other.Service/Any")(b"", timeout=20)).split(":")[0]
    print(json.dumps(came))


serve() if sys.argv[1] == "serve" else ask(*sys.argv[2:])
