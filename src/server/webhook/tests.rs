//! The listener as strangers and senders meet it, over real connections.

use std::collections::VecDeque;

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::proof::tests::sign;
use super::*;
use crate::git::RepositoryUrl;
use crate::reconcile::SourceLocation;

/// Work that only takes note.
#[derive(Default)]
struct Bench {
    closed: bool,
    keys: Mutex<VecDeque<Result<Keys, String>>>,
    taken: Mutex<Vec<Hints>>,
}

impl Bench {
    fn with(list: &'static [(&'static str, &'static str)]) -> Self {
        Self { keys: Mutex::new(VecDeque::from([Ok(keys(list))])), ..Self::default() }
    }

    fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

fn keys(list: &'static [(&'static str, &'static str)]) -> Keys {
    Keys::read(|name| list.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
}

impl Door for Bench {
    fn is_open(&self) -> bool {
        !self.closed
    }

    fn keys(&self) -> BoxFuture<'_, Result<Keys, KeysUnavailable>> {
        let keys = self.keys.lock().unwrap().front().unwrap().clone().map_err(KeysUnavailable);
        Box::pin(async { keys })
    }

    fn forget_keys(&self) -> bool {
        let mut keys = self.keys.lock().unwrap();
        let more = keys.len() > 1;
        if more {
            keys.pop_front();
        }
        more
    }

    fn take(&self, hints: &Hints) -> usize {
        self.taken.lock().unwrap().push(hints.clone());
        let tracked: SourceLocation = RepositoryUrl::parse("https://git.test/team/shop.git").unwrap().into();
        usize::from(hints.concern(&tracked))
    }
}

struct Running {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    bench: Arc<Bench>,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    async fn start(bench: Bench) -> Self {
        let webhooks = Webhooks::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, bench) = (webhooks.address(), Arc::new(bench));
        let (metrics, stop) = (Arc::new(Metrics::new(Counter::default())), CancellationToken::new());
        let (door, counted) = (Arc::clone(&bench), Arc::clone(&metrics));
        tokio::spawn(webhooks.serve(door, counted, Clock::system(), stop.clone()));
        Self { address, metrics, bench, stop }
    }

    /// The status and the text of the answer to these bytes.
    #[expect(clippy::disallowed_methods, reason = "a stranger has no egress layer of ours")]
    async fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A refusal may come, and the connection end, before all is sent.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, body.to_owned())
    }

    async fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut head = format!("POST /api/webhook HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.raw(&[head.as_bytes(), b"\r\n", body].concat()).await
    }

    fn counted(&self, vendor: &str, outcome: &str) -> bool {
        let line = format!("tidelock_webhook_requests_total{{vendor=\"{vendor}\",outcome=\"{outcome}\"}}");
        self.metrics.encode().unwrap().contains(&line)
    }
}

/// What is sent, in words and in fact, and what is answered.
type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a [u8], (u16, &'a str));

const GITHUB: &[(&str, &str)] = &[("webhook.github.secret", "s3cret")];
const PUSH: &[u8] = br#"{"ref":"refs/heads/main","repository":{"clone_url":"https://git.test/team/shop.git"}}"#;

fn signed<'a>(signature: &'a str, delivery: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("X-GitHub-Event", "push"),
        ("X-GitHub-Delivery", delivery),
        ("Content-Type", "application/json"),
        ("X-Hub-Signature-256", signature),
    ]
}

fn signature(body: &[u8]) -> String {
    format!("sha256={}", sign("s3cret", body))
}

#[tokio::test]
async fn a_push_that_is_proved_makes_its_repository_be_polled_sooner_once_for_each_delivery() {
    let running = Running::start(Bench::with(GITHUB)).await;
    let signature = signature(PUSH);
    let accepted = (202, "accepted\n".to_owned());
    assert_eq!(running.post(&signed(&signature, "one"), PUSH).await, accepted);
    assert_eq!(running.bench.taken(), 1);
    assert_eq!(running.post(&signed(&signature, "one"), PUSH).await, accepted);
    assert_eq!(running.bench.taken(), 1, "a delivery that is sent again does nothing");
    assert_eq!(running.post(&signed(&signature, "two"), PUSH).await, accepted);
    assert_eq!(running.bench.taken(), 2);
    assert!(running.counted("github", "accepted") && running.counted("github", "replayed"));
}

