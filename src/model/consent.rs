//! Whether an object may be deleted.

/// Whether an object may be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consent {
    /// It may.
    #[default]
    Given,
    /// Only after a person confirmed it (`Prune=confirm`, `Delete=confirm`).
    Needed,
    /// Never (`Prune=false`, `Delete=false`, `helm.sh/resource-policy: keep`).
    Refused,
}
