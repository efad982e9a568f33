//! Texts within a limit.

/// Cuts a text at a character boundary so that it fits into a number of bytes, and marks the cut.
pub fn shorten(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_characters_within_the_limit() {
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("ääää", 6), "ä…");
        assert!(shorten(&"x".repeat(2000), 1024).len() <= 1024);
    }
}
