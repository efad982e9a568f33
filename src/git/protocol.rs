//! Git protocol version 2: requests as bytes, answers from packets. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use thiserror::Error;

use crate::model::Revision;

use super::old_protocol::{band, shallow};
use super::packet_line::{Packet, PacketError, write_data, write_delimiter, write_flush};

/// The answer is not what the protocol wants.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum ProtocolError {
    /// Broken framing.
    #[error("the answer is not the git protocol: {0}")]
    Framing(#[from] PacketError),
    /// Unexpected content.
    #[error("the answer is not the git protocol: {0}")]
    Unexpected(String),
    /// SHA-256.
    #[error(
        "the repository names its objects by {0}, and only sha1 can be read so far; serve the same content from a \
         repository that was made with `git init --object-format=sha1`"
    )]
    ObjectFormat(String),
    /// The server ends the conversation (`ERR`, or the error band).
    #[error("the server says: {0}")]
    Refused(String),
}

/// What a server can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Capabilities(BTreeMap<String, String>);

impl Capabilities {
    /// From names and values. Fails when the repository is of a kind that can't be read.
    pub(super) fn new(found: BTreeMap<String, String>) -> Result<Self, ProtocolError> {
        match found.get("object-format").map(String::as_str) {
            None | Some("sha1") => Ok(Self(found)),
            Some(other) => Err(ProtocolError::ObjectFormat(shown(other.as_bytes()))),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn can_fetch(&self, wanted: &str) -> bool {
        self.0.get("fetch").is_some_and(|features| features.split(' ').any(|feature| feature == wanted))
    }

    /// Whether `fetch` can be limited in depth.
    pub(super) fn shallow(&self) -> bool {
        self.can_fetch("shallow")
    }

    /// Whether `fetch` can leave out objects by a filter.
    pub(super) fn filter(&self) -> bool {
        self.can_fetch("filter")
    }

    fn begin(&self, command: &str, agent: &str) -> Result<Vec<u8>, PacketError> {
        let mut out = Vec::new();
        write_data(&mut out, format!("command={command}\n").as_bytes())?;
        if self.has("agent") {
            write_data(&mut out, format!("agent={agent}\n").as_bytes())?;
        }
        if self.has("object-format") {
            write_data(&mut out, b"object-format=sha1\n")?;
        }
        write_delimiter(&mut out);
        Ok(out)
    }
}

/// The request for the refs that begin with one of the prefixes; of all refs when there is none.
pub(super) fn ls_refs_request(server: &Capabilities, agent: &str, prefixes: &[String]) -> Result<Vec<u8>, PacketError> {
    let mut out = server.begin("ls-refs", agent)?;
    write_data(&mut out, b"peel\n")?;
    write_data(&mut out, b"symrefs\n")?;
    for prefix in prefixes {
        write_data(&mut out, format!("ref-prefix {prefix}\n").as_bytes())?;
    }
    write_flush(&mut out);
    Ok(out)
}

/// A ref of a remote repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteRef {
    /// Full name: `HEAD`, `refs/heads/main`.
    pub name: String,
    /// What it points to: a commit, or the tag object of an annotated tag.
    pub id: Revision,
    /// The commit of an annotated tag.
    pub peeled: Option<Revision>,
    /// The ref it stands for, for a symbolic ref.
    pub symref: Option<String>,
}

/// Reads one line of the answer to `ls-refs`. `None` for what can't be used: a ref without a commit yet, or a name
/// that is not UTF-8.
pub(super) fn parse_ref(line: &[u8]) -> Result<Option<RemoteRef>, ProtocolError> {
    refusal(line)?;
    let Ok(text) = std::str::from_utf8(line) else { return Ok(None) };
    let mut words = text.split(' ');
    let (id, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if id == "unborn" {
        return Ok(None);
    }
    let unexpected = || ProtocolError::Unexpected(format!("`{}` is not a ref", shown(line)));
    let id = Revision::parse(id).map_err(|_| unexpected())?;
    if name.is_empty() {
        return Err(unexpected());
    }
    let mut found = RemoteRef { name: name.to_owned(), id, peeled: None, symref: None };
    for attribute in words {
        if let Some(peeled) = attribute.strip_prefix("peeled:") {
            found.peeled = Some(Revision::parse(peeled).map_err(|_| unexpected())?);
        } else if let Some(target) = attribute.strip_prefix("symref-target:") {
            found.symref = Some(target.to_owned());
        }
    }
    Ok(Some(found))
}

/// What to ask of `fetch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FetchRequest {
    /// Commits wanted.
    pub wants: BTreeSet<Revision>,
    /// Commits held, with everything they reach but for what `shallow` excuses.
    pub haves: BTreeSet<Revision>,
    /// Commits held without their parents.
    pub shallow: BTreeSet<Revision>,
    /// How many commits of history to send; all of it when `None`.
    pub depth: Option<u32>,
    /// What to leave out of the pack. Only for servers that offer filters.
    pub filter: Option<Filter>,
}

/// What a server is asked to leave out. Objects that are wanted by their ids come nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Files.
    Files,
    /// Files and directories.
    FilesAndDirectories,
}

