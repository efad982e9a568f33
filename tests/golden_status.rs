//! Each folder of `tests/status` is a case that reads as a specification: an Application, what its source wants, what the
//! cluster is seen to hold at some moments, and the status at each of them. `UPDATE_GOLDEN=1 cargo test --test golden_status`
//! writes down what it is now.
//!
//! The deciding code is the controller's own, from the desired set to the status; only the cluster is played. What is applied is
//! taken at once, and an object is seen as the next moment tells it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test ends at the first thing that is not as expected; UPDATE_GOLDEN comes from the environment"
)]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "status/player.rs"]
mod player;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/status");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

#[test]
fn every_status_is_as_written_down() {
    let mut wrong = Vec::new();
    for case in cases() {
        let told = player::play(&fs::read_to_string(case.join("case.yaml")).unwrap());
        let file = case.join("status.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(file, told).unwrap();
            continue;
        }
        let wanted = fs::read_to_string(&file).unwrap_or_default();
        if wanted != told {
            wrong.push(format!("{}\n--- wanted\n{wanted}\n--- is\n{told}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE_GOLDEN=1 accepts)", wrong.join("\n\n"));
}
