//! Faults of the git server, switched by a file that it reads for every request. Tests run side by side, so each adds
//! and removes its own entry.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::testbed::Testbed;

static ACTIVE: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Lets requests whose path begins with `prefix` meet a fault (see `e2e/gitserver/faults.go`).
pub fn set(prefix: &str, fault: &str) {
    change(|active| {
        active.insert(prefix.to_owned(), fault.to_owned());
    });
}

/// Takes a fault back.
pub fn clear(prefix: &str) {
    change(|active| {
        active.remove(prefix);
    });
}

/// Forgets what an earlier run left.
pub fn clear_all(control: &Path) {
    write(control, &BTreeMap::new());
}

fn change(edit: impl FnOnce(&mut BTreeMap<String, String>)) {
    let mut active = ACTIVE.lock().unwrap_or_else(PoisonError::into_inner);
    edit(&mut active);
    write(&Testbed::shared().git_control, &active);
}

fn write(control: &Path, active: &BTreeMap<String, String>) {
    let entries: Vec<_> = active.iter().map(|(prefix, fault)| json!({"prefix": prefix, "fault": fault})).collect();
    let replacement = control.with_extension("new");
    fs::write(&replacement, json!(entries).to_string()).expect("the control file's directory is writable");
    fs::rename(&replacement, control).expect("the control file can be replaced");
}
