//! Dashboards and alert rules ask for metrics that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::{documents, read, root, template, text};

/// Names of the series of each metric that docs/metrics.md lists, with the labels that the page says they have.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = read("docs/metrics.md");
    let mut series = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `tidelock_")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [name, kind, labels] = [cells[0], cells[1], cells[2]].map(str::trim);
        let name = name.trim().trim_matches('`');
        // Labels are the names before a colon; what follows are values.
        let labels: BTreeSet<String> = labels
            .split(';')
            .flat_map(|part| part.split(':').next().unwrap_or_default().split(','))
            .filter_map(|label| Some(label.trim().strip_prefix('`')?.split_once('`')?.0.to_owned()))
            .collect();
        let endings: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        for ending in endings {
            series.insert(format!("{name}{ending}"), labels.clone());
        }
    }
    assert!(series.len() > 10, "docs/metrics.md has changed its form");
    series
}

/// Labels that the scraping adds, and those of histograms.
const ADDED: [&str; 4] = ["namespace", "pod", "job", "le"];

/// Each selector of an expression: name of the series, names of the labels that are matched.
fn selectors(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find("tidelock_") {
        let end = rest[start..].find(|letter| !is_name(letter)).map_or(rest.len(), |length| start + length);
        let name = rest[start..end].to_owned();
        rest = &rest[end..];
        let mut labels = Vec::new();
        if let Some(matchers) = rest.strip_prefix('{') {
            let (matchers, after) = matchers.split_once('}').expect("a selector ends");
            rest = after;
            let mut quoted = false;
            let mut word = String::new();
            for letter in matchers.chars() {
                match letter {
                    '"' => quoted = !quoted,
                    _ if quoted => {}
                    letter if is_name(letter) => word.push(letter),
                    '=' | '!' if !word.is_empty() => labels.push(std::mem::take(&mut word)),
                    _ => {}
                }
            }
        }
        found.push((name, labels));
    }
    found
}

fn check(place: &str, expression: &str, known: &BTreeMap<String, BTreeSet<String>>) {
    let selectors = selectors(expression);
    assert!(!selectors.is_empty(), "{place}: {expression} asks for no metric of ours");
    for (name, labels) in selectors {
        let Some(own) = known.get(&name) else { panic!("{place}: docs/metrics.md has no {name}: {expression}") };
        for label in labels {
            assert!(
                own.contains(&label) || ADDED.contains(&label.as_str()),
                "{place}: {name} has no label {label}: {expression}"
            );
        }
    }
}

fn dashboards() -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = fs::read_dir(root().join("charts/tidelock/dashboards"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap())
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[test]
fn dashboards_ask_for_metrics_that_there_are() {
    let known = documented();
    let mut identities = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert!(identities.insert(text(&dashboard, "/uid").to_owned()), "{file}: two dashboards have one uid");
        let panels = dashboard["panels"].as_array().unwrap();
        let numbers: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(numbers.len(), panels.len(), "{file}: two panels have one id");
        for panel in panels.iter().filter(|panel| text(panel, "/type") != "row") {
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty());
            for target in targets {
                check(&format!("{file}: {}", text(panel, "/title")), text(target, "/expr"), &known);
                assert_eq!(text(target, "/datasource/uid"), "${datasource}", "{file}: a data source is fixed");
            }
        }
    }
}

#[test]
fn panels_do_not_lie_on_one_another() {
    for (file, dashboard) in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + w <= 24, "{file}: {} is too wide", text(panel, "/title"));
            for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row))) {
                assert!(taken.insert(cell), "{file}: {} lies on another panel", text(panel, "/title"));
            }
        }
    }
}

#[test]
fn alerts_ask_for_metrics_that_there_are_and_say_what_to_do() {
    let known = documented();
    let output = template(&["--set", "metrics.prometheusRule.enabled=true"]).unwrap();
    let objects = documents(&output);
    let rule = objects.iter().find(|object| text(object, "/kind") == "PrometheusRule").unwrap();
    let mut names = BTreeSet::new();
    for alert in rule["spec"]["groups"][0]["rules"].as_array().unwrap() {
        let name = text(alert, "/alert");
        assert!(names.insert(name), "{name} is there twice");
        check(name, text(alert, "/expr"), &known);
        assert!(["critical", "warning"].contains(&text(alert, "/labels/severity")), "{name}");
        for annotation in ["summary", "description", "runbook"] {
            let words = text(alert, &format!("/annotations/{annotation}"));
            assert!(!words.is_empty() && !words.contains("$("), "{name}: {annotation}: {words}");
        }
        assert!(!text(alert, "/expr").contains("$("), "{name}");
    }
    assert!(names.len() > 10);
}

#[test]
fn an_alert_that_is_disabled_is_left_out_and_the_others_get_the_labels() {
    let output = template(&["--set", "metrics.prometheusRule.enabled=true,metrics.prometheusRule.disabled[0]=TidelockDown,metrics.prometheusRule.alertLabels.team=platform"]).unwrap();
    let objects = documents(&output);
    let rule = objects.iter().find(|object| text(object, "/kind") == "PrometheusRule").unwrap();
    for alert in rule["spec"]["groups"][0]["rules"].as_array().unwrap() {
        assert_ne!(text(alert, "/alert"), "TidelockDown");
        assert_eq!(text(alert, "/labels/team"), "platform");
    }
}
