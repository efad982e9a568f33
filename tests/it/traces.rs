//! Traces leave by the rules that count for everything, and work goes on where nobody takes them.

use crate::support::application::Application;
use crate::support::git::file;
use crate::support::installation::Installation;
use crate::support::manifests::config_map;

#[tokio::test]
async fn traces_take_the_proxy_and_a_receiver_that_refuses_them_holds_nothing_up() {
    let mut installation = Installation::prepare("traces").await;
    installation.apply_access().await;
    // A server behind the proxy that knows nothing of traces.
    installation.operator.add_arguments(&["--otlp-endpoint", "http://nginx.corp.test/otlp"]);
    installation.operator.set_environment("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20canary-of-traces");
    installation.operator.start().await;
    let target = installation.target("a").await;
    let repository = installation.repository("shop");
    let first = repository.commit([("app/cm.yaml", file(config_map("main", "first")))]);
    installation.declare(Application::named("a", &repository.url, "app", &target)).await;
    installation.healthy("a", &first).await;
    installation
        .wait("spans that are refused are counted", async || {
            let dropped = installation.operator.metrics().sum("tidelock_trace_spans_dropped_total", &[]);
            if dropped > 0.0 { Ok(()) } else { Err(format!("{dropped} so far")) }
        })
        .await;
    let second = repository.commit([("app/cm.yaml", file(config_map("main", "second")))]);
    installation.follow("a", &second).await;
    let logs = installation.operator.logs();
    let lines: Vec<serde_json::Value> = logs.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<&str> = lines
        .iter()
        .filter(|line| line["message"].as_str().is_some_and(|message| message.starts_with("traces can't be exported")))
        .filter_map(|line| line["why"].as_str())
        .collect();
    assert_eq!(told.len(), 1, "told once: {told:?}");
    assert!(told[0].starts_with("request to nginx.corp.test:80 failed"), "{told:?}");
    assert!(told[0].contains("route proxy corporate (") && told[0].contains("[rule: "), "{told:?}");
    let step = lines.iter().find(|line| line["message"] == "step" && line["outcome"] == "created");
    let step = step.expect("the line of the object that was made");
    assert_eq!(step["application"], "a");
    assert_eq!(step["trace_id"].as_str().map(str::len), Some(32), "{step}");
    assert_eq!(step["span_id"].as_str().map(str::len), Some(16), "{step}");
    assert!(!logs.contains("canary-of-traces"));
    installation.finish().await;
}
