//! Agreement with judged examples.

use std::fs;

use super::super::report::{ReportError, run};

#[test]
fn report_counts_agreement_by_group_and_tells_false_greens() {
    let directory = tempfile::tempdir().unwrap();
    let kind = directory.path().join("example.com").join("Thing");
    fs::create_dir_all(kind.join("testdata")).unwrap();
    for (name, phase) in [("good", "Ready"), ("bad", "Failed"), ("lies", "Ready"), ("odd", "Pending")] {
        let text = format!("apiVersion: example.com/v1\nkind: Thing\nstatus:\n  phase: {phase}\n");
        fs::write(kind.join("testdata").join(format!("{name}.yaml")), text).unwrap();
    }
    let tests: String = [("good", "Healthy"), ("bad", "Degraded"), ("lies", "Progressing"), ("odd", "Suspended")]
        .map(|(name, status)| format!("- healthStatus: {{status: {status}}}\n  inputPath: testdata/{name}.yaml\n"))
        .concat();
    fs::write(kind.join("health_test.yaml"), format!("tests:\n{tests}")).unwrap();
    assert_eq!(
        run(directory.path()).unwrap().to_string(),
        "   2 of 4    example.com\n\
         false green: example.com/Thing testdata/lies.yaml: Progressing is wanted, Healthy found\n\
         differs: example.com/Thing testdata/odd.yaml: Suspended is wanted, Progressing found (phase is `Pending`)\n\
         2 of 4 agree (50.0 %), 1 false greens\n"
    );
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none");
    match run(&missing) {
        Err(ReportError::Read { path, .. }) => assert_eq!(path, missing),
        other => panic!("{other:?}"),
    }
}
