use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::*;

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(0x80 | u8::try_from(value & 0x7f).unwrap());
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// An object's head and compressed content, with what lies between for differences.
fn object(kind: u8, size: u64, between: &[u8], content: &[u8]) -> Vec<u8> {
    let more = if size > 15 { 0x80 } else { 0 };
    let mut bytes = vec![more | kind << 4 | (size & 15) as u8];
    if size > 15 {
        bytes.extend(varint(size >> 4));
    }
    bytes.extend(between);
    bytes.extend(zlib(content));
    bytes
}

fn whole(kind: u8, content: &[u8]) -> Vec<u8> {
    object(kind, content.len() as u64, &[], content)
}

fn difference(base: u64, result: u64) -> Vec<u8> {
    let content = [varint(base), varint(result), vec![0x90, 5]].concat();
    object(7, content.len() as u64, &[0xab; 20], &content)
}

fn pack(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"PACK\0\0\0\x02".to_vec();
    bytes.extend(u32::try_from(objects.len()).unwrap().to_be_bytes());
    bytes.extend(objects.concat());
    bytes.extend([0; 20]);
    bytes
}

/// The number of objects, and whether all have come.
fn scan(limit: u64, bytes: &[u8], cut: usize) -> Result<(u32, bool), ScanError> {
    let mut scanner = PackScanner::new(limit);
    for piece in bytes.chunks(cut) {
        scanner.feed(piece)?;
    }
    Ok((scanner.objects(), scanner.is_complete()))
}

fn mixed() -> Vec<u8> {
    let large = vec![b'x'; 200_000];
    pack(&[whole(1, b"commit"), whole(3, &large), whole(3, b""), difference(200_000, 100_000), {
        let content = [varint(3), varint(4), vec![4, 1, 2, 3, 4]].concat();
        object(6, content.len() as u64, &[0x81, 0x05], &content)
    }])
}

#[test]
fn objects_of_every_kind_are_counted_in_pieces_of_any_size() {
    let bytes = mixed();
    for cut in [1, 2, 7, 100, 4096, bytes.len()] {
        assert_eq!(scan(200_000, &bytes, cut), Ok((5, true)), "{cut}");
    }
    assert_eq!(scan(1, &pack(&[]), 5), Ok((0, true)));
    assert_eq!(scan(200_000, &bytes[..bytes.len() - 25], 100), Ok((5, false)), "the last object is not whole");
    assert_eq!(scan(1, b"PACK", 4), Ok((0, false)));
}

#[test]
fn an_object_over_the_limit_is_refused_before_it_is_unpacked() {
    let too_large = |size| Err(ScanError::TooLarge { size, limit: 199_999 });
    assert_eq!(scan(199_999, &mixed(), 1000), too_large(200_000));
    // What a few bytes say to stand for.
    let bomb = pack(&[difference(100, 4 << 30)]);
    assert!(bomb.len() < 100);
    assert_eq!(scan(199_999, &bomb, 9), too_large(4 << 30));
    assert_eq!(scan(199_999, &pack(&[difference(1 << 40, 1)]), 9), too_large(1 << 40));
    assert_eq!(scan(199_999, &pack(&[object(3, 1 << 50, &[], b"")]), 9), too_large(1 << 50));
}

#[test]
fn an_object_that_unpacks_to_more_or_less_than_it_says_is_broken() {
    for said in [9, 11, 0] {
        let broken = pack(&[object(3, said, &[], b"ten bytes!")]);
        assert!(matches!(scan(1000, &broken, 50), Err(ScanError::Broken(_))), "{said}");
    }
    // A megabyte of zeros in a kilobyte: it ends at the size that it says to have.
    let bomb = pack(&[object(3, 1000, &[], &vec![0; 1 << 20])]);
    assert!(matches!(scan(1000, &bomb, 50), Err(ScanError::Broken(_))));
}

#[test]
fn what_is_no_pack_is_broken() {
    for bytes in [
        b"<html><body>blocked".to_vec(),
        b"PACK\0\0\0\x04\0\0\0\x01".to_vec(),
        pack(&[vec![0x50]]),
        pack(&[vec![0x00]]),
        pack(&[vec![0x33, 1, 2, 3]]),
        pack(&[vec![0x33, 0x78, 0x9c, 0xff, 0xff]]),
        pack(&[[vec![0xb0], vec![0xff; 12]].concat()]),
        pack(&[object(7, 1, &[0; 20], &[0x80])]),
        pack(&[object(7, 0, &[0; 20], &[])]),
    ] {
        assert!(matches!(scan(1 << 20, &bytes, 3), Err(ScanError::Broken(_))), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), cut in 1_usize..50) {
        let _ = scan(1000, &bytes, cut);
        let _ = scan(1000, &[b"PACK\0\0\0\x02\0\0\0\x03".as_slice(), &bytes].concat(), cut);
        let _ = scan(1000, &[b"PACK\0\0\0\x02\0\0\0\x03\x3f\x78\x9c".as_slice(), &bytes].concat(), cut);
    }

    #[test]
    fn what_is_packed_is_understood(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..6), cut in 1_usize..500) {
        let objects: Vec<Vec<u8>> = contents.iter().map(|content| whole(3, content)).collect();
        prop_assert_eq!(scan(2000, &pack(&objects), cut), Ok((u32::try_from(contents.len()).unwrap(), true)));
    }
}
