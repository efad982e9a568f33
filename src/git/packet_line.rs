//! The pkt-line framing of the git protocol. Pure; takes any input without panicking.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// The longest packet, its four length digits included.
const LONGEST: usize = 65_520;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// `0000`.
    Flush,
    /// `0001`: between sections.
    Delimiter,
    /// `0002`: end of a stateless response.
    ResponseEnd,
    /// A payload, which may be empty.
    Data(Bytes),
}

impl Packet {
    /// The payload as a line: without its final newline.
    pub(super) fn line(&self) -> Option<&[u8]> {
        match self {
            Self::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            Self::Flush | Self::Delimiter | Self::ResponseEnd => None,
        }
    }
}

/// Bytes that are no packets.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum PacketError {
    /// The length is not four hexadecimal digits.
    #[error("expected a packet length, found `{0}`")]
    BadLength(String),
    /// A length that no packet has.
    #[error("a packet cannot have the length {0}")]
    ImpossibleLength(usize),
    /// More than a packet holds was to be written.
    #[error("{0} bytes do not fit into a packet")]
    TooLong(usize),
}

/// Finds packets in pieces of a stream.
#[derive(Debug, Default)]
pub(super) struct PacketReader {
    buffer: BytesMut,
}

impl PacketReader {
    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole packet, `None` until more bytes have come.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, PacketError> {
        let Some(digits) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = parse_length(*digits)?;
        match length {
            0..=2 => {
                let _ = self.buffer.split_to(4);
                Ok(Some(match length {
                    0 => Packet::Flush,
                    1 => Packet::Delimiter,
                    _ => Packet::ResponseEnd,
                }))
            }
            3 => Err(PacketError::ImpossibleLength(3)),
            _ if length > LONGEST => Err(PacketError::ImpossibleLength(length)),
            _ if self.buffer.len() < length => Ok(None),
            _ => Ok(Some(Packet::Data(self.buffer.split_to(length).split_off(4).freeze()))),
        }
    }

    /// The first bytes that no packet has been made of yet, `None` until four have come.
    pub(super) fn peek(&self) -> Option<[u8; 4]> {
        self.buffer.first_chunk::<4>().copied()
    }

    /// All bytes that no packet has been made of yet.
    pub(super) fn take(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }

    /// Whether everything that came has been given out.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

fn parse_length(digits: [u8; 4]) -> Result<usize, PacketError> {
    let mut length = 0;
    for digit in digits {
        let Some(value) = char::from(digit).to_digit(16) else {
            return Err(PacketError::BadLength(digits.escape_ascii().to_string()));
        };
        length = length * 16 + value as usize;
    }
    Ok(length)
}

/// Appends a payload as a packet.
pub(super) fn write_data(out: &mut Vec<u8>, payload: &[u8]) -> Result<(), PacketError> {
    let length = payload.len() + 4;
    if length > LONGEST {
        return Err(PacketError::TooLong(payload.len()));
    }
    out.extend_from_slice(format!("{length:04x}").as_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends `0000`.
pub(super) fn write_flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// Appends `0001`.
pub(super) fn write_delimiter(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0001");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data(text: &'static [u8]) -> Packet {
        Packet::Data(Bytes::from_static(text))
    }

    fn all(pieces: &[&[u8]]) -> Result<Vec<Packet>, PacketError> {
        let mut reader = PacketReader::default();
        let mut found = Vec::new();
        for piece in pieces {
            reader.push(piece);
            while let Some(packet) = reader.next()? {
                found.push(packet);
            }
        }
        Ok(found)
    }

    #[test]
    fn packets_are_found_however_the_stream_is_cut() {
        let stream = b"000bhello\n0001\n0004000000010002";
        let fixed = b"000ahello\n0004000000010002".as_slice();
        let expected = vec![data(b"hello\n"), data(b""), Packet::Flush, Packet::Delimiter, Packet::ResponseEnd];
        assert_eq!(all(&[fixed]).unwrap(), expected);
        let single: Vec<&[u8]> = fixed.chunks(1).collect();
        assert_eq!(all(&single).unwrap(), expected);
        assert_eq!(expected[0].line(), Some(b"hello".as_slice()));
        // A length that counts one byte too many swallows the next packet's first digit.
        assert!(matches!(all(&[stream]), Err(PacketError::BadLength(_))));
    }

    #[test]
    fn impossible_lengths_are_errors() {
        assert_eq!(all(&[b"0003"]), Err(PacketError::ImpossibleLength(3)));
        assert_eq!(all(&[b"fff5"]), Err(PacketError::ImpossibleLength(0xfff5)));
        assert_eq!(all(&[b"<htm"]), Err(PacketError::BadLength("<htm".to_owned())));
        assert_eq!(all(&[b"+123"]), Err(PacketError::BadLength("+123".to_owned())));
        let mut out = Vec::new();
        assert_eq!(write_data(&mut out, &vec![0; 65_517]), Err(PacketError::TooLong(65_517)));
        assert_eq!(write_data(&mut out, &vec![0; 65_516]), Ok(()));
        assert_eq!(all(&[&out]).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20), cut in 1_usize..50) {
            let mut out = Vec::new();
            for payload in &payloads {
                write_data(&mut out, payload).unwrap();
                write_delimiter(&mut out);
            }
            write_flush(&mut out);
            let mut expected: Vec<Packet> =
                payloads.iter().flat_map(|payload| [Packet::Data(Bytes::from(payload.clone())), Packet::Delimiter]).collect();
            expected.push(Packet::Flush);
            prop_assert_eq!(all(&out.chunks(cut).collect::<Vec<_>>()).unwrap(), expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = all(&[&bytes]);
        }
    }
}
