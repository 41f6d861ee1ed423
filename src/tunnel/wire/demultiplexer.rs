//! Sorts what a connection has read: DATA of the streams with a [`ReceiveBuffer`] goes there
//! without a copy, everything else to `h2`, to which it looks as if nothing was missing.
//!
//! One frame is changed: trailers with a pseudo-header field, which `h2` would ignore, lose their
//! `END_STREAM`. Such a frame `h2` does not ignore: it resets the stream with `PROTOCOL_ERROR`.

use std::rc::Rc;

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use super::frame_header::{
    ACK, DATA, END_STREAM, FRAME_HEADER_BYTES, FrameHeader, HEADERS, MAX_FRAME_BYTES, PADDED, RST_STREAM,
    SETTINGS,
};
use super::receive_buffer::{ReceiveBuffer, ReceiveBuffers};
use super::trailers;

/// Follows the frames, however they are cut.
#[derive(Debug)]
pub(super) struct Demultiplexer {
    state: State,
    buffers: Rc<ReceiveBuffers>,
    /// The highest stream that the peer has opened, on a server's side: HEADERS of this stream or
    /// an earlier one are trailers.
    last_opened: Option<u32>,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum State {
    /// A frame header.
    Header,
    /// A frame for `h2`, of which so many bytes are left.
    ToH2(usize),
    /// DATA for a receive buffer: so much payload, then so much padding.
    ToBuffer { buffer: Rc<ReceiveBuffer>, payload: usize, padding: usize, is_last: bool },
    /// Nothing that was read: a frame header that `h2` gets in place of the peer's, so much of it
    /// given. Then so many bytes of payload are for `h2`.
    Replaced { header: [u8; FRAME_HEADER_BYTES], given: usize, payload: usize },
}

impl Demultiplexer {
    /// Of a client's side, whose peer begins with a frame.
    pub(super) fn client(buffers: Rc<ReceiveBuffers>) -> Self {
        Self { state: State::Header, buffers, last_opened: None }
    }

    /// Of a server's side, whose peer begins with a preface of so many bytes.
    pub(super) fn server(preface: usize, buffers: Rc<ReceiveBuffers>) -> Self {
        Self { state: State::ToH2(preface), buffers, last_opened: Some(0) }
    }

    /// Sorts what was read, until `h2` has enough or nothing is left that can be sorted. Returns
    /// whether `h2` got something: it has to look at that first, so nothing that follows is
    /// delivered in the same call.
    pub(super) fn sort(&mut self, read: &mut Bytes, for_h2: &mut ReadBuf<'_>) -> bool {
        let before = for_h2.filled().len();
        loop {
            let got_some = for_h2.filled().len() > before;
            match &mut self.state {
                State::ToH2(0) => self.state = State::Header,
                State::ToH2(left) => {
                    let length = (*left).min(read.len()).min(for_h2.remaining());
                    if length == 0 {
                        return got_some;
                    }
                    for_h2.put_slice(&read[..length]);
                    read.advance(length);
                    *left -= length;
                }
                State::Replaced { header, given, payload } => {
                    let length = (header.len() - *given).min(for_h2.remaining());
                    for_h2.put_slice(&header[*given..*given + length]);
                    *given += length;
                    if *given < header.len() {
                        return true;
                    }
                    self.state = State::ToH2(*payload);
                }
                State::ToBuffer { .. } if got_some => return true,
                State::ToBuffer { buffer, payload, padding, is_last } => {
                    if *payload > 0 {
                        let length = (*payload).min(read.len());
                        if length == 0 {
                            return false;
                        }
                        buffer.deliver(read.split_to(length));
                        *payload -= length;
                    } else if *padding > 0 {
                        let length = (*padding).min(read.len());
                        if length == 0 {
                            return false;
                        }
                        buffer.deliver_padding(length);
                        read.advance(length);
                        *padding -= length;
                    } else if *is_last {
                        let end =
                            FrameHeader { length: 0, kind: DATA, flags: END_STREAM, stream: buffer.stream() };
                        self.state = State::Replaced { header: end.to_bytes(), given: 0, payload: 0 };
                    } else {
                        self.state = State::Header;
                    }
                }
                State::Header => match self.begin(read) {
                    Some(state) => self.state = state,
                    None => return got_some,
                },
            }
        }
    }

