"""Reads the elements of a DICOM data set, as devices really write them.

PS3.5 chapter 7 says how an element begins: with or without a value representation, and with a
length of 16 or 32 bits. Devices mix these forms within one file, write representations that do not
exist, and write wrong lengths. So no form is trusted: each element is read in the form after which
another element begins; the form of the standard is tried first. The content of sequences is
skipped, without recursion.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from claraedge.inbox.inspection.dicom_bytes import ByteSource, TooLongError

#: Elements read of a file, including those in sequences, before it is given up.
MAX_ELEMENTS = 200_000

#: Remedy for files whose UIDs lie behind more elements than are read.
WITHOUT_PRIVATE = "export or send it again without private elements"

PIXELS, _LAST_GROUP = 0x7FE00000, 0x7FE0
UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
#: Longest plausible value (bytes) before the pixels, unless the form of its element is certain.
_LONG_VALUE = 1 << 28

#: Value representations with a length of 32 bits (PS3.5 7.1.2), and all the others.
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
REPRESENTATIONS = _LONG | _SHORT


#: Bytes of an element's header, and of its value.
_Form: TypeAlias = tuple[int, int]


class Order:
    """A byte order: how to unpack numbers, and the bytes of the delimiters in it."""

    def __init__(self, sign: str) -> None:
        self.head = struct.Struct(sign + "HHI").unpack_from
        self.short = struct.Struct(sign + "H").unpack_from
        self.long = struct.Struct(sign + "I").unpack_from
        self.item = struct.pack(sign + "HH", 0xFFFE, 0xE000)
        self.item_end = struct.pack(sign + "HH", 0xFFFE, 0xE00D)
        self.sequence_end = struct.pack(sign + "HH", 0xFFFE, 0xE0DD)


LITTLE, BIG = Order("<"), Order(">")
_SEQUENCES = {first: o for o in (LITTLE, BIG) for first in (o.item, o.sequence_end)}


class UnreadableError(Exception):
    """The elements of a file end early, or cannot be read any further."""

    def __init__(self, reason: str, *, cut: bool = False, other: bool = False) -> None:
        """`reason`: a text that follows the file's name. `cut`: the file seems to be truncated.

        `other`: it is certainly no file of a study.
        """
        super().__init__(reason)
        self.reason = reason
        self.cut = cut
        self.other = other


class Element(NamedTuple):
    """The offsets of an element and its value, in bytes."""

    tag: int
    place: int
    start: int
    """Offset at which its value begins."""
    length: int
    """Bytes of its value; UNDEFINED: it is a sequence that ends with a delimiter."""
    followed: bool = True
    """It is followed by something that may be an element, or by the end."""


@dataclass(slots=True)
class _Scope:
    """A data set, an item, or a sequence of them, that is being read."""

    order: Order
    implicit: bool
    """Elements without a value representation are expected."""
    last: int = 0
    """The last tag read in it; for a sequence, its own tag."""
    is_sequence: bool = False


def shown(tag: int) -> str:
    """Returns a tag in the notation of documents: (0020,000D)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def order_at(source: ByteSource, place: int) -> Order:
    """Returns the byte order of a data set that begins at an offset with one of the low groups."""
    group = source.at(place, 2)
    return BIG if group[:1] == b"\0" and group[1:] != b"\0" else LITTLE


def begins_at(source: ByteSource, place: int) -> bool:
    """Whether an element of one of the groups with which data sets begin is at an offset."""
    head = source.at(place, 8)
    if len(head) < 8:
        return False
    group, number, length = order_at(source, place).head(head)
    if group == 0:  # the command that the data set was sent with (PS3.7)
        return bool(number == 0 and length == 4)
    short = group in (0x0002, 0x0004, 0x0008) and length <= 1024
    return bool(group <= 0x0028 and (short or head[4:6] in REPRESENTATIONS))


