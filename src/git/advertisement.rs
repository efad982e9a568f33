//! What a server says of itself before it is asked anything: its protocol version, its capabilities, and in the old
//! versions every ref. Pure; reads packet by packet, and keeps only the refs that are asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Revision;

use super::packet_line::Packet;
use super::protocol::{Capabilities, ProtocolError, RemoteRef, refusal, shown};

/// A server, by the protocol version it answers in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// Version 2.
    Version2(Capabilities),
    /// Version 0 or 1: no `Git-Protocol` reached the server, or it is older than git 2.18.
    Old(OldServer),
}

/// What a server of protocol version 0 or 1 can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OldServer(BTreeSet<String>);

impl OldServer {
    /// Whether a capability is offered, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

#[cfg(test)]
impl OldServer {
    pub(super) fn with(capabilities: &[&str]) -> Self {
        Self(capabilities.iter().map(|name| (*name).to_owned()).collect())
    }
}

/// Reads an advertisement.
#[derive(Debug)]
pub(super) struct AdvertisementReader<'a> {
    /// Which refs to keep.
    prefixes: &'a [String],
    /// Whether to keep refs at all. `prefixes` empty means all of them.
    keeps_refs: bool,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Start,
    /// After `# service=…`, which smart HTTP puts in front, with a flush behind it.
    Service {
        flushed: bool,
    },
    /// After `version 1`.
    Version1,
    Version2(BTreeMap<String, String>),
    Old(OldList),
    Done(Server, Vec<RemoteRef>),
}

#[derive(Debug, Default)]
struct OldList {
    capabilities: BTreeSet<String>,
    /// What symbolic refs stand for, by name.
    symrefs: BTreeMap<String, String>,
    refs: Vec<RemoteRef>,
    /// Only `shallow` lines may follow.
    refs_ended: bool,
}

impl<'a> AdvertisementReader<'a> {
    /// Keeps the refs that begin with one of `prefixes`, all of them when there is none.
    pub(super) fn keeping(prefixes: &'a [String]) -> Self {
        Self { prefixes, keeps_refs: true, state: State::Start }
    }

    /// Keeps no refs.
    pub(super) fn without_refs() -> Self {
        Self { prefixes: &[], keeps_refs: false, state: State::Start }
    }

    /// Takes the next packet. True when the advertisement is complete.
    pub(super) fn feed(&mut self, packet: &Packet) -> Result<bool, ProtocolError> {
        let line = match packet {
            Packet::Data(_) => packet.line().unwrap_or_default(),
            Packet::Flush => return self.flush(),
            Packet::Delimiter | Packet::ResponseEnd => {
                return Err(ProtocolError::Unexpected("a list of refs with a delimiter".to_owned()));
            }
        };
        refusal(line)?;
        match &mut self.state {
            State::Start if line.starts_with(b"# service=") => self.state = State::Service { flushed: false },
            State::Start | State::Service { .. } if line == b"version 2" => {
                self.state = State::Version2(BTreeMap::new());
            }
            State::Start | State::Service { .. } if line == b"version 1" => self.state = State::Version1,
            State::Start | State::Service { .. } | State::Version1 => {
                let mut list = OldList::default();
                self.first(&mut list, line)?;
                self.state = State::Old(list);
            }
            State::Version2(found) => {
                let text = String::from_utf8_lossy(line);
                let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                found.insert(name.to_owned(), value.to_owned());
            }
            State::Old(list) => {
                let kept = self.keeps_refs.then_some(self.prefixes);
                list.line(line, kept)?;
            }
            State::Done(..) => return Err(ProtocolError::Unexpected("it goes on after its end".to_owned())),
        }
        Ok(false)
    }

