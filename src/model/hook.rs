//! The marks of a hook's object, besides those of ownership.

/// Annotation of a hook's object that names the attempt which made it.
pub const HOOK_ATTEMPT_ANNOTATION: &str = "tidelock.dev/hook-attempt";
/// Finalizer of a hook's object: it stays until its result was seen, whatever its time to live.
pub const HOOK_FINALIZER: &str = "tidelock.dev/hook-finalizer";
