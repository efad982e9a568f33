//! Each folder of `tests/golden`, and each example of `docs/examples`, is a case that reads as a specification: what git
//! wants, what the cluster holds, and what `tidelock plan` and `tidelock diff` say. Each folder of `tests/health` is one of
//! `tidelock health`: live objects, rules, and the verdicts. `UPDATE_GOLDEN=1 cargo test --test golden` writes down what they
//! say now.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends at the first thing that is not as expected; UPDATE_GOLDEN comes from the environment"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Hidden in every Secret of the cases; no output may show it.
const CANARIES: [&str; 2] = ["canary", "Y2FuYXJ5LW"];

fn cases(folders: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// What a verb prints about a case, and how it ends.
fn said(case: &Path, verb: &str, output: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock"));
    // Examples are laid out as a repository whose folder the Application names.
    let desired = if case.join("desired").exists() { "desired" } else { "." };
    command.current_dir(case).args([verb, "--desired", desired, "--output", output]);
    for (flag, file) in
        [("--live", "live.yaml"), ("--application", "application.yaml"), ("--customizations", "customizations.yaml")]
    {
        if case.join(file).exists() {
            command.args([flag, file]);
        }
    }
    output_of(&mut command)
}

/// All that a command prints, and how it ends.
fn output_of(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let text = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    format!("{text}\nexit code {}\n", done.status.code().unwrap())
}

fn is_updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// Compares with the file, or writes it. Returns what is wrong.
fn check(file: &Path, text: &str) -> Option<String> {
    if is_updating() {
        fs::write(file, text).unwrap();
        return None;
    }
    let wanted = fs::read_to_string(file).unwrap_or_default();
    (wanted != text).then(|| format!("{}\n--- wanted\n{wanted}\n--- said\n{text}", file.display()))
}

#[test]
fn every_case_is_told_as_written_down() {
    let mut wrong = Vec::new();
    for case in cases(&["tests/golden", "docs/examples"]) {
        wrong.extend(check(&case.join("plan.txt"), &said(&case, "plan", "text")));
        if case.join("live.yaml").exists() {
            wrong.extend(check(&case.join("diff.txt"), &said(&case, "diff", "text")));
        }
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE_GOLDEN=1 accepts)", wrong.join("\n\n"));
}

#[test]
fn every_verdict_is_as_written_down() {
    let mut wrong = Vec::new();
    for case in cases(&["tests/health"]) {
        let arguments = fs::read_to_string(case.join("arguments")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock"));
        command.current_dir(&case).args(["health", "-f", "live.yaml"]).args(arguments.split_whitespace());
        wrong.extend(check(&case.join("health.txt"), &output_of(&mut command)));
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE_GOLDEN=1 accepts)", wrong.join("\n\n"));
}

#[test]
fn the_shapes_of_json_are_as_written_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut wrong = Vec::new();
    for (case, verb) in [
        ("unhealthy-first-wave", "plan"),
        ("protected-kinds-wait-for-consent", "plan"),
        ("drift", "diff"),
        ("secrets-masked", "diff"),
        ("extra-fields-reported", "diff"),
        ("ignore-by-pointer", "diff"),
    ] {
        let case = root.join(case);
        let text = said(&case, verb, "json");
        let (json, _exit) = text.rsplit_once("\nexit code ").unwrap();
        wrong.extend(check(&case.join(format!("{verb}.json")), json));
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE_GOLDEN=1 accepts)", wrong.join("\n\n"));
}

#[test]
fn no_output_shows_the_content_of_a_secret() {
    for case in ["secrets-masked", "secret-ignored-and-extra"] {
        let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case);
        for verb in ["plan", "diff"] {
            for output in ["text", "json"] {
                let text = said(&case, verb, output);
                for canary in CANARIES {
                    assert!(!text.contains(canary), "{verb} -o {output} shows a Secret:\n{text}");
                }
            }
        }
    }
}

#[test]
fn wrong_arguments_end_with_2_and_what_cannot_be_done_with_1() {
    let code = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tidelock")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(code(&["diff", "--desired", "."]).0, Some(2), "--live is missing");
    assert_eq!(code(&["plan", "--desired", ".", "-o", "xml"]).0, Some(2));
    let (exit, said) = code(&["plan", "--desired", "/nonexistent"]);
    assert_eq!(exit, Some(1));
    assert!(said.contains("cannot open the folder /nonexistent: "), "{said}");
}