#[tokio::test]
async fn what_is_not_tracked_is_answered_as_what_is() {
    let running = Running::start(Bench::with(GITHUB)).await;
    let other = br#"{"repository":{"clone_url":"https://git.test/team/other.git"}}"#;
    let ping = br#"{"zen":"Speak like a human.","hook_id":1}"#;
    for (delivery, body) in [("one", &other[..]), ("two", &ping[..])] {
        let signature = signature(body);
        let answer = running.post(&signed(&signature, delivery), body).await;
        assert_eq!(answer, (202, "accepted\n".to_owned()));
    }
    assert!(running.counted("github", "ignored") && !running.counted("github", "accepted"));
}

#[tokio::test]
async fn what_is_not_proved_is_refused_and_nothing_is_done() {
    let running = Running::start(Bench::with(GITHUB)).await;
    let (right, other) = (signature(PUSH), signature(b"another body"));
    let deep = [b"[".repeat(200_000), b"]".repeat(200_000)].concat();
    let missing = (401, "the signature or token is missing\n");
    let wrong = (401, "the signature or token does not fit\n");
    let table: [Row<'_>; 7] = [
        ("none", vec![("X-GitHub-Event", "push")], PUSH, missing),
        ("of another body", signed(&other, "1").to_vec(), PUSH, wrong),
        ("cut", signed(&right[..70], "1").to_vec(), PUSH, missing),
        ("twice", [&signed(&right, "1")[..], &[("X-Hub-Signature-256", &right)]].concat(), PUSH, missing),
        ("deep, and not read", signed(&other, "1").to_vec(), &deep, wrong),
        (
            "not set up",
            vec![("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", "a")],
            PUSH,
            (401, "no secret is set up for this sender\n"),
        ),
        ("unknown", vec![], PUSH, (401, "no header of a known sender of webhooks is there\n")),
    ];
    for (case, headers, body, (status, text)) in table {
        assert_eq!(running.post(&headers, body).await, (status, text.to_owned()), "{case}");
    }
    assert_eq!(running.bench.taken(), 0);
    assert!(running.counted("github", "unauthorized") && running.counted("unknown", "unauthorized"));
}