    /// No more comes: the frame that has begun is left to `h2`, which refuses it.
    pub(super) fn end(&mut self, read: &Bytes) {
        self.state = State::ToH2(read.len());
    }

    /// Decides where the next frame goes; `None` if too little of it has been read.
    fn begin(&mut self, read: &mut Bytes) -> Option<State> {
        let (header, payload) = read.split_first_chunk()?;
        let header = FrameHeader::parse(header);
        let to_h2 = State::ToH2(FRAME_HEADER_BYTES + header.length);
        let is_last = header.flags & END_STREAM != 0;
        if header.kind == SETTINGS && header.flags & ACK != 0 {
            self.buffers.note_settings_ack();
        }
        if !matches!(header.kind, DATA | HEADERS | RST_STREAM) {
            return Some(to_h2);
        }
        let are_trailers = header.kind == HEADERS && is_last && self.last_opened >= Some(header.stream);
        let are_malformed = are_trailers && trailers::have_pseudo_field(read)?;
        if header.kind == HEADERS {
            self.last_opened = self.last_opened.map(|last| last.max(header.stream));
        }
        let buffer = self.buffers.of_stream(header.stream);
        if buffer.is_some() && (header.kind == RST_STREAM || header.kind == HEADERS && is_last) {
            self.buffers.remove(header.stream);
        }
        if are_malformed {
            read.advance(FRAME_HEADER_BYTES);
            let replaced = FrameHeader { flags: header.flags & !END_STREAM, ..header };
            return Some(State::Replaced { header: replaced.to_bytes(), given: 0, payload: header.length });
        }
        let Some(buffer) = buffer.filter(|_| header.kind == DATA) else { return Some(to_h2) };
        let (head, padding) =
            if header.flags & PADDED == 0 { (0, 0) } else { (1, usize::from(*payload.first()?)) };
        if header.length > MAX_FRAME_BYTES || head + padding > header.length {
            return Some(to_h2);
        }
        read.advance(FRAME_HEADER_BYTES + head);
        if head > 0 {
            buffer.deliver_padding(head);
        }
        if is_last {
            self.buffers.remove(header.stream);
        }
        Some(State::ToBuffer { buffer, payload: header.length - head - padding, padding, is_last })
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::super::frame_header::END_HEADERS;
    use super::*;
    use crate::net::Budget;
    use crate::tunnel::settings::Settings;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { length: payload.len(), kind, flags, stream };
        [&header.to_bytes()[..], payload].concat()
    }

    /// Sorts all of `bytes`, read in pieces of `piece` and given to `h2` in parts of at most
    /// `part`. Returns what `h2` gets and what the buffer gets.
    fn sorted(
        demultiplexer: &mut Demultiplexer,
        receive_buffer: &ReceiveBuffer,
        bytes: &[u8],
        piece: usize,
        part: usize,
    ) -> (Vec<u8>, Vec<u8>) {
        let (mut for_h2, mut arrived, mut read) = (Vec::new(), Vec::new(), Bytes::new());
        let mut pieces = bytes.chunks(piece);
        loop {
            let mut room = vec![MaybeUninit::uninit(); part];
            let mut buffer = ReadBuf::uninit(&mut room);
            let got_some = demultiplexer.sort(&mut read, &mut buffer);
            assert_eq!(got_some, !buffer.filled().is_empty());
            for_h2.extend_from_slice(buffer.filled());
            arrived.extend(std::iter::from_fn(|| receive_buffer.pop()).flatten());
            if got_some {
                continue;
            }
            match pieces.next() {
                Some(piece) => read = [&read, piece].concat().into(),
                None => return (for_h2, arrived),
            }
        }
    }

