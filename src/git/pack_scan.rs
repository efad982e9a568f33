//! Looks through a pack while it comes: how many objects it has, and how large each is once unpacked. Pure; takes any
//! bytes in pieces of any size without panicking.
//!
//! What a pack unpacks to is not bounded by its own size: a few bytes can stand for gigabytes, and what is sent as a
//! difference to another object is put together in memory. So sizes are known before anything acts on them.

use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

/// Bytes that are unpacked at a time. They are thrown away.
const SCRATCH: usize = 32 * 1024;

/// The most bytes that two sizes in front of a difference take.
const SIZES: usize = 20;

/// A pack that is not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum ScanError {
    /// An object is larger than allowed.
    #[error("the pack has an object of {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// It is no pack.
    #[error("what the server sent is not a pack that can be read: {0}")]
    Broken(&'static str),
}

/// Reads a pack.
pub(super) struct PackScanner {
    limit: u64,
    state: State,
    /// In the whole pack.
    objects: u32,
    /// Still to come, the present one included.
    left: u32,
    inflate: Decompress,
    scratch: Box<[u8]>,
}

enum State {
    /// Of the pack.
    Header(Vec<u8>),
    /// Kind and size of an object.
    Head(Head),
    /// Where the base of a difference lies, as a distance.
    Distance(Object),
    /// The base of a difference, by its id. Bytes that are still to come.
    Base(Object, u8),
    /// Two bytes in front of what is compressed; one seen, or none.
    Prefix(Object, Option<u8>),
    Body(Object),
    /// The checksum of what is compressed. Bytes that are still to come.
    Checksum(u8),
    /// The checksum of the pack.
    Trailer,
}

#[derive(Clone, Copy, Default)]
struct Head {
    kind: u8,
    size: u64,
    shift: u32,
}

/// What is known of the object that is being read.
struct Object {
    /// What it unpacks to: the object, or the difference.
    size: u64,
    unpacked: u64,
    /// The beginning of a difference.
    difference: Option<Vec<u8>>,
}

