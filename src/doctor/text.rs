//! A report for people.

use super::report::{Certificate, Examined, Outcome, Report, Step};

/// Width of the column with a step's name.
const NAME: usize = 10;
/// Width of the column with its outcome.
const OUTCOME: usize = 7;
/// Width of the column with its time.
const TIME: usize = 8;

impl Report {
    /// The report as aligned text. Ends with what to do about each failure.
    pub fn text(&self) -> String {
        let well = self.destinations.iter().filter(|examined| examined.ok).count();
        let mut text = format!(
            "namespace {}: {well} of {} destinations can be reached\n",
            self.namespace,
            self.destinations.len()
        );
        for problem in &self.problems {
            text.push_str(&format!("\nPROBLEM {}\n", printable(problem)));
        }
        for warning in &self.warnings {
            text.push_str(&format!("\nWARNING {}\n", printable(warning)));
        }
        for examined in &self.destinations {
            text.push('\n');
            destination(examined, &mut text);
        }
        text
    }
}

fn destination(examined: &Examined, text: &mut String) {
    let verdict = if examined.ok { "ok" } else { "FAILED" };
    text.push_str(&format!("{verdict:<OUTCOME$} {}\n", printable(&examined.destination)));
    let mut about = examined.kind.as_str().to_owned();
    if !examined.used_by.is_empty() {
        about.push_str(&format!("; {}", examined.used_by.join(", ")));
    }
    text.push_str(&format!("{:OUTCOME$} {}\n", "", printable(&about)));
    for step in &examined.steps {
        line(step, text);
    }
}

fn line(step: &Step, text: &mut String) {
    let (outcome, detail) = match (step.outcome, step.reason) {
        (Outcome::Ok, _) => ("ok", step.detail.clone()),
        (Outcome::Skipped, _) => ("-", step.detail.clone()),
        (Outcome::Failed, Some(reason)) => ("FAILED", format!("{reason}: {}", step.detail)),
        (Outcome::Failed, None) => ("FAILED", step.detail.clone()),
    };
    let time = step.milliseconds.map_or_else(String::new, |milliseconds| format!("{milliseconds} ms"));
    let name = step.step.as_str();
    text.push_str(&format!(
        "{:OUTCOME$} {name:<NAME$} {outcome:<OUTCOME$} {time:>TIME$}  {}\n",
        "",
        printable(&detail)
    ));
    let indent = " ".repeat(OUTCOME + 1 + NAME + 1);
    for (index, Certificate { subject, issuer, sha256, not_after }) in step.certificates.iter().enumerate() {
        let until = not_after.as_ref().map_or_else(String::new, |moment| format!(", until {moment}"));
        text.push_str(&format!(
            "{indent}certificate {}: {}, issued by {}{until}\n{indent}               SHA-256 {sha256}\n",
            index + 1,
            printable(subject),
            printable(issuer)
        ));
    }
    if let Some(advice) = &step.advice {
        text.push_str(&format!("{indent}what to do: {}\n", printable(advice)));
    }
}

/// On one line, and without what would steer a terminal: names and answers come from others.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::{Kind, StepName};
    use crate::model::Reason;

    fn certificate(subject: &str, issuer: &str) -> Certificate {
        Certificate {
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            sha256: "AB:CD:01".to_owned(),
            not_after: Some("2027-01-01T00:00:00Z".to_owned()),
        }
    }

    fn report() -> Report {
        let proxied = "proxy corporate (10.0.0.1:3128) [rule: hosts of EgressProxy corporate]";
        let well = Examined::new(
            "https://git.corp.test/team/app".to_owned(),
            Kind::Git,
            vec!["Application cart".to_owned(), "Application shop".to_owned(), "Repository corp".to_owned()],
            vec![
                Step::ok(StepName::Route, Some(0), proxied),
                Step::skipped(StepName::Dns, "the proxy resolves git.corp.test"),
                Step::ok(StepName::Tcp, Some(1), "10.0.0.1:3128"),
                Step::ok(StepName::Connect, Some(12), "the proxy opened a tunnel to git.corp.test:443"),
                Step {
                    certificates: vec![certificate("CN=git.corp.test", "CN=Corp CA")],
                    ..Step::ok(StepName::Tls, Some(31), "TLS 1.3 with git.corp.test")
                },
                Step::ok(StepName::Auth, None, "the credentials of Secret git-credentials are accepted"),
                Step::ok(StepName::LsRefs, Some(45), "main is at 0123456"),
            ],
        );
        let intercepted = Examined::new(
            "https://charts.corp.test/stable".to_owned(),
            Kind::Helm,
            vec!["Application web".to_owned()],
            vec![
                Step::ok(StepName::Route, Some(0), proxied),
                Step {
                    certificates: vec![certificate("CN=charts.corp.test", "CN=Interception CA")],
                    ..Step::failed(
                        StepName::Tls,
                        Some(1_000),
                        Reason::TlsUntrusted,
                        "nobody that is trusted vouches for charts.corp.test",
                    )
                },
                Step::skipped(StepName::Auth, "not come to"),
            ],
        );
        let closed = Examined::new(
            "http://10.0.0.9:3128".to_owned(),
            Kind::Proxy,
            vec!["EgressProxy old".to_owned()],
            vec![Step::failed(StepName::Tcp, Some(3), Reason::ProxyUnreachable, "refused\u{1b}[31m by 10.0.0.9:3128")],
        );
        let problems = vec!["EgressProxy `typo` is not valid: spec.url: no port".to_owned()];
        let warnings = vec!["https_proxy and HTTPS_PROXY differ; https_proxy counts".to_owned()];
        Report::new("tidelock", problems, warnings, vec![well, intercepted, closed])
    }

    #[test]
    fn text_is_aligned_and_says_what_to_do() {
        assert_eq!(report().text(), include_str!("golden/report.txt"));
    }

    #[test]
    fn json_keeps_its_names() {
        assert_eq!(report().json().unwrap(), include_str!("golden/report.json"));
    }

    #[test]
    fn a_report_without_failures_is_ok() {
        assert!(!report().ok);
        let one = Examined::new("a".to_owned(), Kind::Git, Vec::new(), vec![Step::skipped(StepName::Dns, "-")]);
        assert!(Report::new("n", Vec::new(), Vec::new(), vec![one.clone()]).ok);
        assert!(!Report::new("n", vec!["a problem".to_owned()], Vec::new(), vec![one]).ok);
    }
}
