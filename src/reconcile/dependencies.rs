//! placeholder
use super::driver::Driver;
use crate::api::Application;
use crate::plan::progress::Waiting;
impl Driver {
    pub(super) fn dependents_waiting(&self, _application: &Application) -> Vec<Waiting> {
        Vec::new()
    }
}