class Elements:
    """Iterates over the elements of a data set, without those in its sequences."""

    def __init__(self, source: ByteSource, place: int) -> None:
        self.lost: tuple[int, int] | None = None
        """The last tag before the first place where no valid element follows, and its offset."""
        self._source = source
        self._place = place
        self._seen = 0
        self._scopes = [_Scope(order_at(source, place), implicit=False)]
        first = source.at(place, 8)
        if len(first) == 8 and first[4:6] not in REPRESENTATIONS:
            # It is implicit if another element follows in that form, also without a representation.
            scope = self._scopes[0]
            group, number, length = scope.order.head(first)
            second = place + 8 + length
            scope.implicit = (
                self._follows(scope, group << 16 | number, second) == 2
                and source.at(second, 8)[4:6] not in REPRESENTATIONS
            )

    def __iter__(self) -> Iterator[Element]:
        """Yields the elements in order. Raises UnreadableError, TooLongError."""
        while True:
            self._count()
            scope = self._scopes[-1]
            head = self._source.at(self._place, 12)
            if len(head) < 8:
                if len(self._scopes) == 1 and not self._source.limited | self._source.damaged:
                    return
                sequence = self._scopes[min(1, len(self._scopes) - 1)]
                raise self._ended(f"inside its sequence {shown(sequence.last)}")
            group, number, length = scope.order.head(head)
            tag = group << 16 | number
            if group == 0xFFFE:
                self._delimiter(scope, tag, length)
            elif not head[:8].strip(b"\0"):
                raise self.broken(scope.last, self._place)
            elif scope.is_sequence:
                self._no_item(scope, tag)
            elif tag >= PIXELS and len(self._scopes) == 1:
                if group > _LAST_GROUP and self.lost is None:
                    self.lost = scope.last, self._place
                yield Element(tag, self._place, self._place, 0)
                return
            else:
                element = self._element(scope, tag, head)
                self._require(element)
                if len(self._scopes) == 1:
                    yield element
                scope.last = tag
                self._pass(scope, element, head[4:6] == b"UN")

    def _count(self) -> None:
        self._seen += 1
        if self._seen > MAX_ELEMENTS:
            raise UnreadableError(
                f"does not have all its UIDs in the first {MAX_ELEMENTS} elements of its DICOM"
                f" header: {WITHOUT_PRIVATE}"
            )

    # --- forms ----------------------------------------------------------------------------------

    def _element(self, scope: _Scope, tag: int, head: bytes) -> Element:
        """Returns an element, read in the form after which another element follows."""
        form, followed = _standard_form(scope, head), True
        score = self._score(scope, tag, form)
        if score < 3:
            # Only a form that is certain replaces that of the standard.
            least = 3 if head[4:6] in REPRESENTATIONS else score + 1
            for other in _other_forms(scope, head, form):
                other_score = self._score(scope, tag, other) + self._begins_with_item(scope, other)
                if other_score > score and other_score >= least:
                    form, score = other, other_score
            if form[1] != UNDEFINED and self._begins_with_item(scope, form):
                form = self._by_items(scope, tag, form)
            elif score <= 1 and form[1] != UNDEFINED:
                end = self._place + sum(form)
                self._doubt(scope, tag, end)
                followed = score > 0 or len(self._source.peek(end, 8)) < 8
        return Element(tag, self._place, self._place + form[0], form[1], followed)

    def _doubt(self, scope: _Scope, tag: int, place: int) -> None:
        """Notes the offset after an element where what follows cannot be a valid element."""
        head = self._source.peek(place, 8)
        if self.lost is None and len(head) == 8 and head.strip(b"\0"):
            group, number, length = scope.order.head(head)
            # Only its length distinguishes an implicit element out of order from noise.
            is_known = head[4:6] in REPRESENTATIONS or (
                scope.implicit and place + 8 + length <= self._source.size
            )
            is_down = group << 16 | number <= tag and not is_known
            if is_down or group > _LAST_GROUP:
                self.lost = tag, place

    def _begins_with_item(self, scope: _Scope, form: _Form) -> bool:
        return self._source.peek(self._place + form[0], 4) == scope.order.item

    def _by_items(self, scope: _Scope, tag: int, form: _Form) -> _Form:
        """Corrects the length of a sequence to the end of its items, if its own is wrong."""
        start = self._place + form[0]
        if self._follows(scope, tag, start + form[1]) >= 2:
            return form
        place = start
        while (head := self._source.peek(place, 8))[:4] == scope.order.item and len(head) == 8:
            self._count()
            (length,) = scope.order.long(head, 4)
            if length == UNDEFINED:
                return form[0], UNDEFINED
            place += 8 + length
        return (form[0], place - start) if self._follows(scope, tag, place) >= 2 else form

    def _score(self, scope: _Scope, tag: int, form: _Form) -> int:
        """Returns how sure it is that the next element follows: 3 is certain, 0 is impossible."""
        header, length = form
        place = self._place
        if length == UNDEFINED:
            if _sequence_order(self._source.peek(place + header, 4)) is not None:
                return 3
            return 1 if header == 12 else 0
        return self._follows(scope, tag, place + header + length)

    def _follows(self, scope: _Scope, tag: int, place: int) -> int:
        """Returns how sure it is (0 to 3) that the element after `tag` begins at an offset."""
        head = self._source.peek(place, 8)
        if len(head) < 8:
            return 3 if place == self._source.size else 0
        group, number, length = scope.order.head(head)
        after = group << 16 | number
        nested = len(self._scopes) > 1
        if after == _ITEM:
            return 1
        if group == 0xFFFE:
            return 3 if nested else 2
        is_up = tag < after and group <= _LAST_GROUP
        if head[4:6] in REPRESENTATIONS:
            return 3 if is_up else 1
        fits = length == UNDEFINED or length <= min(self._source.size - place - 8, _LONG_VALUE)
        if is_up and fits:
            return 3 if scope.implicit else 2
        return 1 if group and (is_up or fits) else 0

    # --- values and sequences -------------------------------------------------------------------

    def _require(self, element: Element) -> None:
        """Raises UnreadableError where the file ends inside the value of an element."""
        if element.length != UNDEFINED and element.start + element.length > self._source.size:
            left = max(0, self._source.size - element.start)
            raise self._ended(
                f"in the value of {shown(element.tag)} at byte"
                f" {self._at(element.place)}, of whose"
                f" {element.length} bytes {left} are there"
            )

    def _pass(self, scope: _Scope, element: Element, is_unknown: bool) -> None:
        """Skips an element; for a sequence without a length, only its header."""
        if element.length != UNDEFINED:
            self._place = element.start + element.length
            return
        start = element.start
        order = _sequence_order(self._source.at(start, 4))
        if order is not None:
            # In an unknown (UN) sequence elements should be implicit (PS3.5 6.2.2); not always.
            implicit = scope.implicit or is_unknown
            self._scopes.append(_Scope(order, implicit, last=element.tag, is_sequence=True))
        elif self._follows(scope, element.tag, start) < 3:
            # It is no sequence: it is bytes up to a delimiter.
            end = self._source.find(scope.order.sequence_end + bytes(4), start)
            if end < 0:
                raise self._ended(
                    f"before the end of {shown(element.tag)} at byte {self._at(element.place)}"
                )
            start = end + 8
        self._place = start

    def _delimiter(self, scope: _Scope, tag: int, length: int) -> None:
        """Handles an item, or the end of an item or sequence; ignores the length of an end."""
        self._place += 8
        if tag == _ITEM:
            if not scope.is_sequence and len(self._scopes) > 1:  # the item before it has no end
                scope = self._close()
            elif not scope.is_sequence:  # the length of its sequence is too small
                scope = _Scope(scope.order, scope.implicit, last=scope.last, is_sequence=True)
                self._scopes.append(scope)
            after = self._place + length
            if length == UNDEFINED or not self._ends_item(scope, length, after):
                self._scopes.append(_Scope(scope.order, scope.implicit))
                return
            self._place = after
        elif tag == _ITEM_END:
            if len(self._scopes) > 1 and not scope.is_sequence:
                self._close()
        elif tag == _SEQUENCE_END:
            if len(self._scopes) > 1 and not scope.is_sequence:
                scope = self._close()
            if scope.is_sequence:
                self._close()
        # An end without a scope to close follows a sequence or item that also has a length.

    def _ends_item(self, scope: _Scope, length: int, place: int) -> bool:
        """Whether an item ends where its length says; otherwise its delimiter decides."""
        following = self._source.peek(place, 4)
        ends = (scope.order.item, scope.order.item_end, scope.order.sequence_end)
        if following in ends:
            return True
        return length > 0 and self._follows(self._scopes[-2], scope.last, place) >= 2

    def _close(self) -> _Scope:
        """Ends the current scope, and returns the one around it."""
        self._scopes.pop()
        return self._scopes[-1]

    def _no_item(self, scope: _Scope, tag: int) -> None:
        """Ends a sequence without a delimiter, where an element of the outer data set follows.

        Raises UnreadableError where the element cannot be one of that data set.
        """
        if tag <= scope.last:
            raise self.broken(scope.last, self._place)
        self._close()

    # --- errors ---------------------------------------------------------------------------------

    def _ended(self, where: str) -> UnreadableError:
        if self._source.limited:
            raise TooLongError
        if self.lost is not None:
            return self.broken(*self.lost)
        if self._source.damaged:
            return UnreadableError(
                "is a deflated DICOM file that cannot be inflated as far as its UIDs: it is"
                " damaged; send or copy it again"
            )
        return UnreadableError(
            f"ends {where}: it was cut off, or is damaged; send or copy it again", cut=True
        )

    def broken(self, tag: int, place: int) -> UnreadableError:
        """Returns the error that nothing can be read at an offset, after the element `tag`."""
        rest = self._source.at(place, 4096)
        if self.lost is None and not self._source.inflated and not rest.strip(b"\0"):
            return UnreadableError(
                "has nothing but zeros where its DICOM header should continue, at byte"
                f" {place}: its transfer did not end; send or copy it again",
                cut=True,
            )
        tag, place = self.lost or (tag, place)
        where = f", after {shown(tag)}" if tag else ""
        return UnreadableError(
            f"has a DICOM header that is damaged at byte {self._at(place)}{where}: its UIDs cannot"
            " be read; copy it again, or have it sent or exported again"
        )

    def _at(self, place: int) -> str:
        return f"{place}{self._source.inflated}"


def _standard_form(scope: _Scope, head: bytes) -> _Form:
    representation = head[4:6]
    if representation in _SHORT:
        return 8, scope.order.short(head, 6)[0]
    if representation in _LONG and len(head) == 12:
        return 12, scope.order.long(head, 8)[0]
    if scope.implicit:
        return 8, scope.order.long(head, 4)[0]
    return 8, scope.order.short(head, 6)[0]


def _other_forms(scope: _Scope, head: bytes, standard: _Form) -> Iterator[_Form]:
    implicit = (8, scope.order.long(head, 4)[0])
    if not (scope.implicit and head[4:6] not in REPRESENTATIONS):
        short = (8, scope.order.short(head, 6)[0])
        # An element without a valid representation may still have a length of 32 bits.
        long = (12, scope.order.long(head, 8)[0]) if len(head) == 12 else implicit
        yield from (short, long) if head[4:6] in REPRESENTATIONS else (implicit, long)
        yield implicit
    if standard[1] & 1:
        yield standard[0], standard[1] + 1  # padded, without the padding in its length


def _sequence_order(first: bytes) -> Order | None:
    """Returns the byte order of a sequence by its first bytes; None where no sequence begins."""
    return _SEQUENCES.get(first)