    fn flush(&mut self) -> Result<bool, ProtocolError> {
        match std::mem::take(&mut self.state) {
            State::Service { flushed: false } => {
                self.state = State::Service { flushed: true };
                Ok(false)
            }
            State::Version2(found) => {
                let server = Server::Version2(Capabilities::new(found)?);
                self.state = State::Done(server, Vec::new());
                Ok(true)
            }
            State::Old(list) => {
                let OldList { capabilities, symrefs, mut refs, refs_ended: _ } = list;
                for found in &mut refs {
                    found.symref = symrefs.get(&found.name).cloned();
                }
                self.state = State::Done(Server::Old(OldServer(capabilities)), refs);
                Ok(true)
            }
            // A server older than git 2.14 says no more than this of an empty repository.
            State::Start | State::Service { flushed: true } | State::Version1 => {
                self.state = State::Done(Server::Old(OldServer::default()), Vec::new());
                Ok(true)
            }
            State::Done(..) => Err(ProtocolError::Unexpected("it goes on after its end".to_owned())),
        }
    }

    /// The first line of the old versions: a ref, or `capabilities^{}` in an empty repository, and the capabilities.
    fn first(&self, list: &mut OldList, line: &[u8]) -> Result<(), ProtocolError> {
        let mut parts = line.splitn(2, |byte| *byte == 0);
        let (named, offered) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let digits = named.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits < 40 {
            return Err(ProtocolError::Unexpected(format!("it begins with `{}`", shown(named))));
        }
        for capability in String::from_utf8_lossy(offered).split(' ').filter(|word| !word.is_empty()) {
            let (name, value) = capability.split_once('=').unwrap_or((capability, ""));
            match name {
                "object-format" if value != "sha1" => {
                    return Err(ProtocolError::ObjectFormat(shown(value.as_bytes())));
                }
                "symref" => {
                    if let Some((from, to)) = value.split_once(':') {
                        list.symrefs.insert(from.to_owned(), to.to_owned());
                    }
                }
                _ => {}
            }
            list.capabilities.insert(name.to_owned());
        }
        if digits == 64 {
            return Err(ProtocolError::ObjectFormat("sha256".to_owned()));
        }
        list.line(named, self.keeps_refs.then_some(self.prefixes))
    }

    /// What was read: the server, and the refs that were kept (none in version 2, which lists them on demand). `None`
    /// before the end.
    pub(super) fn finish(self) -> Option<(Server, Vec<RemoteRef>)> {
        match self.state {
            State::Done(server, refs) => Some((server, refs)),
            State::Start | State::Service { .. } | State::Version1 | State::Version2(_) | State::Old(_) => None,
        }
    }
}

impl OldList {
    fn line(&mut self, line: &[u8], kept: Option<&[String]>) -> Result<(), ProtocolError> {
        if line.starts_with(b"shallow ") {
            self.refs_ended = true;
            return Ok(());
        }
        let unexpected = || ProtocolError::Unexpected(format!("`{}` is not a ref", shown(line)));
        if self.refs_ended {
            return Err(unexpected());
        }
        let (id, name) = line.split_at_checked(40).ok_or_else(unexpected)?;
        let id = std::str::from_utf8(id).ok().and_then(|id| Revision::parse(id).ok()).ok_or_else(unexpected)?;
        let name = name.strip_prefix(b" ").filter(|name| !name.is_empty()).ok_or_else(unexpected)?;
        // Names that are not UTF-8 can't be asked for.
        let Ok(name) = std::str::from_utf8(name) else { return Ok(()) };
        if name == "capabilities^{}" {
            return Ok(());
        }
        if let Some(tag) = name.strip_suffix("^{}") {
            // The commit of the annotated tag in the line before, if that was kept.
            if let Some(last) = self.refs.last_mut().filter(|last| last.name == tag) {
                last.peeled = Some(id);
            }
            return Ok(());
        }
        let wanted = kept.is_some_and(|prefixes| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
        });
        if wanted {
            self.refs.push(RemoteRef { name: name.to_owned(), id, peeled: None, symref: None });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "advertisement_tests.rs"]
mod tests;
