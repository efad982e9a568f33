//! The budget of a status. An object in etcd may have 1.5 MiB and a status is rewritten whole, so it is kept small:
//! 64 KiB in all, shared out here. What does not fit is counted, never silently lost.

/// Bytes of inventory kept in the status itself; a larger one goes to Inventory objects.
pub const INLINE_INVENTORY_BYTES: usize = 20 * 1024;
/// Bytes of `resources`.
pub(super) const RESOURCES_BYTES: usize = 20 * 1024;
/// Bytes of `operationState.resources`.
pub(super) const RESULTS_BYTES: usize = 8 * 1024;
/// Entries of `waitingOn`.
pub(super) const WAITING_ENTRIES: usize = 10;
/// Bytes of one condition's message.
pub(super) const MESSAGE_BYTES: usize = 1024;
/// Bytes of one object's message.
pub(super) const OBJECT_MESSAGE_BYTES: usize = 256;

/// Cuts a text at a character boundary and marks the cut.
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
        assert!(shorten(&"x".repeat(2000), MESSAGE_BYTES).len() <= MESSAGE_BYTES);
    }
}
