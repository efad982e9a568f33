//! The lease against an API server that answers as a real one does about one Lease: versions, conflicts, silence.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidelock::clock::{Clock, ManualClock};
use tidelock::reconcile::lease::{Acquired, Holder, LeaseError, LeaseKeeper, Look, Terms};
use tokio_util::sync::CancellationToken;

/// The longest that any of these tests waits for a condition.
const PATIENCE: Duration = Duration::from_secs(20);
/// The times of a lease of 30 s, by a clock that the test turns, and requests that follow one another at once.
const TERMS: Terms = Terms {
    duration: Duration::from_secs(30),
    on_lease: Duration::from_secs(28),
    writes_end: Duration::from_secs(20),
    renew: Duration::from_millis(20),
    retry: Duration::from_millis(10),
    look: Duration::from_millis(10),
    request: Duration::from_millis(500),
};

#[derive(Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
    requests: Vec<Method>,
    /// Answer with this instead.
    refuse: Option<StatusCode>,
}

type Shared = Arc<Mutex<Store>>;

async fn api_server() -> (Client, Shared) {
    let store = Shared::default();
    let routes = Router::new().fallback(answer).with_state(Arc::clone(&store));
    let listener = tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let _ = rustls::crypto::ring::default_provider().install_default();
    (Client::try_from(Config::new(url)).unwrap(), store)
}

async fn answer(State(store): State<Shared>, method: Method, body: String) -> Response {
    let mut store = store.lock().unwrap();
    store.requests.push(method.clone());
    if let Some(code) = store.refuse {
        return refusal(code, "Refused");
    }
    if method == Method::GET {
        return match &store.lease {
            Some(lease) => object(StatusCode::OK, lease),
            None => refusal(StatusCode::NOT_FOUND, "NotFound"),
        };
    }
    let mut sent: Value = serde_json::from_str(&body).unwrap();
    let sent_version = sent["metadata"]["resourceVersion"].clone();
    let current = store.lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
    match (method, current) {
        (Method::POST, Some(_)) => return refusal(StatusCode::CONFLICT, "AlreadyExists"),
        (Method::PUT, None) => return refusal(StatusCode::NOT_FOUND, "NotFound"),
        (Method::PUT, Some(current)) if current != sent_version => return refusal(StatusCode::CONFLICT, "Conflict"),
        _ => {}
    }
    store.version += 1;
    sent["metadata"]["resourceVersion"] = json!(store.version.to_string());
    store.lease = Some(sent.clone());
    object(StatusCode::OK, &sent)
}

fn refusal(code: StatusCode, reason: &str) -> Response {
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": "refused by the test",
        "reason": reason, "code": code.as_u16()});
    object(code, &status)
}

fn object(code: StatusCode, object: &Value) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], object.to_string()).into_response()
}

struct Process {
    keeper: LeaseKeeper,
    identity: String,
    hands: ManualClock,
    state: TempDir,
}

fn process(client: &Client) -> Process {
    let state = tempfile::tempdir().unwrap();
    let holder = Holder::claim(state.path(), "host").unwrap();
    let identity = holder.to_string();
    let (clock, hands) = Clock::manual(Timestamp::from_second(1_700_000_000).unwrap());
    let keeper = LeaseKeeper::new(client.clone(), "tidelock", holder, clock, TERMS);
    Process { keeper, identity, hands, state }
}

fn holder_of(store: &Shared) -> String {
    let store = store.lock().unwrap();
    store.lease.as_ref().unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for {what}");
}

async fn acquire(process: &mut Process) -> Result<Acquired, LeaseError> {
    let running = CancellationToken::new();
    tokio::time::timeout(PATIENCE, process.keeper.acquire(running, |_| {})).await.unwrap()
}

#[tokio::test]
async fn a_free_lease_is_taken_and_renewed_with_one_request_each() {
    let (client, store) = api_server().await;
    let mut process = process(&client);
    let fence = process.keeper.fence();
    assert!(!fence.may_write());
    assert_eq!(acquire(&mut process).await.unwrap(), Acquired::Held);
    assert!(fence.may_write());
    assert_eq!(holder_of(&store), process.identity);
    let stop = CancellationToken::new();
    let keeping = tokio::spawn({
        let stop = stop.clone();
        async move {
            let kept = process.keeper.keep(stop, |_| {}).await;
            (kept, process)
        }
    });
    until("three renewals", || store.lock().unwrap().version >= 4).await;
    stop.cancel();
    let (kept, process) = keeping.await.unwrap();
    kept.unwrap();
    assert_eq!(store.lock().unwrap().requests[..4], [Method::GET, Method::POST, Method::PUT, Method::PUT]);
    process.keeper.release().await;
    assert_eq!(holder_of(&store), "");
    assert!(!fence.may_write());
}

