"""A client that compresses with zlib alone. RFC 7692"""

import zlib

from wire import BINARY, CONTINUATION, TEXT, Client, frame

RSV1 = 0x40
TAIL = b"\x00\x00\xff\xff"
FIELD = "Sec-WebSocket-Extensions"
PMD = "permessage-deflate"


class Deflated(Client):
    """@param offer   None: nothing is agreed on
    @param memory  zlib's memLevel: what one of many clients takes
    """

    def __init__(self, port: int, path="/", offer: str | None = PMD, memory: int = 8):
        super().__init__(port)
        answer = self.upgrade(path, **{FIELD: offer})
        assert answer.status == 101, answer
        self.answer_field = answer[FIELD.lower()] or ""
        params = dict(
            (part.strip().split("=") + [""])[:2] for part in self.answer_field.split(";")[1:]
        )
        self.keeps = "client_no_context_takeover" not in params
        self.host_keeps = "server_no_context_takeover" not in params
        self.bits = int(params.get("client_max_window_bits") or 15)
        self.host_bits = int(params.get("server_max_window_bits") or 15)
        self.memory = memory
        self.deflater = self.inflater = None
        self.packed: list[int] = []  # payload bytes of the compressed messages that came

    def pack(self, message: bytes) -> bytes:
        if self.deflater is None or not self.keeps:
            self.deflater = zlib.compressobj(9, zlib.DEFLATED, -max(self.bits, 9), self.memory)
        packed = self.deflater.compress(message) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        assert packed.endswith(TAIL)
        return packed[:-4]

    def say(self, message: bytes | str, pieces: int = 1) -> None:
        opcode = TEXT if isinstance(message, str) else BINARY
        data = self.pack(message.encode() if isinstance(message, str) else message)
        size = max(1, -(-len(data) // pieces))
        parts = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
        for i, part in enumerate(parts):
            first = RSV1 | opcode if i == 0 else CONTINUATION
            self.send(frame(first, part, fin=i == len(parts) - 1))

    def hear(self) -> tuple[int, bytes]:
        first, size = self.take(2)
        assert first & 0x30 == 0 and first & 0x80 and size < 128, (first, size)
        if size > 125:
            size = int.from_bytes(self.take(2 if size == 126 else 8))
        payload, opcode = self.take(size), first & 0x0F
        if first & RSV1:
            assert opcode in (TEXT, BINARY)
            if self.inflater is None or not self.host_keeps:
                self.inflater = zlib.decompressobj(-self.host_bits)
            self.packed.append(size)
            payload = self.inflater.decompress(payload + TAIL)
        return opcode, payload
