//! The trees of other sources of the same Application, which this one may name as `$ref/path`.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::Files;

/// Trees by the `ref` of their source.
#[derive(Clone, Default)]
pub struct References<'a> {
    trees: BTreeMap<String, &'a dyn Files>,
}

impl<'a> References<'a> {
    /// Lends a tree under a name. A name that is taken gets the new tree.
    pub fn insert(&mut self, name: impl Into<String>, files: &'a dyn Files) {
        self.trees.insert(name.into(), files);
    }

    /// Names and trees, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a dyn Files)> {
        self.trees.iter().map(|(name, files)| (name.as_str(), *files))
    }
}

impl fmt::Debug for References<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.trees.keys()).finish()
    }
}