#[tokio::test]
async fn a_rival_stands_by_without_writing_and_takes_over_only_when_the_lease_ran_out() {
    let (client, store) = api_server().await;
    let mut first = process(&client);
    acquire(&mut first).await.unwrap();
    let written = store.lock().unwrap().version;
    let mut rival = process(&client);
    let (fence, hands) = (rival.keeper.fence(), rival.hands.clone());
    let seen = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&seen);
    let standing_by = tokio::spawn(async move {
        let running = CancellationToken::new();
        let acquired = rival.keeper.acquire(running, |_| *counted.lock().unwrap() += 1).await;
        (acquired.unwrap(), rival.identity)
    });
    until("the rival to look", || *seen.lock().unwrap() >= 3).await;
    hands.advance(TERMS.on_lease.saturating_sub(Duration::from_secs(1)));
    let looks = *seen.lock().unwrap();
    until("the rival to look again", || *seen.lock().unwrap() >= looks + 3).await;
    assert!(!fence.may_write());
    assert_eq!(holder_of(&store), first.identity);
    assert_eq!(store.lock().unwrap().version, written);
    hands.advance(Duration::from_secs(1));
    let (acquired, identity) = tokio::time::timeout(PATIENCE, standing_by).await.unwrap().unwrap();
    assert_eq!((acquired, holder_of(&store)), (Acquired::Held, identity));
    assert_eq!(store.lock().unwrap().lease.as_ref().unwrap()["spec"]["leaseTransitions"], 1);
}

#[tokio::test]
async fn a_process_restarted_on_the_same_state_goes_on_at_once() {
    let (client, store) = api_server().await;
    let mut killed = process(&client);
    acquire(&mut killed).await.unwrap();
    let Process { keeper, identity, hands: _, state } = killed;
    drop(keeper);
    let holder = Holder::claim(state.path(), "host").unwrap();
    let mut restarted = LeaseKeeper::new(client.clone(), "tidelock", holder, Clock::system(), TERMS);
    let acquired =
        restarted.acquire(CancellationToken::new(), |look| assert_eq!(look, Look::Ours, "it waited")).await.unwrap();
    assert_eq!((acquired, holder_of(&store)), (Acquired::Held, identity));
}

#[tokio::test]
async fn a_holder_whose_lease_was_taken_ends_with_a_closed_fence() {
    let (client, store) = api_server().await;
    let mut process = process(&client);
    acquire(&mut process).await.unwrap();
    {
        let mut store = store.lock().unwrap();
        store.version += 1;
        let version = store.version.to_string();
        let lease = store.lease.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = json!("rival");
        lease["metadata"]["resourceVersion"] = json!(version);
    }
    let fence = process.keeper.fence();
    let error = process.keeper.keep(CancellationToken::new(), |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "the lease was taken by rival; this process ends so that only one writes");
    assert!(!fence.may_write());
    assert_eq!(holder_of(&store), "rival");
}

#[tokio::test]
async fn a_holder_that_cannot_renew_stops_writing_before_its_lease_runs_out() {
    let (client, store) = api_server().await;
    let mut process = process(&client);
    acquire(&mut process).await.unwrap();
    store.lock().unwrap().refuse = Some(StatusCode::INTERNAL_SERVER_ERROR);
    let (fence, hands) = (process.keeper.fence(), process.hands.clone());
    let keeping = tokio::spawn(async move { process.keeper.keep(CancellationToken::new(), |_| {}).await });
    let before = store.lock().unwrap().requests.len();
    until("failed renewals", || store.lock().unwrap().requests.len() >= before + 3).await;
    assert!(fence.may_write(), "a short outage must not stop the work");
    hands.advance(TERMS.writes_end);
    assert!(!fence.may_write());
    let error = tokio::time::timeout(PATIENCE, keeping).await.unwrap().unwrap().unwrap_err().to_string();
    assert_eq!(
        error,
        "the lease could not be renewed for 20 s (refused by the test (500)); this process ends before another may write"
    );
}

#[tokio::test]
async fn an_outage_shorter_than_the_fence_is_survived() {
    let (client, store) = api_server().await;
    let mut process = process(&client);
    acquire(&mut process).await.unwrap();
    store.lock().unwrap().refuse = Some(StatusCode::INTERNAL_SERVER_ERROR);
    let fence = process.keeper.fence();
    let stop = CancellationToken::new();
    let keeping = tokio::spawn({
        let stop = stop.clone();
        async move { process.keeper.keep(stop, |_| {}).await }
    });
    until("failed renewals", || store.lock().unwrap().requests.len() >= 5).await;
    store.lock().unwrap().refuse = None;
    until("a renewal after the outage", || store.lock().unwrap().version >= 3).await;
    stop.cancel();
    keeping.await.unwrap().unwrap();
    assert!(fence.may_write());
}

#[tokio::test]
async fn missing_rights_end_the_attempt_with_what_is_needed() {
    let (client, store) = api_server().await;
    let mut process = process(&client);
    store.lock().unwrap().refuse = Some(StatusCode::FORBIDDEN);
    let error = acquire(&mut process).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot use the Lease tidelock/tidelock-controller: refused by the test (403); the controller needs get, create and \
         update on leases.coordination.k8s.io in its namespace, which must exist"
    );
}
