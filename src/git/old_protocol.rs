//! Fetching in git protocol version 0 and 1: requests as bytes, answers from packets. Pure.
//!
//! ```text
//! request  want … , shallow … , deepen 1, flush, have … , done
//! answer   shallow … , unshallow … , flush (only when deepening), ACK or NAK, then the pack: in bands, or plain
//! ```

use bytes::Bytes;

use crate::model::Revision;

use super::advertisement::OldServer;
use super::packet_line::{Packet, PacketError, write_data, write_flush};
use super::protocol::{FetchEvent, FetchRequest, ProtocolError, refusal, shown};

/// What is asked of a server when it offers it.
///
/// `multi_ack_detailed` changes nothing for us, but some servers refuse whoever doesn't ask for it.
const ASKED: [&str; 4] = ["multi_ack_detailed", "thin-pack", "ofs-delta", "no-progress"];

impl FetchRequest {
    /// The request in protocol version 0. Says `done`, so that the pack comes in the one answer.
    pub(super) fn encode_old(&self, server: &OldServer, agent: &str) -> Result<Vec<u8>, PacketError> {
        let mut asked: Vec<&str> = ASKED.into_iter().filter(|name| server.has(name)).collect();
        asked.extend(bands(server).map(Bands::name));
        let mut asked = asked.join(" ");
        if server.has("agent") {
            asked.push_str(&format!(" agent={agent}"));
        }
        if server.has("object-format") {
            asked.push_str(" object-format=sha1");
        }
        let mut out = Vec::new();
        for (index, id) in self.wants.iter().enumerate() {
            let capabilities = if index == 0 { format!(" {}", asked.trim()) } else { String::new() };
            write_data(&mut out, format!("want {id}{}\n", capabilities.trim_end()).as_bytes())?;
        }
        if server.has("shallow") {
            for id in &self.shallow {
                write_data(&mut out, format!("shallow {id}\n").as_bytes())?;
            }
            if let Some(depth) = self.depth {
                write_data(&mut out, format!("deepen {depth}\n").as_bytes())?;
            }
        }
        write_flush(&mut out);
        for id in &self.haves {
            write_data(&mut out, format!("have {id}\n").as_bytes())?;
        }
        write_data(&mut out, b"done\n")?;
        Ok(out)
    }
}

/// How the pack is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bands {
    /// Packets of up to 64 KiB with a band each.
    Wide,
    /// The same with up to 1000 bytes.
    Narrow,
}

impl Bands {
    const fn name(self) -> &'static str {
        match self {
            Self::Wide => "side-band-64k",
            Self::Narrow => "side-band",
        }
    }
}

fn bands(server: &OldServer) -> Option<Bands> {
    [Bands::Wide, Bands::Narrow].into_iter().find(|bands| server.has(bands.name()))
}

/// Reads an answer to `FetchRequest::encode_old`, packet by packet. Where the server knows no bands, the pack follows the
/// last packet as it is: see [`Self::pack_may_begin`].
#[derive(Debug)]
pub(super) struct OldFetchParser {
    section: Section,
    banded: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Section {
    Shallow,
    Acknowledgments,
    Pack,
    Ended,
}

impl OldFetchParser {
    /// For the answer to a request that this server was sent.
    pub(super) fn new(request: &FetchRequest, server: &OldServer) -> Self {
        let deepens = request.depth.is_some() && server.has("shallow");
        let section = if deepens { Section::Shallow } else { Section::Acknowledgments };
        Self { section, banded: bands(server).is_some() }
    }

    /// Whether what follows may be a pack that is not wrapped in packets: it is, if it begins with `PACK`.
    pub(super) fn pack_may_begin(&self) -> bool {
        !self.banded && self.section == Section::Acknowledgments
    }

    /// Takes the next packet.
    pub(super) fn feed(&mut self, packet: &Packet) -> Result<FetchEvent, ProtocolError> {
        let data = match packet {
            Packet::Data(data) => data,
            Packet::Flush if self.section == Section::Shallow => {
                self.section = Section::Acknowledgments;
                return Ok(FetchEvent::Ignored);
            }
            Packet::Flush if self.section == Section::Pack => {
                self.section = Section::Ended;
                return Ok(FetchEvent::End);
            }
            Packet::Flush | Packet::Delimiter | Packet::ResponseEnd => {
                return Err(ProtocolError::Unexpected("it ends without a pack".to_owned()));
            }
        };
        let line = packet.line().unwrap_or_default();
        if self.section != Section::Pack {
            refusal(line)?;
        }
        match self.section {
            Section::Shallow => shallow(line),
            Section::Acknowledgments if line == b"NAK" || line.starts_with(b"ACK ") => Ok(FetchEvent::Ignored),
            Section::Acknowledgments | Section::Pack if self.banded => {
                self.section = Section::Pack;
                band(data)
            }
            Section::Acknowledgments | Section::Pack => {
                Err(ProtocolError::Unexpected(format!("`{}` where a pack was expected", shown(line))))
            }
            Section::Ended => Err(ProtocolError::Unexpected("it goes on after its end".to_owned())),
        }
    }
}

/// A line about which commits come without their parents.
pub(super) fn shallow(line: &[u8]) -> Result<FetchEvent, ProtocolError> {
    let text = String::from_utf8_lossy(line);
    let parsed = text.split_once(' ').and_then(|(word, id)| Some((word, Revision::parse(id).ok()?)));
    match parsed {
        Some(("shallow", id)) => Ok(FetchEvent::Shallow(id)),
        Some(("unshallow", id)) => Ok(FetchEvent::Unshallow(id)),
        _ => Err(ProtocolError::Unexpected(format!("`{}` where shallow commits were expected", shown(line)))),
    }
}

/// A packet with a band: 1 is the pack, 2 is progress, 3 ends the conversation.
pub(super) fn band(data: &Bytes) -> Result<FetchEvent, ProtocolError> {
    match data.first() {
        Some(1) => Ok(FetchEvent::Pack(data.slice(1..))),
        Some(2) | None => Ok(FetchEvent::Ignored),
        Some(3) => Err(ProtocolError::Refused(shown(&data[1..]))),
        Some(band) => Err(ProtocolError::Unexpected(format!("band {band} in the pack"))),
    }
}

#[cfg(test)]
#[path = "old_protocol_tests.rs"]
mod tests;
