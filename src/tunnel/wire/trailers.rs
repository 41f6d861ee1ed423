//! Finds pseudo-header fields in trailers, which are malformed (RFC 9113 section 8.1) and which
//! `h2` ignores.
//!
//! Field blocks are looked through here, not decoded (RFC 7541): a name that refers to the dynamic
//! table is not known, since the table takes decoding every block of the connection.

use super::frame_header::{
    CONTINUATION, END_HEADERS, FRAME_HEADER_BYTES, FrameHeader, MAX_FRAME_BYTES, PADDED, PRIORITY,
};

/// A longer field block, over several frames, is not waited for: it is left to `h2`.
const MAX_BLOCK_BYTES: usize = 4 * MAX_FRAME_BYTES;

/// The first names of the static table are those of pseudo-header fields (RFC 7541 appendix A).
const LAST_PSEUDO_INDEX: usize = 14;

/// The upper seven bits of the first byte of a Huffman-coded name that begins with a colon (RFC
/// 7541 appendix B).
const CODED_COLON: u8 = 0b1011_1000;

/// Whether the trailers at the beginning of `read`, HEADERS and CONTINUATION, have a pseudo-header
/// field. `None` as long as they are not complete. Trailers that are malformed in another way are
/// left to `h2`.
pub(super) fn have_pseudo_field(read: &[u8]) -> Option<bool> {
    let mut block = Vec::new();
    let mut rest = read;
    loop {
        let (header, behind) = rest.split_first_chunk::<FRAME_HEADER_BYTES>()?;
        let header = FrameHeader::parse(header);
        let is_first = rest.len() == read.len();
        let is_too_long = header.length > MAX_FRAME_BYTES || block.len() + header.length > MAX_BLOCK_BYTES;
        if is_too_long || !is_first && header.kind != CONTINUATION {
            return Some(false);
        }
        let (payload, behind) = behind.split_at_checked(header.length)?;
        let Some(fragment) = (if is_first { fragment_of(header, payload) } else { Some(payload) }) else {
            return Some(false);
        };
        block.extend_from_slice(fragment);
        if header.flags & END_HEADERS != 0 {
            return Some(has_pseudo_field(&block).unwrap_or(false));
        }
        rest = behind;
    }
}

/// The part of a HEADERS frame's payload that belongs to the field block (RFC 9113 section 6.2).
fn fragment_of(header: FrameHeader, payload: &[u8]) -> Option<&[u8]> {
    let (padding, payload) = match payload.split_first() {
        Some((&padding, payload)) if header.flags & PADDED != 0 => (usize::from(padding), payload),
        _ => (0, payload),
    };
    let priority = if header.flags & PRIORITY == 0 { 0 } else { 5 };
    payload.get(priority..payload.len().checked_sub(padding)?)
}

/// `None` if the block is cut off.
fn has_pseudo_field(mut block: &[u8]) -> Option<bool> {
    while let Some(&first) = block.first() {
        // The forms of RFC 7541 section 6: how many bits of the first byte belong to the index, and
        // whether a value follows.
        let (prefix, has_value) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => {
                integer(&mut block, 5)?;
                continue;
            }
            _ => (4, true),
        };
        let index = integer(&mut block, prefix)?;
        if (1..=LAST_PSEUDO_INDEX).contains(&index) {
            return Some(true);
        }
        if index == 0 {
            let (is_coded, name) = string(&mut block)?;
            let begins_with_colon =
                |byte: &u8| if is_coded { byte & 0xfe == CODED_COLON } else { *byte == b':' };
            if name.first().is_some_and(begins_with_colon) {
                return Some(true);
            }
        }
        if has_value {
            string(&mut block)?;
        }
    }
    Some(false)
}

/// An integer whose first byte has it in its lower `prefix` bits (RFC 7541 section 5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let (&first, rest) = block.split_first()?;
    *block = rest;
    let max = (1 << prefix) - 1;
    let mut value = usize::from(first) & max;
    if value < max {
        return Some(value);
    }
    // Nothing that fits into a block needs more bytes than these.
    for shift in [0, 7, 14, 21] {
        let (&byte, rest) = block.split_first()?;
        *block = rest;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A string (RFC 7541 section 5.2), and whether it is Huffman-coded.
fn string<'a>(block: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let is_coded = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    Some((is_coded, text))
}

