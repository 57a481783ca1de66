"""The file format: what was written is read back; damage costs what it touches and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_pipeline.queue.format import (
    HEADER_SIZE,
    MARKER,
    NOTE,
    RECORD_OVERHEAD,
    VERSION,
    Damage,
    Header,
    Record,
    Signal,
    pack_header,
    pack_record,
    read_header,
    scan,
)

RECORDS = st.lists(
    st.tuples(st.sampled_from([NOTE, *Signal]), st.integers(0, 2**32 - 1), st.binary(max_size=200)), max_size=8
)


def test_the_first_bytes_are_pinned() -> None:
    """A golden file: version 1 is what it was, so that every later version can tell."""
    header = pack_header(created=0x0102030405060708, pid=0x11223344)
    assert header.hex() == "894f50510d0a1a0a01002000d0b150a708070605040302014433221100000000"
    record = pack_record(Signal.LOGS, 2, b"abc")
    assert record.hex() == "f54f505212524f65030000000200000003000000616263"


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_headers_are_read_back(created: int, pid: int) -> None:
    """A header gives back its fields and its own size."""
    assert read_header(pack_header(created=created, pid=pid)) == Header(VERSION, HEADER_SIZE, created, pid)


@pytest.mark.parametrize("damage", range(HEADER_SIZE))
def test_a_damaged_header_is_no_header(damage: int) -> None:
    """One changed byte anywhere in the header is noticed."""
    data = bytearray(pack_header(created=1, pid=2))
    data[damage] ^= 0x40
    assert read_header(bytes(data)) is None
    assert read_header(bytes(data[:damage])) is None


@given(RECORDS, st.integers(0, 1000))
def test_records_are_read_back(records: list[tuple[int, int, bytes]], base: int) -> None:
    """Kind, count and payload of every record come back in order, with offsets that join without a gap."""
    data = b"".join(pack_record(*record) for record in records)
    found = list(scan(data, base=base))
    assert [(r.kind, r.count, r.payload) for r in found if isinstance(r, Record)] == records
    assert [item.start for item in found] == [base, *(item.end for item in found)][: len(found)]


@given(RECORDS, st.data())
def test_a_torn_end_costs_the_last_record_only(records: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    """Cut anywhere, a file gives every record that was whole, and calls the rest torn."""
    whole = [pack_record(*record) for record in records]
    last = pack_record(Signal.TRACES, 1, b"the last one")
    cut = data.draw(st.integers(1, len(last) - 1))
    found = list(scan(b"".join(whole) + last[:cut]))
    assert len([item for item in found if isinstance(item, Record)]) == len(records)
    assert isinstance(found[-1], Damage)
    assert found[-1].torn


@given(RECORDS)
def test_an_unfinished_end_of_a_living_file_is_not_damage(records: list[tuple[int, int, bytes]]) -> None:
    """While its writer lives, a half-written record is simply not there yet."""
    data = b"".join(pack_record(*record) for record in records)
    unfinished = data + pack_record(Signal.TRACES, 1, b"half")[:-1]
    assert list(scan(unfinished, final=False)) == list(scan(data))


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6), st.data())
def test_a_changed_byte_costs_one_record(payloads: list[bytes], data: st.DataObject) -> None:
    """Whatever byte is changed, every other record is found again, and all bytes are accounted for."""
    records = [pack_record(Signal.TRACES, 1, payload) for payload in payloads]
    victim = data.draw(st.integers(0, len(records) - 1))
    position = data.draw(st.integers(0, len(records[victim]) - 1))
    changed = bytearray(records[victim])
    changed[position] ^= 1 << data.draw(st.integers(0, 7))
    joined = b"".join([*records[:victim], bytes(changed), *records[victim + 1 :]])
    found = list(scan(joined))
    kept = [item.payload for item in found if isinstance(item, Record)]
    assert kept == payloads[:victim] + payloads[victim + 1 :]
    assert sum(item.end - item.start for item in found) == len(joined)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_damage_not_an_error(data: bytes) -> None:
    """No content of a file raises, and every byte is accounted for."""
    assert sum(item.end - item.start for item in scan(data)) == len(data)


def test_a_marker_within_a_payload_misleads_nobody() -> None:
    """A record whose payload holds markers, or whole records, is one record."""
    inner = pack_record(Signal.LOGS, 1, b"inner")
    outer = pack_record(Signal.TRACES, 1, MARKER * 3 + inner)
    assert [item.payload for item in scan(outer) if isinstance(item, Record)] == [MARKER * 3 + inner]


def test_a_kind_of_a_later_version_is_set_aside() -> None:
    """A record whose kind is unknown is damage, its neighbours are not."""
    found = list(scan(pack_record(9, 1, b"?") + pack_record(Signal.LOGS, 1, b"x")))
    assert [type(item) for item in found] == [Damage, Record]


def test_an_oversized_payload_is_refused() -> None:
    """A payload that no reader would accept is refused when written."""
    with pytest.raises(ValueError, match="limit"):
        pack_record(Signal.TRACES, 1, bytes((64 << 20) + 1))


def test_the_overhead_is_what_the_documents_say() -> None:
    """20 bytes per record, 32 per file."""
    assert (RECORD_OVERHEAD, HEADER_SIZE) == (20, 32)