impl Filter {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "blob:none",
            Self::FilesAndDirectories => "tree:0",
        }
    }
}

impl FetchRequest {
    /// The request. It says `done`, so that the pack comes in the one answer: haves are the tips that we track, there
    /// is nothing to negotiate about.
    pub(super) fn encode(&self, server: &Capabilities, agent: &str) -> Result<Vec<u8>, PacketError> {
        let mut out = server.begin("fetch", agent)?;
        for option in ["thin-pack", "no-progress", "ofs-delta"] {
            write_data(&mut out, format!("{option}\n").as_bytes())?;
        }
        if server.shallow() {
            for id in &self.shallow {
                write_data(&mut out, format!("shallow {id}\n").as_bytes())?;
            }
            if let Some(depth) = self.depth {
                write_data(&mut out, format!("deepen {depth}\n").as_bytes())?;
            }
        }
        if let Some(filter) = self.filter {
            write_data(&mut out, format!("filter {}\n", filter.as_str()).as_bytes())?;
        }
        for id in &self.wants {
            write_data(&mut out, format!("want {id}\n").as_bytes())?;
        }
        for id in &self.haves {
            write_data(&mut out, format!("have {id}\n").as_bytes())?;
        }
        write_data(&mut out, b"done\n")?;
        write_flush(&mut out);
        Ok(out)
    }
}

/// What an answer to `fetch` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FetchEvent {
    /// This commit comes without its parents.
    Shallow(Revision),
    /// The parents of this commit come too.
    Unshallow(Revision),
    /// The next bytes of the pack.
    Pack(Bytes),
    /// Nothing of interest.
    Ignored,
    /// The answer is complete.
    End,
}

/// Reads an answer to `fetch`, packet by packet.
#[derive(Debug, Default)]
pub(super) struct FetchParser {
    section: Section,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Between,
    Acknowledgments,
    ShallowInfo,
    /// A section of no interest.
    Other,
    Packfile,
    Ended,
}

impl FetchParser {
    /// Takes the next packet.
    pub(super) fn feed(&mut self, packet: &Packet) -> Result<FetchEvent, ProtocolError> {
        match packet {
            Packet::Delimiter if !matches!(self.section, Section::Packfile | Section::Ended) => {
                self.section = Section::Between;
                Ok(FetchEvent::Ignored)
            }
            Packet::Flush if self.section == Section::Packfile => {
                self.section = Section::Ended;
                Ok(FetchEvent::End)
            }
            Packet::ResponseEnd if self.section == Section::Ended => Ok(FetchEvent::Ignored),
            Packet::Data(data) => self.data(packet, data),
            Packet::Delimiter | Packet::Flush | Packet::ResponseEnd => {
                Err(ProtocolError::Unexpected("it ends without a pack".to_owned()))
            }
        }
    }

    fn data(&mut self, packet: &Packet, data: &Bytes) -> Result<FetchEvent, ProtocolError> {
        let line = packet.line().unwrap_or_default();
        if self.section != Section::Packfile {
            refusal(line)?;
        }
        match self.section {
            Section::Between => {
                self.section = match line {
                    b"acknowledgments" => Section::Acknowledgments,
                    b"shallow-info" => Section::ShallowInfo,
                    b"packfile" => Section::Packfile,
                    b"wanted-refs" | b"packfile-uris" => Section::Other,
                    other => return Err(ProtocolError::Unexpected(format!("unknown section `{}`", shown(other)))),
                };
                Ok(FetchEvent::Ignored)
            }
            Section::Acknowledgments | Section::Other => Ok(FetchEvent::Ignored),
            Section::ShallowInfo => shallow(line),
            Section::Packfile => band(data),
            Section::Ended => Err(ProtocolError::Unexpected("it goes on after its end".to_owned())),
        }
    }
}

/// An error that the server reports in place of an answer.
pub(super) fn refusal(line: &[u8]) -> Result<(), ProtocolError> {
    match line.strip_prefix(b"ERR ") {
        Some(text) => Err(ProtocolError::Refused(shown(text))),
        None => Ok(()),
    }
}

/// The other side's text, fit for a message: one line, at most 200 characters.
pub(super) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text: String = text.trim().chars().take(200).collect();
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
