use proptest::prelude::*;

use super::*;
use crate::git::packet_line::PacketReader;

const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

fn id(text: &str) -> Revision {
    Revision::parse(text).unwrap()
}

fn line(text: &str) -> Packet {
    Packet::Data(Bytes::copy_from_slice(text.as_bytes()))
}

fn server() -> Capabilities {
    let offered = [("agent", "git/2.39.5"), ("fetch", "shallow wait-for-done"), ("object-format", "sha1")];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Capabilities::new(offered.into_iter().map(owned).collect()).unwrap()
}

#[test]
fn an_ls_refs_request_names_its_prefixes() {
    let request = ls_refs_request(&server(), "git/x", &["HEAD".to_owned(), "refs/heads/main".to_owned()]).unwrap();
    let expected = "0014command=ls-refs\n0010agent=git/x\n0017object-format=sha1\n00010009peel\n000csymrefs\n\
        0014ref-prefix HEAD\n001fref-prefix refs/heads/main\n0000";
    assert_eq!(String::from_utf8(request).unwrap(), expected);
}

#[test]
fn ref_lines_are_read_with_their_attributes() {
    let parse = |text: String| parse_ref(text.as_bytes());
    let plain = RemoteRef { name: "refs/heads/main".to_owned(), id: id(ONE), peeled: None, symref: None };
    assert_eq!(parse(format!("{ONE} refs/heads/main")), Ok(Some(plain.clone())));
    let head = RemoteRef { name: "HEAD".to_owned(), symref: Some("refs/heads/main".to_owned()), ..plain.clone() };
    assert_eq!(parse(format!("{ONE} HEAD symref-target:refs/heads/main")), Ok(Some(head)));
    let tag = RemoteRef { name: "refs/tags/v1".to_owned(), peeled: Some(id(TWO)), ..plain };
    assert_eq!(parse(format!("{ONE} refs/tags/v1 peeled:{TWO} new-attribute:x")), Ok(Some(tag)));
    assert_eq!(parse("unborn HEAD symref-target:refs/heads/main".to_owned()), Ok(None));
    assert_eq!(parse_ref(b"1111111111111111111111111111111111111111 refs/heads/\xff"), Ok(None));
    for bad in [String::new(), ONE.to_owned(), format!("{ONE} "), format!("{ONE} x peeled:y"), "x y".to_owned()] {
        assert!(matches!(parse(bad), Err(ProtocolError::Unexpected(_))));
    }
}

#[test]
fn a_fetch_request_says_what_is_held_and_asks_for_one_answer() {
    let request = FetchRequest {
        wants: BTreeSet::from([id(TWO)]),
        haves: BTreeSet::from([id(ONE)]),
        shallow: BTreeSet::from([id(ONE)]),
        depth: Some(1),
        filter: None,
    };
    let expected = format!(
        "0012command=fetch\n0010agent=git/x\n0017object-format=sha1\n0001000ethin-pack\n0010no-progress\n000eofs-delta\n\
         0035shallow {ONE}\n000ddeepen 1\n0032want {TWO}\n0032have {ONE}\n0009done\n0000"
    );
    assert_eq!(String::from_utf8(request.encode(&server(), "git/x").unwrap()).unwrap(), expected);
    let plain = Capabilities(BTreeMap::from([("fetch".to_owned(), String::new())]));
    let text = String::from_utf8(request.encode(&plain, "git/x").unwrap()).unwrap();
    assert!(
        !text.contains("filter") && !text.contains("shallow") && !text.contains("deepen") && !text.contains("agent"),
        "{text}"
    );
}

#[test]
fn a_filter_says_what_to_leave_out() {
    let request = FetchRequest {
        wants: BTreeSet::from([id(TWO)]),
        filter: Some(Filter::FilesAndDirectories),
        ..FetchRequest::default()
    };
    let text = String::from_utf8(request.encode(&server(), "git/x").unwrap()).unwrap();
    assert!(text.contains(&format!("0012filter tree:0\n0032want {TWO}\n0009done\n0000")), "{text}");
    let able = Capabilities::new(BTreeMap::from([("fetch".to_owned(), "shallow filter".to_owned())])).unwrap();
    assert!(able.filter() && !server().filter());
}

fn events(packets: &[Packet]) -> Result<Vec<FetchEvent>, ProtocolError> {
    let mut parser = FetchParser::default();
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
fn an_answer_to_fetch_is_read_section_by_section() {
    let found = events(&[
        line("acknowledgments\n"),
        line("NAK\n"),
        line("ready\n"),
        Packet::Delimiter,
        line("shallow-info\n"),
        line(&format!("shallow {ONE}\n")),
        line(&format!("unshallow {TWO}\n")),
        Packet::Delimiter,
        line("packfile\n"),
        line("\u{2}Counting objects\r"),
        line("\u{1}PACK\n"),
        line("\u{1}rest"),
        line(""),
        Packet::Flush,
        Packet::ResponseEnd,
    ]);
    let pack = |text: &'static str| FetchEvent::Pack(Bytes::from_static(text.as_bytes()));
    let expected = vec![
        FetchEvent::Shallow(id(ONE)),
        FetchEvent::Unshallow(id(TWO)),
        pack("PACK\n"),
        pack("rest"),
        FetchEvent::End,
    ];
    assert_eq!(found, Ok(expected));
}

#[test]
fn errors_in_an_answer_to_fetch_are_surfaced() {
    assert_eq!(
        events(&[line(&format!("ERR upload-pack: not our ref {ONE}\n"))]),
        Err(ProtocolError::Refused(format!("upload-pack: not our ref {ONE}")))
    );
    let fatal = [line("packfile\n"), line("\u{3}pack-objects died\n")];
    assert_eq!(events(&fatal), Err(ProtocolError::Refused("pack-objects died".to_owned())));
    for bad in [
        vec![Packet::Flush],
        vec![line("acknowledgments\n"), line("NAK\n"), Packet::Flush],
        vec![line("mystery\n")],
        vec![line("packfile\n"), line("\u{9}x")],
        vec![line("packfile\n"), Packet::Delimiter],
        vec![line("shallow-info\n"), line("shallow x\n")],
        vec![line("packfile\n"), Packet::Flush, line("\u{1}x")],
    ] {
        assert!(matches!(events(&bad), Err(ProtocolError::Unexpected(_))), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let _ = parse_ref(&bytes);
        let mut reader = PacketReader::default();
        reader.push(&bytes);
        let mut parser = FetchParser::default();
        while let Ok(Some(packet)) = reader.next() {
            let _ = parser.feed(&packet);
        }
        for section in ["shallow-info", "packfile", "acknowledgments"] {
            let mut parser = FetchParser::default();
            let _ = parser.feed(&line(section));
            let _ = parser.feed(&Packet::Data(Bytes::from(bytes.clone())));
        }
    }
}