#[tokio::test]
async fn a_body_is_bounded_whether_its_length_is_told_or_not() {
    let running = Running::start(Bench::with(GITHUB)).await;
    let right = signature(PUSH);
    let told = format!(
        "POST /api/webhook HTTP/1.1\r\nHost: h\r\nX-GitHub-Event: push\r\nX-Hub-Signature-256: {right}\r\nContent-Length: 52428800\r\n\r\n"
    );
    assert_eq!(running.raw(told.as_bytes()).await, (413, "the body has more than 1 MiB\n".to_owned()));
    let mut chunked = format!(
        "POST /api/webhook HTTP/1.1\r\nHost: h\r\nX-GitHub-Event: push\r\nX-Hub-Signature-256: {right}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..17 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&vec![b' '; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    assert_eq!(running.raw(&chunked).await, (413, "the body has more than 1 MiB\n".to_owned()));
    let largest = [PUSH, &vec![b' '; LONGEST_BODY - PUSH.len()]].concat();
    let fitting = signature(&largest);
    assert_eq!(running.post(&signed(&fitting, "1"), &largest).await.0, 202);
    assert_eq!(running.bench.taken(), 1);
    assert!(running.counted("unknown", "too_large"));
}

#[tokio::test]
async fn a_proved_body_of_any_content_is_answered() {
    let running = Running::start(Bench::with(GITHUB)).await;
    let deep = [b"{\"repository\":".to_vec(), b"[".repeat(300_000), b"]".repeat(300_000), b"}".to_vec()].concat();
    for (delivery, body) in [("1", &b""[..]), ("2", b"{"), ("3", b"null"), ("4", b"\xff"), ("5", &deep)] {
        let signature = signature(body);
        let answer = running.post(&signed(&signature, delivery), body).await;
        assert_eq!(answer, (400, "the body is not what this sender is known to send\n".to_owned()), "{delivery}");
    }
    assert_eq!(running.bench.taken(), 0);
    assert!(running.counted("github", "malformed"));
}

#[tokio::test]
async fn other_paths_and_methods_are_not_there() {
    let running = Running::start(Bench::with(GITHUB)).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(running.raw(get("/api/webhook").as_bytes()).await.0, 405);
    for path in ["/", "/metrics", "/api/webhook/", "//api/webhook", "/healthz"] {
        assert_eq!(running.raw(get(path).as_bytes()).await.0, 404, "{path}");
    }
    for broken in [&b"\x00\x01\x02\r\n\r\n"[..], b"POST /api/webhook HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00"] {
        let (status, _) = running.raw(broken).await;
        assert!(matches!(status, 0 | 400 | 505), "{status}");
    }
}

#[tokio::test]
async fn keys_are_read_again_when_something_does_not_fit_them() {
    let bench = Bench {
        keys: Mutex::new(VecDeque::from([Ok(keys(&[("webhook.github.secret", "old")])), Ok(keys(GITHUB))])),
        ..Bench::default()
    };
    let running = Running::start(bench).await;
    let right = signature(PUSH);
    assert_eq!(running.post(&signed(&right, "1"), PUSH).await.0, 202, "the new secret counts at once");
    assert_eq!(running.bench.taken(), 1);
}

#[tokio::test]
async fn a_replica_that_stands_by_and_one_that_can_not_read_its_keys_say_so() {
    let right = signature(PUSH);
    let running = Running::start(Bench { closed: true, ..Bench::with(GITHUB) }).await;
    let (status, text) = running.post(&signed(&right, "1"), PUSH).await;
    assert_eq!((status, text.as_str()), (503, "this replica stands by; the repositories are polled anyway\n"));
    let unreadable =
        Bench { keys: Mutex::new(VecDeque::from([Err("the Secret may not be read".to_owned())])), ..Bench::default() };
    let running = Running::start(unreadable).await;
    assert_eq!(running.post(&signed(&right, "1"), PUSH).await.0, 503);
    assert!(running.counted("unknown", "unavailable"));
}

#[tokio::test]
async fn who_keeps_guessing_is_soon_not_looked_at_any_more() {
    let running = Running::start(Bench::with(GITHUB)).await;
    let wrong = signature(b"another body");
    let mut statuses = Vec::new();
    for _ in 0..200 {
        statuses.push(running.post(&signed(&wrong, "1"), PUSH).await.0);
    }
    let looked_at = statuses.iter().filter(|status| **status == 401).count();
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    assert!(looked_at < 200, "{looked_at} were looked at");
    assert_eq!(running.bench.taken(), 0);
    assert!(running.counted("unknown", "rate_limited"));
}

#[tokio::test(start_paused = true)]
async fn who_sends_slowly_is_not_waited_for() {
    let running = Running::start(Bench::with(GITHUB)).await;
    let start = tokio::time::Instant::now();
    let (status, _) = running.raw(b"POST /api/webhook HTTP/1.1\r\nHost: h\r\n").await;
    assert!(matches!(status, 0 | 408), "{status}");
    assert!(start.elapsed() <= HEADER_WAIT + Duration::from_secs(1), "{:?}", start.elapsed());
    let right = signature(PUSH);
    let head = format!(
        "POST /api/webhook HTTP/1.1\r\nHost: h\r\nX-GitHub-Event: push\r\nX-Hub-Signature-256: {right}\r\nContent-Length: 100\r\n\r\n{{"
    );
    assert_eq!(running.raw(head.as_bytes()).await, (408, "the body did not come in time\n".to_owned()));
    assert_eq!(running.bench.taken(), 0);
}
