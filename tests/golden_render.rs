//! Each folder of `tests/render` is a case that reads as a specification: an Application, the checkouts of its sources, and
//! what `tidelock render` says. `UPDATE_GOLDEN=1 cargo test --test golden_render` writes down what it says now.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test ends at the first thing that is not as expected; where the tools are comes from the environment"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/render");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// What is written to stdout, the messages of the warnings, and how the verb ends.
fn said(case: &Path, tools: &Path) -> String {
    let arguments = fs::read_to_string(case.join("arguments")).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_tidelock"))
        .current_dir(case)
        .args(["render", "--application", "application.yaml", "--tools"])
        .arg(tools)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let [output, log] = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let warnings: String = log
        .lines()
        // In front of it are the time and the module.
        .filter_map(|line| line.split_once("render: ").map(|(_, message)| format!("{message}\n")))
        .collect();
    let code = done.status.code().unwrap();
    if code != 0 {
        return format!("{output}{log}\nexit code {code}\n");
    }
    format!("{output}\n{warnings}\nexit code {code}\n")
}

#[test]
fn every_case_renders_as_written_down() {
    let Some(tools) = std::env::var_os("TIDELOCK_TOOLS").map(PathBuf::from) else {
        panic!("helm and kustomize are missing: run `make tools` and set TIDELOCK_TOOLS=$(e2e/tools/build.sh)");
    };
    let updating = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let (file, text) = (case.join("render.txt"), said(&case, &tools));
        if updating {
            fs::write(&file, &text).unwrap();
            continue;
        }
        let wanted = fs::read_to_string(&file).unwrap_or_default();
        if wanted != text {
            wrong.push(format!("{}\n--- wanted\n{wanted}\n--- said\n{text}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