impl PackScanner {
    /// For a pack whose objects have at most `limit` bytes each.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            state: State::Header(Vec::with_capacity(12)),
            objects: 0,
            left: 0,
            inflate: Decompress::new(false),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        }
    }

    /// How many objects the pack says to have; 0 before that has come.
    pub(super) const fn objects(&self) -> u32 {
        self.objects
    }

    /// Whether all objects have come.
    pub(super) const fn is_complete(&self) -> bool {
        matches!(self.state, State::Trailer)
    }

    /// Takes the next piece.
    pub(super) fn feed(&mut self, mut piece: &[u8]) -> Result<(), ScanError> {
        while !piece.is_empty() {
            piece = self.step(piece)?;
        }
        Ok(())
    }

    /// Takes some of a piece that is not empty; returns the rest.
    fn step<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], ScanError> {
        let Some((&byte, rest)) = piece.split_first() else { return Ok(piece) };
        self.state = match std::mem::replace(&mut self.state, State::Trailer) {
            State::Trailer => return Ok(&[]),
            State::Header(mut seen) => {
                seen.push(byte);
                if seen.len() < 12 { State::Header(seen) } else { self.begin(&seen)? }
            }
            State::Head(mut head) => {
                if head.shift == 0 {
                    head = Head { kind: byte >> 4 & 7, size: u64::from(byte & 15), shift: 4 };
                } else {
                    head.size |= part_of_size(byte, head.shift)?;
                    head.shift += 7;
                }
                if byte & 0x80 != 0 { State::Head(head) } else { self.object(head)? }
            }
            State::Distance(object) if byte & 0x80 != 0 => State::Distance(object),
            State::Base(object, left) if left > 1 => State::Base(object, left - 1),
            State::Distance(object) | State::Base(object, _) => State::Prefix(object, None),
            State::Prefix(object, None) => State::Prefix(object, Some(byte)),
            State::Prefix(object, Some(first)) => {
                // Method 8 without a preset dictionary, as RFC 1950 has it.
                if first & 15 != 8 || byte & 0x20 != 0 || (u16::from(first) << 8 | u16::from(byte)) % 31 != 0 {
                    return Err(ScanError::Broken("an object is not compressed as packs have it"));
                }
                self.inflate.reset(false);
                State::Body(object)
            }
            State::Body(object) => return self.body(object, piece),
            State::Checksum(left) if left > 1 => State::Checksum(left - 1),
            State::Checksum(_) => {
                self.left = self.left.saturating_sub(1);
                self.next()
            }
        };
        Ok(rest)
    }

    fn next(&self) -> State {
        if self.left == 0 { State::Trailer } else { State::Head(Head::default()) }
    }

    fn begin(&mut self, header: &[u8]) -> Result<State, ScanError> {
        let count = match header {
            [b'P', b'A', b'C', b'K', 0, 0, 0, 2 | 3, count @ ..] => count.first_chunk::<4>(),
            _ => None,
        };
        let count = count.ok_or(ScanError::Broken("it does not begin as packs of version 2 or 3 do"))?;
        self.objects = u32::from_be_bytes(*count);
        self.left = self.objects;
        Ok(self.next())
    }

    fn object(&self, head: Head) -> Result<State, ScanError> {
        self.check(head.size)?;
        let object = |difference| Object { size: head.size, unpacked: 0, difference };
        match head.kind {
            1..=4 => Ok(State::Prefix(object(None), None)),
            6 => Ok(State::Distance(object(Some(Vec::with_capacity(SIZES))))),
            7 => Ok(State::Base(object(Some(Vec::with_capacity(SIZES))), 20)),
            _ => Err(ScanError::Broken("it has an object of an unknown kind")),
        }
    }

    fn check(&self, size: u64) -> Result<(), ScanError> {
        if size > self.limit { Err(ScanError::TooLarge { size, limit: self.limit }) } else { Ok(()) }
    }

    fn body<'a>(&mut self, mut object: Object, piece: &'a [u8]) -> Result<&'a [u8], ScanError> {
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(piece, &mut self.scratch, FlushDecompress::None);
        let status = status.map_err(|_| ScanError::Broken("an object cannot be unpacked"))?;
        // Both are at most the lengths that were passed in.
        let taken = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(piece.len());
        let made = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(SCRATCH);
        object.unpacked += made as u64;
        if let Some(start) = &mut object.difference
            && start.len() < SIZES
        {
            start.extend(self.scratch.iter().take(made.min(SIZES - start.len())));
        }
        let ended = status == Status::StreamEnd;
        if object.unpacked > object.size || (ended && object.unpacked < object.size) {
            return Err(ScanError::Broken("an object has not the size that is written in front of it"));
        }
        if let Some(start) = &object.difference
            && (ended || start.len() == SIZES)
        {
            let sizes = sizes(start)?;
            self.check(sizes.0)?;
            self.check(sizes.1)?;
            object.difference = None;
        }
        if !ended && taken == 0 && made == 0 {
            return Err(ScanError::Broken("an object cannot be unpacked"));
        }
        self.state = if ended { State::Checksum(4) } else { State::Body(object) };
        Ok(&piece[taken..])
    }
}

/// Seven bits of a size, at their place.
fn part_of_size(byte: u8, shift: u32) -> Result<u64, ScanError> {
    let part = u64::from(byte & 0x7f);
    if shift > 63 || (part << shift) >> shift != part {
        return Err(ScanError::Broken("a size is too large for any object"));
    }
    Ok(part << shift)
}

/// The sizes of the base and of the result, which a difference begins with.
fn sizes(difference: &[u8]) -> Result<(u64, u64), ScanError> {
    let mut bytes = difference.iter();
    let mut size = || {
        let (mut size, mut shift) = (0, 0);
        loop {
            let byte = *bytes.next().ok_or(ScanError::Broken("a difference has no sizes"))?;
            size |= part_of_size(byte, shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok(size);
            }
        }
    };
    Ok((size()?, size()?))
}

#[cfg(test)]
#[path = "pack_scan_tests.rs"]
mod tests;
