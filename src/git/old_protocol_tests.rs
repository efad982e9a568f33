use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

fn id(text: &str) -> Revision {
    Revision::parse(text).unwrap()
}

fn line(text: &str) -> Packet {
    Packet::Data(Bytes::copy_from_slice(text.as_bytes()))
}

fn request() -> FetchRequest {
    FetchRequest {
        wants: BTreeSet::from([id(ONE), id(TWO)]),
        haves: BTreeSet::from([id(ONE)]),
        shallow: BTreeSet::from([id(ONE)]),
        depth: Some(1),
        filter: None,
    }
}

fn encoded(server: &OldServer) -> String {
    String::from_utf8(request().encode_old(server, "git/x").unwrap()).unwrap()
}

#[test]
fn a_request_asks_only_for_what_is_offered() {
    let all = OldServer::with(&[
        "multi_ack",
        "multi_ack_detailed",
        "side-band",
        "side-band-64k",
        "thin-pack",
        "ofs-delta",
        "shallow",
        "no-progress",
        "include-tag",
        "agent",
        "object-format",
        "no-done",
    ]);
    let expected = format!(
        "0092want {ONE} multi_ack_detailed thin-pack ofs-delta no-progress side-band-64k agent=git/x \
         object-format=sha1\n0032want {TWO}\n0035shallow {ONE}\n000ddeepen 1\n00000032have {ONE}\n0009done\n"
    );
    assert_eq!(encoded(&all), expected);
    let narrow = encoded(&OldServer::with(&["side-band"]));
    assert_eq!(narrow, format!("003cwant {ONE} side-band\n0032want {TWO}\n00000032have {ONE}\n0009done\n"));
    let plain = encoded(&OldServer::default());
    assert_eq!(plain, format!("0032want {ONE}\n0032want {TWO}\n00000032have {ONE}\n0009done\n"));
}

fn events(server: &OldServer, packets: &[Packet]) -> Result<Vec<FetchEvent>, ProtocolError> {
    let mut parser = OldFetchParser::new(&request(), server);
    let mut found = Vec::new();
    for packet in packets {
        match parser.feed(packet)? {
            FetchEvent::Ignored => {}
            event => found.push(event),
        }
    }
    Ok(found)
}

#[test]
fn an_answer_is_read_section_by_section() {
    let pack = |text: &'static str| FetchEvent::Pack(Bytes::from_static(text.as_bytes()));
    let shallow = [line(&format!("shallow {ONE}\n")), line(&format!("unshallow {TWO}\n")), Packet::Flush];
    let acknowledged = [line(&format!("ACK {ONE} common\n")), line(&format!("ACK {ONE}\n"))];
    let bands = [line("\u{2}Counting"), line("\u{1}PACK\n"), line("\u{1}rest"), line(""), Packet::Flush];
    let both = OldServer::with(&["shallow", "side-band-64k"]);
    let expected =
        [FetchEvent::Shallow(id(ONE)), FetchEvent::Unshallow(id(TWO)), pack("PACK\n"), pack("rest"), FetchEvent::End];
    let all: Vec<Packet> = [&shallow[..], &acknowledged, &bands].concat();
    assert_eq!(events(&both, &all).unwrap(), expected);
    // Who can't deepen says nothing of it.
    let deep: Vec<Packet> = [&[line("NAK\n")], &bands[..]].concat();
    assert_eq!(events(&OldServer::with(&["side-band"]), &deep).unwrap(), expected[2..]);
}

#[test]
fn without_bands_the_pack_follows_as_it_is() {
    let mut parser = OldFetchParser::new(&request(), &OldServer::with(&["shallow"]));
    assert!(!parser.pack_may_begin(), "first comes what is shallow");
    parser.feed(&Packet::Flush).unwrap();
    assert!(parser.pack_may_begin());
    parser.feed(&line("NAK\n")).unwrap();
    assert!(parser.pack_may_begin());
    assert!(!OldFetchParser::new(&request(), &OldServer::with(&["side-band"])).pack_may_begin());
}

#[test]
fn errors_are_surfaced() {
    let both = OldServer::with(&["shallow", "side-band-64k"]);
    let not_ours = format!("upload-pack: not our ref {ONE}");
    assert_eq!(events(&both, &[line(&format!("ERR {not_ours}\n"))]), Err(ProtocolError::Refused(not_ours)));
    let died = [Packet::Flush, line("NAK"), line("\u{3}pack-objects died\n")];
    assert_eq!(events(&both, &died), Err(ProtocolError::Refused("pack-objects died".to_owned())));
    for bad in [
        vec![line("mystery\n")],
        vec![Packet::Flush, line("NAK"), Packet::Flush],
        vec![Packet::Flush, line("NAK"), line("\u{9}x")],
        vec![Packet::Delimiter],
        vec![line("shallow x\n")],
        vec![Packet::Flush, line("\u{1}x"), Packet::Flush, line("\u{1}x")],
    ] {
        assert!(matches!(events(&both, &bad), Err(ProtocolError::Unexpected(_))), "{bad:?}");
    }
    let plain = [line("NAK"), line("anything else")];
    assert!(matches!(events(&OldServer::default(), &plain), Err(ProtocolError::Unexpected(_))));
}

proptest! {
    #[test]
    fn arbitrary_packets_never_panic(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..6), banded in any::<bool>()) {
        let server = if banded { OldServer::with(&["side-band", "shallow"]) } else { OldServer::default() };
        let mut parser = OldFetchParser::new(&request(), &server);
        for content in contents {
            let _ = parser.feed(&Packet::Data(Bytes::from(content)));
            let _ = parser.pack_may_begin();
        }
        let _ = parser.feed(&Packet::Flush);
    }
}
