//! Which kinds a setting is about.

use globset::{GlobBuilder, GlobMatcher};

/// A pattern over groups and kinds: `apps/Deployment`, `Pod`, `*.crossplane.io/*`. `*` matches any text, dots and slashes
/// included, as in Argo CD.
#[derive(Clone, Debug)]
pub struct KindPattern {
    /// Group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    whole: Option<GlobMatcher>,
}

impl KindPattern {
    /// Every kind.
    pub fn all() -> Self {
        Self::new("*", "*")
    }

    pub(super) fn new(group: &str, kind: &str) -> Self {
        let text = joined(group, kind);
        let whole = has_wildcard(&text).then(|| glob(&text));
        Self { group: group.to_owned(), kind: kind.to_owned(), whole }
    }

    /// `apps_Deployment`, `Pod`: as the end of a key of the ConfigMap.
    pub(super) fn of_key(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('_').collect();
        match parts.as_slice() {
            [kind] if !kind.is_empty() => Ok(Self::new("", kind)),
            [group, kind] if !kind.is_empty() => Ok(Self::new(group, kind)),
            _ => Err(format!("`{text}` does not name a kind; write `<group>_<Kind>`, or `<Kind>` for a core kind")),
        }
    }

    /// `apps/Deployment`, `Pod`, `*.crossplane.io/*`: as a key of `resource.customizations`.
    pub(super) fn of_path(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((group, kind)) if !kind.is_empty() => Ok(Self::new(group, kind)),
            None if text == "*" => Ok(Self::all()),
            None if !text.is_empty() => Ok(Self::new("", text)),
            _ => Err(format!("`{text}` does not name a kind; write `<group>/<Kind>`, or `<Kind>` for a core kind")),
        }
    }

    /// `apps_Deployment`.
    pub(super) fn as_key(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}_{}", self.group, self.kind) }
    }

    /// Whether it is about more than one kind.
    pub const fn has_wildcard(&self) -> bool {
        self.whole.is_some()
    }

    /// Whether it is about this kind.
    pub fn matches(&self, group: &str, kind: &str) -> bool {
        match &self.whole {
            None => self.group == group && self.kind == kind,
            // `*/*` is every kind, core kinds too.
            Some(_) if self.group == "*" && self.kind == "*" => true,
            Some(whole) => whole.is_match(joined(group, kind)),
        }
    }

    /// Group and kind, to find it by.
    pub(super) fn texts(&self) -> (String, String) {
        (self.group.clone(), self.kind.clone())
    }
}

impl PartialEq for KindPattern {
    fn eq(&self, other: &Self) -> bool {
        self.group == other.group && self.kind == other.kind
    }
}

impl Eq for KindPattern {}

fn joined(group: &str, kind: &str) -> String {
    if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") }
}

pub(super) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// A glob in which `*` crosses dots and slashes. A text that is no glob matches itself.
#[expect(clippy::expect_used, reason = "invariant: an escaped pattern is a valid glob")]
pub(super) fn glob(text: &str) -> GlobMatcher {
    let build = |text: &str| GlobBuilder::new(text).literal_separator(false).build();
    build(text)
        .or_else(|_| build(&globset::escape(text)))
        .expect("invariant: an escaped pattern is a valid glob")
        .compile_matcher()
}
