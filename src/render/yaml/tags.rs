//! Tags that a comma follows directly (`[!a, b]`).
//!
//! YAML does not allow them, libyaml's descendants disagree about them, and the parser used here panics on them. They are
//! found and refused beforehand. Only a scanner knows whether a `!` begins a tag or stands in a text, a comment or a block:
//! so the text is scanned once with every suspect `!` turned into a letter, which changes nothing where it is no tag, and
//! makes a plain scalar begin at its place where it is one. Texts without a suspect are not scanned.

use std::collections::BTreeSet;
use std::io::BufReader;

use libyaml_safer::{ScalarStyle, Scanner, TokenData};

use super::YamlError;
use super::compose::{CHUNK, invalid, refusal};

/// Refuses a text with a tag that a comma follows directly in a flow collection.
pub(super) fn refuse_before_commas(text: &str) -> Result<(), YamlError> {
    let suspects = suspects(text.as_bytes());
    if suspects.is_empty() {
        return Ok(());
    }
    let mut disarmed = text.as_bytes().to_vec();
    for place in &suspects {
        if let Some(byte) = disarmed.get_mut(*place) {
            *byte = b'x';
        }
    }
    let mut scanner = Scanner::new();
    scanner.set_input(BufReader::with_capacity(CHUNK, disarmed.as_slice()));
    let mut flow_level = 0_usize;
    for token in &mut scanner {
        let token = token.map_err(|error| refusal(&error))?;
        match token.data {
            TokenData::StreamEnd => break,
            TokenData::FlowSequenceStart | TokenData::FlowMappingStart => flow_level += 1,
            TokenData::FlowSequenceEnd | TokenData::FlowMappingEnd => flow_level = flow_level.saturating_sub(1),
            TokenData::Scalar { style: ScalarStyle::Plain, .. } if flow_level > 0 => {
                let start = usize::try_from(token.start_mark.index).unwrap_or(usize::MAX);
                if suspects.contains(&start) {
                    return Err(invalid(token.start_mark, "a tag must be followed by a space or a line break"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Places of `!` from which characters of a tag lead to a comma.
fn suspects(text: &[u8]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut from = 0;
    while let Some(start) = text.iter().skip(from).position(|byte| *byte == b'!').map(|offset| from + offset) {
        let rest = text.get(start..).unwrap_or_default();
        let run = |from: usize, is: fn(u8) -> bool| rest.iter().skip(from).take_while(|byte| is(**byte)).count();
        // A tag of the form `!<…>` may hold commas and brackets, and what it holds may be suspect by itself.
        if rest.get(1) == Some(&b'<') {
            let close = 2 + run(2, is_verbatim_byte);
            if rest.get(close..close + 2) == Some(b">,") {
                found.insert(start);
            }
            from = start + 1;
            continue;
        }
        let end = start + run(0, is_tag_byte);
        if text.get(end) == Some(&b',') {
            found.extend((start..end).filter(|place| text.get(*place) == Some(&b'!')));
        }
        from = end;
    }
    found
}

fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'_' | b'-' | b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b'.' | b'%')
        || matches!(byte, b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
}

fn is_verbatim_byte(byte: u8) -> bool {
    is_tag_byte(byte) || matches!(byte, b',' | b'[' | b']')
}
