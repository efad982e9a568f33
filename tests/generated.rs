//! Files that are made from the types are what the types make of them, and pages that list them list all.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tidelock::cli::crd_documents;
use tidelock::model::Reason;

/// Where the definitions are kept, and what brings a folder up to date.
const FOLDERS: [&str; 3] = ["crds", "charts/tidelock-crds/files", "config/crds/definitions"];

#[test]
fn definitions_in_the_repository_are_those_of_the_types() {
    let documents = crd_documents().expect("definitions have a YAML form");
    let wanted: BTreeSet<&str> = documents.iter().map(|(file, _)| *file).collect();
    for folder in FOLDERS {
        let remedy = format!("run: cargo run -- crds --directory {folder}");
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for (file, text) in &documents {
            let kept = fs::read_to_string(directory.join(file))
                .unwrap_or_else(|error| panic!("cannot read {folder}/{file}: {error}; {remedy}"));
            let differing = kept.lines().zip(text.lines()).position(|(kept, made)| kept != made);
            let line = differing.unwrap_or_else(|| kept.lines().count().min(text.lines().count())) + 1;
            assert!(kept == *text, "{folder}/{file} is out of date from line {line}; {remedy}");
        }
        for entry in fs::read_dir(&directory).expect("the folder was read above") {
            let name =
                entry.expect("an entry of a readable folder").file_name().into_string().expect("a name in UTF-8");
            assert!(wanted.contains(name.as_str()), "{folder}/{name} belongs to no kind: delete it");
        }
    }
}

#[test]
fn the_page_of_reasons_has_a_row_for_each() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md"))
        .expect("docs/reasons.md can be read");
    let (reasons, _events) = page.split_once("\n## Events\n").expect("the page ends with the events");
    let rows: BTreeSet<&str> =
        reasons.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(name, _)| name).collect();
    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(rows, known, "docs/reasons.md has not one row for each reason");
}
