use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::git::packet_line::PacketReader;

const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

fn line(text: &str) -> Packet {
    Packet::Data(Bytes::copy_from_slice(text.as_bytes()))
}

fn id(text: &str) -> Revision {
    Revision::parse(text).unwrap()
}

fn plain(name: &str, of: &str) -> RemoteRef {
    RemoteRef { name: name.to_owned(), id: id(of), peeled: None, symref: None }
}

/// Reads all packets; the last one must complete it.
fn read(prefixes: &[&str], packets: &[Packet]) -> Result<(Server, Vec<RemoteRef>), ProtocolError> {
    let prefixes: Vec<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    let mut reader = AdvertisementReader::keeping(&prefixes);
    for (index, packet) in packets.iter().enumerate() {
        assert_eq!(reader.feed(packet)?, index + 1 == packets.len(), "{index}");
    }
    Ok(reader.finish().unwrap())
}

const OF_VERSION_2: &[u8] = b"001e# service=git-upload-pack\n0000000eversion 2\n0015agent=git/2.39.5\n\
    0013ls-refs=unborn\n0020fetch=shallow wait-for-done\n0012server-option\n0017object-format=sha1\n0000";

#[test]
fn an_advertisement_of_version_2_is_read_with_and_without_http() {
    let mut reader = PacketReader::default();
    reader.push(OF_VERSION_2);
    let packets: Vec<Packet> = std::iter::from_fn(|| reader.next().unwrap()).collect();
    let offered = [
        ("agent", "git/2.39.5"),
        ("ls-refs", "unborn"),
        ("fetch", "shallow wait-for-done"),
        ("server-option", ""),
        ("object-format", "sha1"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let expected = Capabilities::new(offered.into_iter().map(owned).collect()).unwrap();
    let read_back = read(&[], &packets).unwrap();
    assert_eq!(read_back, (Server::Version2(expected), Vec::new()));
    assert_eq!(read(&[], &packets[2..]).unwrap(), read_back);
}

#[test]
fn the_refs_of_version_0_and_1_are_filtered_by_their_names() {
    let packets = [
        line(&format!("{ONE} HEAD\0multi_ack symref=HEAD:refs/heads/main object-format=sha1 agent=git/1\n")),
        line(&format!("{ONE} refs/heads/main\n")),
        line(&format!("{TWO} refs/heads/other\n")),
        line(&format!("{TWO} refs/tags/v1\n")),
        line(&format!("{ONE} refs/tags/v1^{{}}\n")),
        line(&format!("{TWO} refs/tags/w1\n")),
        line(&format!("{ONE} refs/tags/w1^{{}}\n")),
        line(&format!("shallow {ONE}\n")),
        Packet::Flush,
    ];
    let server = Server::Old(OldServer::with(&["multi_ack", "symref", "object-format", "agent"]));
    let head = RemoteRef { symref: Some("refs/heads/main".to_owned()), ..plain("HEAD", ONE) };
    let tag = RemoteRef { peeled: Some(id(ONE)), ..plain("refs/tags/v1", TWO) };
    let expected = (server.clone(), vec![head.clone(), plain("refs/heads/main", ONE), tag.clone()]);
    let prefixes = ["HEAD", "refs/heads/main", "refs/tags/v1"];
    assert_eq!(read(&prefixes, &packets), Ok(expected.clone()));
    let mut http = vec![line("# service=git-upload-pack\n"), Packet::Flush];
    http.extend(packets.clone());
    assert_eq!(read(&prefixes, &http), Ok(expected.clone()));
    let mut of_version_1 = vec![line("version 1\n")];
    of_version_1.extend(packets.clone());
    assert_eq!(read(&prefixes, &of_version_1), Ok(expected));
    assert_eq!(read(&[], &packets).unwrap().1.len(), 5, "all of them without prefixes");
    let mut reader = AdvertisementReader::without_refs();
    for packet in &packets {
        reader.feed(packet).unwrap();
    }
    assert_eq!(reader.finish(), Some((server, Vec::new())));
}

#[test]
fn an_empty_repository_has_no_refs_in_any_version() {
    let nothing = "0000000000000000000000000000000000000000";
    let packets = [line(&format!("{nothing} capabilities^{{}}\0shallow\n")), Packet::Flush];
    assert_eq!(read(&[], &packets), Ok((Server::Old(OldServer::with(&["shallow"])), Vec::new())));
    let bare = (Server::Old(OldServer::default()), Vec::new());
    assert_eq!(read(&[], &[Packet::Flush]), Ok(bare.clone()));
    assert_eq!(read(&[], &[line("# service=git-upload-pack"), Packet::Flush, Packet::Flush]), Ok(bare));
}

#[test]
fn what_can_not_be_read_is_refused_for_what_it_is() {
    let refused = |packets: &[Packet]| read(&[], packets).unwrap_err();
    let long = format!("{ONE}{}", &TWO[..24]);
    let sha256 = ProtocolError::ObjectFormat("sha256".to_owned());
    assert_eq!(refused(&[line("version 2\n"), line("object-format=sha256\n"), Packet::Flush]), sha256);
    assert_eq!(refused(&[line(&format!("{long} HEAD\0object-format=sha256\n")), Packet::Flush]), sha256);
    assert_eq!(refused(&[line(&format!("{long} HEAD\0agent=x\n")), Packet::Flush]), sha256);
    assert_eq!(refused(&[line("ERR no\x1b such\n")]), ProtocolError::Refused("no  such".to_owned()));
    assert_eq!(refused(&[line("hello")]), ProtocolError::Unexpected("it begins with `hello`".to_owned()));
    let not_a_ref = |text: &str| ProtocolError::Unexpected(format!("`{text}` is not a ref"));
    let first = line(&format!("{ONE} HEAD\0x"));
    assert_eq!(refused(&[first.clone(), line("x y")]), not_a_ref("x y"));
    assert_eq!(refused(&[first.clone(), line(&format!("{ONE} "))]), not_a_ref(ONE));
    let late = format!("{ONE} refs/heads/a");
    assert_eq!(refused(&[first, line(&format!("shallow {ONE}")), line(&late)]), not_a_ref(&late));
    assert!(matches!(refused(&[Packet::Delimiter]), ProtocolError::Unexpected(_)));
}

proptest! {
    #[test]
    fn arbitrary_lines_never_panic(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..6), start in 0_usize..4) {
        let mut reader = AdvertisementReader::keeping(&[]);
        let _ = match start {
            0 => Ok(false),
            1 => reader.feed(&line("# service=git-upload-pack")),
            2 => reader.feed(&line("version 2")),
            _ => reader.feed(&line(&format!("{ONE} HEAD\0a b=c"))),
        };
        for content in lines {
            let _ = reader.feed(&Packet::Data(Bytes::from(content)));
        }
        let _ = reader.feed(&Packet::Flush);
        let _ = reader.finish();
    }
}
