"""A camera on the loopback that sends Motion JPEG over HTTP, well or badly.

Run as a process. Prints its port and ``accepted`` for each connection; ``silence``, ``repeat`` the
last picture, ``resume`` and ``hang up`` on standard input.
"""

from __future__ import annotations

import argparse
import base64
import socket
import sys
import threading
import time
from fractions import Fraction
from typing import Any

import av

from deblurrt.runtime.synthetic_source import SyntheticConfig, SyntheticPicture

BOUNDARY = "frame"


def jpeg_of(pixels: Any) -> bytes:
    context: Any = av.CodecContext.create("mjpeg", "w")
    context.height, context.width = pixels.shape[:2]
    context.pix_fmt, context.time_base = "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))


class State:
    is_silent = False
    repeats = False
    hangs_up = False

    def listen(self) -> None:
        for line in sys.stdin:
            self.obey(line)

    def obey(self, line: str) -> None:
        word = line.strip().partition(" ")[0]
        self.is_silent = {"silence": True, "resume": False}.get(word, self.is_silent)
        self.repeats = {"repeat": True, "resume": False}.get(word, self.repeats)
        self.hangs_up = self.hangs_up or word == "hang"


def answer(connection: socket.socket, state: State, arguments: argparse.Namespace) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        data = connection.recv(4096)
        if not data:
            return
        request += data
    expected = base64.b64encode(f"{arguments.user}:{arguments.password}".encode()).decode()
    if arguments.user and f"Basic {expected}".encode() not in request:
        connection.sendall(
            b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="c"\r\nContent-Length: 0\r\n\r\n'
        )
        connection.close()
        return
    if arguments.status:
        connection.sendall(f"HTTP/1.1 {arguments.status}\r\nContent-Length: 0\r\n\r\n".encode())
        connection.close()
        return
    connection.sendall(
        f"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary={BOUNDARY}\r\n\r\n".encode()
    )
    if arguments.endless_header:
        while True:
            connection.sendall(b"X-Filler: " + b"x" * 8192)
    send_pictures(connection, state, arguments)
    connection.close()


def send_pictures(connection: socket.socket, state: State, arguments: argparse.Namespace) -> None:
    height, _, width = arguments.size.partition("x")
    picture = SyntheticPicture(SyntheticConfig(size=(int(height), int(width)), blur_px=0))
    start_s, index, data = time.monotonic(), 0, b""
    while not state.hangs_up:
        time.sleep(max(0.0, start_s + index / arguments.fps - time.monotonic()))
        if not (data and state.repeats):
            data = jpeg_of(picture.frame_pixels(index, time.monotonic_ns()))
        index += 1
        if state.is_silent:
            continue
        boundary = f"--{BOUNDARY}\r\n".encode()
        length = len(data) + (37 if arguments.wrong_length else 0)
        header = b"Content-Type: image/jpeg\r\n"
        header += b"" if arguments.no_length else f"Content-Length: {length}\r\n".encode()
        is_bare = index == 1 and arguments.no_first_boundary
        connection.sendall((b"" if is_bare else boundary) + header + b"\r\n" + data + b"\r\n")


def quietly(*arguments: Any) -> None:
    try:
        answer(*arguments)
    except OSError:
        return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size", default="96x320")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--status", default="")
    parser.add_argument("--no-first-boundary", action="store_true")
    parser.add_argument("--no-length", action="store_true")
    parser.add_argument("--wrong-length", action="store_true")
    parser.add_argument("--endless-header", action="store_true")
    arguments, state = parser.parse_args(), State()
    with socket.create_server(("127.0.0.1", arguments.port)) as server:
        print(server.getsockname()[1], flush=True)
        threading.Thread(target=state.listen, daemon=True).start()
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            print("accepted", flush=True)
            threading.Thread(target=quietly, args=(connection, state, arguments), daemon=True).start()


if __name__ == "__main__":
    main()
