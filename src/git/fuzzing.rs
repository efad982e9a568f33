//! Doors for fuzzing: parsers that see bytes of the network. Not part of the program.

use super::advertisement::{AdvertisementReader, Server};
use super::old_protocol::OldFetchParser;
use super::packet_line::{PacketReader, write_data};
use super::protocol::{FetchParser, FetchRequest};
use super::ssh::KnownHosts;
use super::submodules::Submodules;

/// Packet lines in pieces of two sizes give the same packets, and a written packet reads as itself.
pub fn packet_lines(bytes: &[u8]) {
    let read = |size: usize| {
        let mut reader = PacketReader::default();
        let mut packets = Vec::new();
        for piece in bytes.chunks(size.max(1)) {
            reader.push(piece);
            loop {
                match reader.next() {
                    Ok(Some(packet)) => packets.push(Ok(packet)),
                    Ok(None) => break,
                    Err(error) => {
                        packets.push(Err(error));
                        return packets;
                    }
                }
            }
        }
        packets
    };
    assert_eq!(read(1), read(4096), "the size of pieces changes nothing");
    let mut written = Vec::new();
    if write_data(&mut written, bytes).is_ok() {
        let mut reader = PacketReader::default();
        reader.push(&written);
        let packet = reader.next().ok().flatten();
        assert!(packet.is_some() && reader.is_empty(), "a packet reads as one packet");
    }
}

/// The list of refs and capabilities that a server begins with.
pub fn advertisement(bytes: &[u8]) {
    let prefixes = ["refs/heads/main".to_owned(), "HEAD".to_owned()];
    for mut reading in [AdvertisementReader::keeping(&prefixes), AdvertisementReader::without_refs()] {
        let mut reader = PacketReader::default();
        reader.push(bytes);
        let mut complete = false;
        while let Ok(Some(packet)) = reader.next() {
            match reading.feed(&packet) {
                Ok(ended) => complete = ended,
                Err(_) => return,
            }
            if complete {
                break;
            }
        }
        if complete && let Some((server, _)) = reading.finish() {
            let request = FetchRequest { depth: Some(1), ..FetchRequest::default() };
            let _ = match &server {
                Server::Version2(server) => request.encode(server, "fuzz").is_ok(),
                Server::Old(server) => request.encode_old(server, "fuzz").is_ok(),
            };
        }
    }
}

/// An answer to `fetch` with its side bands, in both families of the protocol.
pub fn side_bands(bytes: &[u8]) {
    let mut reader = PacketReader::default();
    reader.push(bytes);
    let mut parser = FetchParser::default();
    while let Ok(Some(packet)) = reader.next() {
        if parser.feed(&packet).is_err() {
            break;
        }
    }
    let mut greeting = AdvertisementReader::without_refs();
    let mut lines = PacketReader::default();
    lines.push(b"0078fca3d3bd3b0d3b6b1d3b0d3b6b1d3b0d3b6b1d3b HEAD\0side-band-64k shallow ofs-delta thin-pack allow-tip-sha1-in-want n\n0000");
    while let Ok(Some(packet)) = lines.next() {
        if greeting.feed(&packet).is_err() {
            break;
        }
    }
    if let Some((Server::Old(server), _)) = greeting.finish() {
        let request = FetchRequest { depth: Some(1), ..FetchRequest::default() };
        let mut parser = OldFetchParser::new(&request, &server);
        let mut reader = PacketReader::default();
        reader.push(bytes);
        while let Ok(Some(packet)) = reader.next() {
            if parser.feed(&packet).is_err() {
                break;
            }
        }
    }
}

/// What people and servers write into small files: `known_hosts`, `.gitmodules`.
pub fn small_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = KnownHosts::parse(&text);
    let _ = Submodules::parse(bytes);
}
