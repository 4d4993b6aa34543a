"""What a Parquet file says of itself, read without its library, which ends the process over some that are damaged."""

from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


class Thrift:
    """Values of Thrift's compact protocol, one after the other: bytes, whole numbers, lists and structs.

    The form: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. What is cut short or
    of an unknown type raises LookupError or RecursionError.

    Example:
        >>> Thrift(bytes([0x15, 0x0A, 0x18, 0x01, 0x61, 0x00])).struct()
        {1: 5, 2: b'a'}
    """

    def __init__(self, content: bytes):
        self._content, self._at = content, 0

    @property
    def read(self) -> int:
        """Bytes of what was read so far."""
        return self._at

    def struct(self) -> dict[int, Any]:
        """The fields of a struct by their numbers."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._whole()
            kind = head & 15
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._whole()
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._value(head & 15) for _ in range(count)]
        if kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            return [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(count)]
        size = {_TRUE: 1, _FALSE: 1, _BYTE: 1, _DOUBLE: 8}[kind] if kind != _BINARY else self._varint()
        self._at += size
        if self._at > len(self._content):
            raise IndexError("cut short")
        return self._content[self._at - size : self._at]

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def _whole(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)