    fn connection() -> Rc<ReceiveBuffers> {
        let window = 1 << 20;
        let settings = Settings {
            allow_connect: true,
            max_concurrent_streams: 100,
            initial_stream_window_size: window,
            initial_connection_window_size: window,
        };
        Rc::new(ReceiveBuffers::new(&settings, Budget::unlimited()))
    }

    fn open(connection: &Rc<ReceiveBuffers>) -> Rc<ReceiveBuffer> {
        connection.open(3, &connection.stream_window().budget().open())
    }

    #[test]
    fn a_sessions_data_goes_past_h2_however_the_frames_are_cut() {
        let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]);
        let of_others = frame(DATA, END_STREAM, 1, b"to h2");
        let more = frame(HEADERS, END_HEADERS, 7, b"head");
        let after_the_end = frame(DATA, 0, 3, b"too late");
        let bytes = [
            b"preface",
            &settings[..],
            &frame(DATA, 0, 3, b"first,"),
            &of_others,
            &frame(DATA, 0, 3, b""),
            &frame(DATA, PADDED, 3, b"\x03 second,\0\0\0"),
            &more,
            &frame(DATA, END_STREAM | PADDED, 3, b"\0 last"),
            &after_the_end,
        ]
        .concat();
        let to_h2 =
            [b"preface", &settings[..], &of_others, &more, &frame(DATA, END_STREAM, 3, b""), &after_the_end];
        for (piece, part) in (1..bytes.len()).flat_map(|piece| [(piece, 1), (piece, 5), (piece, 1000)]) {
            let connection = connection();
            let buffer = open(&connection);
            let mut demultiplexer = Demultiplexer::server(b"preface".len(), connection);
            let (for_h2, arrived) = sorted(&mut demultiplexer, &buffer, &bytes, piece, part);
            assert_eq!(arrived, b"first, second, last", "read {piece}, given {part}");
            assert_eq!(for_h2, to_h2.concat(), "read {piece}, given {part}");
        }
    }

    #[test]
    fn a_malformed_frame_is_left_to_h2() {
        for wrong in [
            frame(DATA, PADDED, 3, b"\x09short"),
            frame(DATA, PADDED, 3, b""),
            frame(DATA, 0, 3, &vec![0; MAX_FRAME_BYTES + 1]),
        ] {
            let connection = connection();
            let buffer = open(&connection);
            // Another frame follows, since the byte with the length of the padding is waited for.
            let bytes = [wrong, frame(SETTINGS, 0, 0, b"")].concat();
            let (for_h2, arrived) =
                sorted(&mut Demultiplexer::client(connection), &buffer, &bytes, 1000, 100_000);
            assert!(for_h2 == bytes && arrived.is_empty());
        }
    }

    #[test]
    fn a_stream_that_was_reset_or_ended_by_trailers_takes_nothing_more() {
        for ended in
            [frame(RST_STREAM, 0, 3, &[0; 4]), frame(HEADERS, END_STREAM | END_HEADERS, 3, b"trailer")]
        {
            let connection = connection();
            let buffer = open(&connection);
            let bytes = [ended, frame(DATA, 0, 3, b"late")].concat();
            let (for_h2, arrived) = sorted(&mut Demultiplexer::client(connection), &buffer, &bytes, 4, 100);
            assert!(for_h2 == bytes && arrived.is_empty());
        }
    }

    #[test]
    fn what_is_cut_off_by_the_end_is_given_to_h2() {
        let connection = connection();
        let buffer = open(&connection);
        let mut demultiplexer = Demultiplexer::client(connection);
        assert_eq!(sorted(&mut demultiplexer, &buffer, b"\0\0\x05", 10, 10), (Vec::new(), Vec::new()));
        let mut read = Bytes::from_static(b"\0\0\x05");
        demultiplexer.end(&read);
        let mut room = [MaybeUninit::uninit(); 10];
        let mut buffer = ReadBuf::uninit(&mut room);
        assert!(demultiplexer.sort(&mut read, &mut buffer));
        assert_eq!(buffer.filled(), b"\0\0\x05");
    }
}
