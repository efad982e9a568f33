//! The text that a scrape reads.

use super::*;

fn lines(metrics: &Metrics, prefix: &str) -> Vec<String> {
    let text = metrics.encode().unwrap();
    text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
}

#[test]
fn an_application_is_counted_once_and_leaves_no_label_behind() {
    let metrics = Metrics::new(Counter::default());
    metrics.application_is("shop", "cart", SyncState::OutOfSync, HealthStatus::Progressing);
    metrics.application_is("shop", "cart", SyncState::Synced, HealthStatus::Healthy);
    metrics.application_is("shop", "cart", SyncState::Synced, HealthStatus::Healthy);
    assert_eq!(
        lines(&metrics, "tidelock_application_info{"),
        [r#"tidelock_application_info{namespace="shop",name="cart",sync="Synced",health="Healthy"} 1"#]
    );
    let mut counts = lines(&metrics, "tidelock_applications{");
    counts.sort();
    assert_eq!(
        counts,
        [
            r#"tidelock_applications{sync="OutOfSync",health="Progressing"} 0"#,
            r#"tidelock_applications{sync="Synced",health="Healthy"} 1"#,
        ]
    );
    metrics.application_gone("shop", "cart");
    metrics.application_gone("shop", "cart");
    assert!(lines(&metrics, "tidelock_application_info{").is_empty());
    assert!(lines(&metrics, "tidelock_applications{").iter().all(|line| line.ends_with(" 0")));
}

#[test]
fn names_carry_their_units() {
    let metrics = Metrics::new(Counter::default());
    metrics.reconciled(ReconcileResult::Changed, Duration::from_millis(20));
    metrics.git_requested("git.example.com", GitOperation::ListRefs, None);
    metrics.git_requested("git.example.com", GitOperation::Fetch, Some(Reason::ProxyForbidden));
    metrics.git_received("git.example.com", 1_000);
    metrics.egress_connected("proxy:corporate", None);
    metrics.egress_connected("none", Some(Reason::EgressDenied));
    metrics.rendered(RenderTool::Helm, RenderResult::Done, Some(Duration::from_millis(70)));
    metrics.rendered(RenderTool::Helm, RenderResult::Cached, None);
    metrics.wrote(WriteVerb::Apply, WriteOutcome::Created);
    metrics.set_leader(true);
    for line in [
        r#"tidelock_reconciles_total{result="changed"} 1"#,
        "tidelock_reconcile_duration_seconds_count 1",
        r#"tidelock_git_requests_total{host="git.example.com",operation="list_refs",reason="ok"} 1"#,
        r#"tidelock_git_requests_total{host="git.example.com",operation="fetch",reason="ProxyForbidden"} 1"#,
        r#"tidelock_git_received_bytes_total{host="git.example.com"} 1000"#,
        r#"tidelock_egress_connections_total{route="proxy:corporate",outcome="ok"} 1"#,
        r#"tidelock_egress_connections_total{route="none",outcome="EgressDenied"} 1"#,
        r#"tidelock_renders_total{tool="helm",result="cached"} 1"#,
        r#"tidelock_render_duration_seconds_count{tool="helm"} 1"#,
        r#"tidelock_writes_total{verb="apply",outcome="created"} 1"#,
        "tidelock_leader 1",
        "tidelock_log_lines_dropped_total 0",
    ] {
        assert_eq!(lines(&metrics, line), [line]);
    }
}

#[test]
fn hosts_beyond_the_limit_share_one_label() {
    let metrics = Metrics::new(Counter::default());
    for number in 0..MAXIMUM_HOSTS + 50 {
        metrics.git_received(&format!("git-{number}.example.com"), 1);
    }
    assert_eq!(lines(&metrics, "tidelock_git_received_bytes_total{").len(), MAXIMUM_HOSTS + 1);
    assert_eq!(
        lines(&metrics, r#"tidelock_git_received_bytes_total{host="other"}"#),
        [r#"tidelock_git_received_bytes_total{host="other"} 50"#]
    );
}
