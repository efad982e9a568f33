//! Real requests over loopback.

use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::probes::{PART_LIMIT, Part, Requirement};
use super::*;
use crate::clock::{Clock, ManualClock};

struct Running {
    address: SocketAddr,
    handles: Handles,
    hands: ManualClock,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), ServerError>>,
}

async fn running() -> Running {
    let (clock, hands) = Clock::manual(Timestamp::UNIX_EPOCH);
    let handles = Handles { metrics: Arc::new(Metrics::new(Counter::default())), probes: Probes::new(clock) };
    let server = Server::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = server.address();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.serve(handles.clone(), shutdown.clone()));
    Running { address, handles, hands, shutdown, task }
}

/// Status code, head and body.
async fn ask(address: SocketAddr, path: &str) -> (u16, String, String) {
    #[expect(clippy::disallowed_methods, reason = "a test is its own client")]
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn readiness_names_what_is_missing_until_nothing_is() {
    let running = running().await;
    let readiness = &running.handles.probes.readiness;
    readiness.met(Requirement::Discovery);
    readiness.met(Requirement::Watches);
    readiness.met(Requirement::Standby);
    readiness.unmet(Requirement::Definitions, "applications.tidelock.dev is not installed: kubectl apply -f crds/");
    let (status, _, body) = ask(running.address, "/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (503, "crds: applications.tidelock.dev is not installed: kubectl apply -f crds/\nlease: not looked at yet\n")
    );
    let (status, _, body) = ask(running.address, "/readyz?verbose").await;
    assert_eq!(
        (status, body.as_str()),
        (
            503,
            "[-]crds failed: applications.tidelock.dev is not installed: kubectl apply -f crds/\n[+]discovery ok\n\
             [-]lease failed: not looked at yet\n[+]watches ok\n[+]standby ok\n[+]shutdown ok\nreadyz check failed\n"
        )
    );
    readiness.met(Requirement::Definitions);
    readiness.met_with(Requirement::Lease, "stands by for other_1");
    let (status, _, body) = ask(running.address, "/readyz").await;
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    let (status, _, body) = ask(running.address, "/readyz?verbose=1").await;
    assert_eq!(
        (status, body.as_str()),
        (
            200,
            "[+]crds ok\n[+]discovery ok\n[+]lease ok: stands by for other_1\n[+]watches ok\n[+]standby ok\n\
             [+]shutdown ok\nreadyz check passed\n"
        )
    );
    readiness.unmet(Requirement::Shutdown, "SIGTERM came");
    let (status, _, body) = ask(running.address, "/readyz").await;
    assert_eq!((status, body.as_str()), (503, "shutdown: SIGTERM came\n"));
}

#[tokio::test]
async fn liveness_fails_when_the_work_loop_is_silent_and_recovers_with_a_beat() {
    let running = running().await;
    running.hands.advance(PART_LIMIT);
    assert_eq!(ask(running.address, "/healthz").await.0, 200);
    running.hands.advance(Duration::from_secs(1));
    let (status, _, body) = ask(running.address, "/healthz").await;
    assert_eq!((status, body.as_str()), (503, "runtime: no timer has fired for 121 s (limit 120 s)\n"));
    let (status, _, body) = ask(running.address, "/healthz?verbose").await;
    assert_eq!(
        (status, body.as_str()),
        (
            503,
            "[-]runtime: no timer has fired for 121 s (limit 120 s)\n[+]lease ok\n[+]queue ok\n[+]workers ok\n\
             healthz check failed\n"
        )
    );
    running.handles.probes.watchdog.beat(Part::Runtime);
    assert_eq!(ask(running.address, "/healthz").await.0, 200);
}

#[tokio::test]
async fn metrics_are_served_as_open_metrics() {
    let running = running().await;
    running.handles.metrics.set_leader(true);
    let (status, head, body) = ask(running.address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.contains("tidelock_leader 1\n") && body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn the_server_ends_when_told_to() {
    let running = running().await;
    running.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), running.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_address_in_use_says_which_flag_to_change() {
    let running = running().await;
    let error = Server::listen(running.address).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {}: ", running.address)), "{error}");
    assert!(error.ends_with("choose another with --listen ADDR"), "{error}");
}
