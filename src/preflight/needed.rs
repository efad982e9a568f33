//! Whether a change is tried before it is written.

use crate::api::Preflight;

/// Whether a change is tried on the server before its first write.
///
/// `auto` tries an update of an Application that already runs, unless it only puts back what drifted. A single write is its own
/// trial: there is nothing else that a refusal would leave half done.
pub const fn needed(mode: Preflight, runs_already: bool, heal: bool, writes: usize) -> bool {
    match mode {
        Preflight::Auto => runs_already && !heal && writes > 1,
        Preflight::Always => writes > 0,
        Preflight::Never => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_for_updates_of_what_runs() {
        assert!(needed(Preflight::Auto, true, false, 2));
        assert!(!needed(Preflight::Auto, true, false, 1));
        assert!(!needed(Preflight::Auto, true, true, 2));
        assert!(!needed(Preflight::Auto, false, false, 2));
    }

    #[test]
    fn always_and_never_are_what_they_say() {
        assert!(needed(Preflight::Always, false, true, 1));
        assert!(!needed(Preflight::Always, true, false, 0));
        assert!(!needed(Preflight::Never, true, false, 9));
    }
}