#[cfg(test)]
mod tests {
    use super::super::frame_header::{END_STREAM, HEADERS};
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { length: payload.len(), kind, flags, stream: 1 };
        [&header.to_bytes()[..], payload].concat()
    }

    fn trailers(flags: u8, payload: &[u8]) -> Vec<u8> {
        frame(HEADERS, END_STREAM | END_HEADERS | flags, payload)
    }

    /// `x-test: ok`, a literal without indexing.
    const FIELD: &[u8] = b"\0\x06x-test\x02ok";

    #[test]
    fn a_pseudo_field_is_found_in_every_form_that_does_without_the_dynamic_table() {
        for field in [
            &b"\x83"[..],                   // :method: POST, indexed
            b"\x8e",                        // :status: 500, the last of them
            b"\x42\x03PUT",                 // :method, its name indexed, to be indexed
            b"\x04\x02/x",                  // :path, its name indexed
            b"\x14\x02/x",                  // the same, never to be indexed
            b"\0\x05:path\x01/",            // a literal name
            b"\0\x84\xb8\x83\xb5\x3f\x01/", // :path as a Huffman-coded name
            b"\x3f\xe1\x1f\x83",            // behind a change of the table's size
        ] {
            for block in [field.to_vec(), [FIELD, field].concat(), [field, FIELD].concat()] {
                assert_eq!(have_pseudo_field(&trailers(0, &block)), Some(true), "{block:x?}");
                let padded = [&b"\x02\0\0\0\0\x10"[..], &block, b"\0\0"].concat();
                assert_eq!(have_pseudo_field(&trailers(PADDED | PRIORITY, &padded)), Some(true));
                let (first, second) = block.split_at(1);
                let continued = [
                    frame(HEADERS, END_STREAM, first),
                    frame(CONTINUATION, 0, b""),
                    frame(CONTINUATION, END_HEADERS, second),
                ]
                .concat();
                assert_eq!(have_pseudo_field(&continued), Some(true), "{block:x?}");
            }
        }
    }

    #[test]
    fn other_trailers_pass() {
        for block in [
            FIELD,
            b"",
            b"\x8f",                  // accept-charset, the first other field
            b"\xbe",                  // of the dynamic table
            b"\0\x06x-test\x05:path", // the value is not a name
            b"\0\x05:pa",             // cut off: for h2 to find
            b"\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(have_pseudo_field(&trailers(0, block)), Some(false), "{block:x?}");
        }
        assert_eq!(have_pseudo_field(&trailers(PADDED, b"\x09short")), Some(false));
        let other = [frame(HEADERS, END_STREAM, FIELD), frame(HEADERS, 0, b"")].concat();
        assert_eq!(have_pseudo_field(&other), Some(false), "no CONTINUATION follows");
    }

    #[test]
    fn trailers_are_waited_for_and_no_more_than_so_many() {
        let whole = [frame(HEADERS, END_STREAM, FIELD), frame(CONTINUATION, END_HEADERS, b"\x83")].concat();
        for length in 0..whole.len() {
            assert_eq!(have_pseudo_field(&whole[..length]), None, "{length}");
        }
        assert_eq!(have_pseudo_field(&whole), Some(true));
        let long = vec![frame(HEADERS, END_STREAM, &[0; MAX_FRAME_BYTES]); 4].concat();
        assert_eq!(have_pseudo_field(&long[..FRAME_HEADER_BYTES]), None);
        let many = [
            frame(HEADERS, 0, &[0; MAX_FRAME_BYTES]),
            frame(CONTINUATION, 0, &[0; MAX_FRAME_BYTES]).repeat(4),
        ];
        assert_eq!(have_pseudo_field(&many.concat()), Some(false));
        let frame = FrameHeader { length: MAX_FRAME_BYTES + 1, kind: HEADERS, flags: END_STREAM, stream: 1 };
        assert_eq!(have_pseudo_field(&frame.to_bytes()), Some(false));
    }
}
