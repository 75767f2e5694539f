"""A camera on the loopback: RTSP, H.264 over TCP, one viewer at a time, and every fault on command.

Run as a process, so that it can be killed and frozen. Prints its port; takes commands on standard input:
``silence``, ``resume``, ``size HxW``, ``lose SHARE``, ``corrupt SHARE``, ``hang up``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from deblurrt.runtime.synthetic_source import SyntheticConfig, SyntheticPicture
from deblurrt.runtime.time_code import CODE_SIZE, paint_time_code

CLOCK_HZ = 90_000
PAYLOAD_BYTES = 1400
REALM, NONCE = "camera", "5f3a"


class Faults:
    """What is wrong at the moment; set by commands, read by the stream."""

    def __init__(self, size: tuple[int, int], lose: float, corrupt: float) -> None:
        self.size, self.lose, self.corrupt = size, lose, corrupt
        self.is_silent = self.hangs_up = False

    def listen(self) -> None:
        for line in sys.stdin:
            self.obey(line)

    def obey(self, line: str) -> None:
        word, _, value = line.strip().partition(" ")
        if word == "silence":
            self.is_silent = True
        elif word == "resume":
            self.is_silent = False
        elif word == "size":
            height, _, width = value.partition("x")
            self.size = int(height), int(width)
        elif word == "lose":
            self.lose = float(value)
        elif word == "corrupt":
            self.corrupt = float(value)
        elif word == "hang":
            self.hangs_up = True


def encoder_for(size: tuple[int, int], fps: float) -> Any:
    context: Any = av.CodecContext.create("libx264", "w")
    context.height, context.width = size
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1, CLOCK_HZ)
    context.framerate = Fraction(fps).limit_denominator(1000)
    options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "g": str(round(fps)), "threads": "1"}
    context.options = {**options, "x264-params": "repeat-headers=1:colorprim=bt709:transfer=bt709:colormatrix=bt709"}
    return context


class YuvPictures:
    """The synthetic picture, converted once: a frame costs a copy, so that its age is not the server's."""

    def __init__(self, size: tuple[int, int]) -> None:
        picture = SyntheticPicture(SyntheticConfig(size=size))
        twice = np.concatenate([picture.frame_pixels(0)] * 2, axis=1)
        frame = av.VideoFrame.from_ndarray(twice, format="rgb24").reformat(format="yuv420p", dst_colorspace=1)
        self._planes = [
            np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size).copy() for plane in frame.planes
        ]
        self._size = size

    def frame(self, index: int, time_ns: int) -> av.VideoFrame:
        height, width = self._size
        start = 4 * index % width
        code = np.zeros((*CODE_SIZE, 3), np.uint8)
        paint_time_code(code, time_ns)
        frame = av.VideoFrame(width, height, "yuv420p")
        for place, (plane, source) in enumerate(zip(frame.planes, self._planes, strict=True)):
            scale = 2 if place else 1
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            rows[: height // scale, : width // scale] = source[: height // scale, start // scale :][:, : width // scale]
            # limited range: 16 is black, 235 white, 128 without colour
            rows[: CODE_SIZE[0] // scale, : CODE_SIZE[1] // scale] = 128 if place else code[..., 0] // 255 * 219 + 16
        return frame


def units_of(data: bytes) -> list[bytes]:
    """The NAL units of one picture in Annex B form."""
    parts = re.split(rb"\x00\x00\x00?\x01", data)
    return [part for part in parts if part]


def payloads_of(unit: bytes) -> Iterator[bytes]:
    """One unit as RTP payloads, in fragments where it is long (RFC 6184)."""
    if len(unit) <= PAYLOAD_BYTES:
        yield unit
        return
    indicator, kind, body = unit[0] & 0xE0 | 28, unit[0] & 0x1F, unit[1:]
    for start in range(0, len(body), PAYLOAD_BYTES):
        part = body[start : start + PAYLOAD_BYTES]
        is_first, is_last = start == 0, start + PAYLOAD_BYTES >= len(body)
        yield bytes([indicator, is_first << 7 | is_last << 6 | kind]) + part


def damaged(payload: bytes) -> bytes:
    """A payload whose beginning still says what it is."""
    return payload[:20] + bytes(byte ^ 0x5A for byte in payload[20:])


class Streamer:
    """Sends pictures to one viewer until the connection or the server ends."""

    def __init__(self, connection: socket.socket, faults: Faults, arguments: argparse.Namespace) -> None:
        self._connection, self._faults, self._arguments = connection, faults, arguments
        self._sequence = arguments.first_sequence
        self._rng = random.Random(arguments.seed)

    def run(self) -> None:
        size: tuple[int, int] | None = None
        start_s, index = time.monotonic(), 0
        fps = self._arguments.fps
        while not self._faults.hangs_up:
            if size != self._faults.size:
                size = self._faults.size
                picture = YuvPictures(size)
                encoder = encoder_for(size, fps)
            time.sleep(max(0.0, start_s + index / fps - time.monotonic()))
            frame = picture.frame(index, time.monotonic_ns())
            frame.pts, frame.time_base = round(index * CLOCK_HZ / fps), Fraction(1, CLOCK_HZ)
            data = b"".join(bytes(packet) for packet in encoder.encode(frame))
            index += 1
            if not self._faults.is_silent:
                self._send_picture(data, frame.pts + self._arguments.first_stamp)
        self._connection.shutdown(socket.SHUT_RDWR)

    def _send_picture(self, data: bytes, stamp: int) -> None:
        payloads = [payload for unit in units_of(data) for payload in payloads_of(unit)]
        out = bytearray()
        for place, payload in enumerate(payloads):
            marker = place == len(payloads) - 1 and not self._arguments.no_marker
            header = struct.pack(">BBHII", 0x80, marker << 7 | 96, self._sequence & 0xFFFF, stamp & 0xFFFFFFFF, 0x1234)
            self._sequence += 1
            if self._rng.random() < self._faults.lose:
                continue
            is_damaged = self._rng.random() < self._faults.corrupt
            packet = header + (damaged(payload) if is_damaged else payload)
            out += struct.pack(">cBH", b"$", 0, len(packet)) + packet
        self._connection.sendall(out)


class Session:
    """One RTSP connection."""

    def __init__(self, connection: socket.socket, faults: Faults, arguments: argparse.Namespace) -> None:
        self._connection, self._faults, self._arguments = connection, faults, arguments

    def run(self) -> None:
        reader = self._connection.makefile("rb")
        while True:
            first = reader.read(1)
            if not first:
                return
            if first == b"$":
                _, length = struct.unpack(">BH", reader.read(3))
                reader.read(length)
                continue
            lines = [first + reader.readline()]
            while (line := reader.readline().strip()) != b"":
                lines.append(line)
            if self._arguments.mute:
                continue
            self._answer(lines[0].decode().split()[0], dict(line.decode().split(": ", 1) for line in lines[1:]))

    def _answer(self, method: str, headers: dict[str, str]) -> None:
        number = headers.get("CSeq", "0")
        status, extra, body = "200 OK", [], ""
        if method == "OPTIONS":
            extra.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif not self._admits(method, headers.get("Authorization", "")):
            status, challenge = "401 Unauthorized", f'WWW-Authenticate: Digest realm="{REALM}", nonce="{NONCE}"'
            extra.append(
                f'WWW-Authenticate: Basic realm="{REALM}"' if self._arguments.authentication == "basic" else challenge
            )
        elif method == "DESCRIBE":
            status, extra, body = self._describe()
        elif method == "SETUP":
            if "TCP" not in headers.get("Transport", ""):
                status = "461 Unsupported Transport"
            else:
                extra += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1;timeout=60"]
        elif method in ("PLAY", "GET_PARAMETER"):
            extra.append("Session: 1")
        text = "\r\n".join([f"RTSP/1.0 {status}", f"CSeq: {number}", *extra, f"Content-Length: {len(body)}", "", body])
        self._connection.sendall(text.encode())
        if method == "PLAY" and not self._arguments.no_media:
            streamer = Streamer(self._connection, self._faults, self._arguments)
            threading.Thread(target=quietly, args=(streamer.run,), daemon=True).start()

    def _describe(self) -> tuple[str, list[str], str]:
        if self._arguments.status:
            return self._arguments.status, [], ""
        codec = self._arguments.codec
        sdp = [
            "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=test", "c=IN IP4 0.0.0.0", "t=0 0",
            "m=video 0 RTP/AVP 96", f"a=rtpmap:96 {codec}/{CLOCK_HZ}", "a=control:streamid=0",
        ]  # fmt: skip
        if codec == "H264":
            sdp.insert(7, "a=fmtp:96 packetization-mode=1")
        return "200 OK", ["Content-Type: application/sdp"], "\r\n".join([*sdp, ""])

    def _admits(self, method: str, given: str) -> bool:
        """Whether the user and password are right, in either scheme (RFC 2617)."""
        user, password = self._arguments.user, self._arguments.password
        if not user:
            return True
        if given.startswith("Basic "):
            return base64.b64decode(given[6:]).decode() == f"{user}:{password}"
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', given))
        secret = hashlib.md5(f"{user}:{REALM}:{password}".encode()).hexdigest()
        place = hashlib.md5(f"{method}:{fields.get('uri', '')}".encode()).hexdigest()
        expected: str = hashlib.md5(f"{secret}:{NONCE}:{place}".encode()).hexdigest()
        return fields.get("response") == expected


def quietly(function: Any) -> None:
    """Run until the connection breaks, which is what these connections are for."""
    try:
        function()
    except OSError:
        return


def serve(arguments: argparse.Namespace) -> None:
    height, _, width = arguments.size.partition("x")
    faults = Faults((int(height), int(width)), arguments.lose, arguments.corrupt)
    with socket.create_server(("127.0.0.1", arguments.port)) as server:
        print(server.getsockname()[1], flush=True)
        threading.Thread(target=faults.listen, daemon=True).start()
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            print("accepted", flush=True)
            threading.Thread(target=quietly, args=(Session(connection, faults, arguments).run,), daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size", default="96x320")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--authentication", choices=["basic", "digest"], default="digest")
    parser.add_argument("--status", default="", help="answer to DESCRIBE, such as '404 Not Found'")
    parser.add_argument("--codec", default="H264")
    parser.add_argument("--mute", action="store_true", help="accept and never answer")
    parser.add_argument("--no-media", action="store_true", help="answer PLAY and send nothing")
    parser.add_argument("--no-marker", action="store_true")
    parser.add_argument("--lose", type=float, default=0.0, help="share of packets left out")
    parser.add_argument("--corrupt", type=float, default=0.0, help="share of packets damaged")
    parser.add_argument("--first-sequence", type=int, default=0)
    parser.add_argument("--first-stamp", type=int, default=0)
    serve(parser.parse_args())


if __name__ == "__main__":
    main()
