//! The trees of other sources of the same Application, which this one may name as `$ref/path`.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::Files;

use super::chart_archives::ChartArchives;

/// What a render may take from outside its own tree: trees by the `ref` of their source, and archives of charts.
#[derive(Clone, Default)]
pub struct References<'a> {
    trees: BTreeMap<String, &'a dyn Files>,
    charts: Option<&'a ChartArchives>,
}

impl<'a> References<'a> {
    /// Lends a tree under a name. A name that is taken gets the new tree.
    pub fn insert(&mut self, name: impl Into<String>, files: &'a dyn Files) {
        self.trees.insert(name.into(), files);
    }

    /// Gives the archives of charts that others depend on. Without them a dependency that does not lie beside its chart is
    /// a failure; with them it is noted as lacking.
    pub fn with_charts(&mut self, charts: &'a ChartArchives) {
        self.charts = Some(charts);
    }

    pub(super) fn charts(&self) -> Option<&'a ChartArchives> {
        self.charts
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
