//! Against a real LFS server on loopback: the batch API, and downloads on its own host or another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::egress::testing::{ProxyBehaviour, TestProxy, read_head, serve};
use crate::egress::{BasicCredentials, Egress, Override, SystemRoots, Timeouts};
use crate::git::{GitError, RepositoryUrl};
use crate::model::Reason;

/// A server that holds contents and keeps a log: method, path, and the `Authorization` that came.
#[derive(Clone)]
struct LfsServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    contents: BTreeMap<String, Vec<u8>>,
    /// Origin of downloads; its own when empty.
    downloads: String,
    /// Headers that downloads are granted with.
    grant: BTreeMap<String, String>,
    /// Wanted of batch requests.
    credentials: Option<String>,
    /// Sent in place of the answer to requests whose path has this in it.
    instead: Option<(&'static str, String)>,
    /// Closes after this many bytes of a content.
    cut: Option<usize>,
    log: Vec<String>,
}

impl LfsServer {
    async fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let address = serve(None, move |mut stream| {
            let state = Arc::clone(&shared);
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let mut body = vec![0; head.header("content-length").parse().unwrap_or(0)];
                    stream.read_exact(&mut body).await.unwrap();
                    let host = head.header("host").to_owned();
                    let path = head.target.trim_start_matches("http://").trim_start_matches(&host).to_owned();
                    let (answer, end) = {
                        let mut state = state.lock().unwrap();
                        state.log.push(format!("{} {path} {}", head.method, head.header("authorization")));
                        state.answer(&head.method, &path, head.header("authorization"), &host, &body)
                    };
                    if stream.write_all(&answer).await.is_err() || end {
                        return;
                    }
                }
            }
        })
        .await;
        Self { address, state }
    }

    fn hold(&self, content: &[u8]) -> LfsPointer {
        let oid: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        self.state.lock().unwrap().contents.insert(oid.clone(), content.to_vec());
        LfsPointer::new(&oid, content.len() as u64).unwrap()
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    fn config(&self) -> LfsConfig {
        LfsConfig {
            url: RepositoryUrl::parse(&format!("http://{}/team/app", self.address)).unwrap(),
            egress: Egress::direct(SystemRoots::none()),
            route: Override::None,
            authorization: None,
            identity: None,
            ca: None,
            timeouts: Timeouts { idle: Duration::from_secs(20), ..Timeouts::default() },
        }
    }

    fn config_with_password(&self) -> LfsConfig {
        let credentials = BasicCredentials::new("ann".into(), "canary".into()).unwrap();
        LfsConfig { authorization: Some(credentials.into()), ..self.config() }
    }
}

const ANN: &str = "Basic YW5uOmNhbmFyeQ==";
const BATCH: &str = "POST /team/app.git/info/lfs/objects/batch";

impl State {
    fn answer(&self, method: &str, path: &str, authorization: &str, host: &str, body: &[u8]) -> (Vec<u8>, bool) {
        let text = |status: &str, content: &[u8]| {
            let mut whole = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", content.len()).into_bytes();
            whole.extend_from_slice(content);
            (whole, false)
        };
        if let Some((part, answer)) = &self.instead
            && path.contains(part)
        {
            return (answer.clone().into_bytes(), false);
        }
        if method == "POST" {
            if self.credentials.as_ref().is_some_and(|wanted| wanted != authorization) {
                return text("401 Unauthorized", b"canary");
            }
            let asked: Value = serde_json::from_slice(body).unwrap();
            assert_eq!((&asked["operation"], &asked["transfers"]), (&json!("download"), &json!(["basic"])));
            let origin = if self.downloads.is_empty() { format!("http://{host}") } else { self.downloads.clone() };
            let objects: Vec<Value> = asked["objects"]
                .as_array()
                .unwrap()
                .iter()
                .map(|object| {
                    let oid = object["oid"].as_str().unwrap();
                    if !self.contents.contains_key(oid) {
                        let error = json!({"code": 404, "message": "Object does not exist"});
                        return json!({"oid": oid, "size": object["size"], "error": error});
                    }
                    let action = json!({"href": format!("{origin}/media/{oid}"), "header": self.grant});
                    json!({"oid": oid, "size": object["size"], "actions": {"download": action}})
                })
                .collect();
            return text("200 OK", json!({"transfer": "basic", "objects": objects}).to_string().as_bytes());
        }
        let Some(content) = path.strip_prefix("/media/").and_then(|oid| self.contents.get(oid)) else {
            return text("404 Not Found", b"");
        };
        let (mut whole, _) = text("200 OK", content);
        if let Some(cut) = self.cut {
            whole.truncate(whole.len() - content.len() + cut);
            return (whole, true);
        }
        (whole, false)
    }
}

struct Held {
    directory: TempDir,
    store: LfsStore,
}

impl Held {
    fn new(limit: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = LfsStore::new(directory.path().join("lfs"), limit);
        Self { directory, store }
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path().join("lfs")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

async fn fetch(config: LfsConfig, pointers: &[LfsPointer], held: &Held) -> Result<u64, GitError> {
    LfsClient::new(config).fetch(pointers, &held.store, LfsLimits::default()).await
}

#[tokio::test]
async fn contents_come_once_checked_by_their_hash_and_are_kept_under_it() {
    let (server, held) = (LfsServer::start().await, Held::new(1 << 20));
    let (one, two) = (server.hold(b"kind: ConfigMap\n"), server.hold(b"two"));
    assert!(!held.store.has(&one));
    assert_eq!(held.store.read(&one).unwrap(), None);
    assert_eq!(fetch(server.config(), &[one.clone(), two.clone()], &held).await.unwrap(), 19);
    assert_eq!(
        server.take_log(),
        [format!("{BATCH} "), format!("GET /media/{} ", one.oid()), format!("GET /media/{} ", two.oid())]
    );
    assert_eq!(held.store.read(&one).unwrap().as_deref(), Some(&b"kind: ConfigMap\n"[..]));
    let mut names = vec![one.oid().to_owned(), two.oid().to_owned()];
    names.sort();
    assert_eq!(held.names(), names);
    assert_eq!(fetch(server.config(), &[one.clone(), two], &held).await.unwrap(), 0);
    assert_eq!(server.take_log(), Vec::<String>::new());
    // What is corrupt on disk counts as not there.
    std::fs::write(held.directory.path().join("lfs").join(one.oid()), b"kind: ConfigMap!").unwrap();
    assert_eq!(held.store.read(&one).unwrap(), None);
    assert!(!held.store.has(&one));
}

#[tokio::test]
async fn a_hundred_and_one_objects_take_two_questions() {
    let (server, held) = (LfsServer::start().await, Held::new(1 << 20));
    let pointers: Vec<LfsPointer> =
        (0..101).map(|number| server.hold(format!("content {number}").as_bytes())).collect();
    fetch(server.config(), &pointers, &held).await.unwrap();
    assert_eq!(server.take_log().iter().filter(|line| line.starts_with("POST")).count(), 2);
    assert_eq!(held.names().len(), 101);
}

#[tokio::test]
async fn credentials_go_to_the_own_origin_unless_the_server_gives_others_and_never_elsewhere() {
    let (server, media, held) = (LfsServer::start().await, LfsServer::start().await, Held::new(1 << 20));
    let contents: Vec<LfsPointer> = [&b"one"[..], b"two", b"three"]
        .into_iter()
        .map(|content| {
            media.hold(content);
            server.hold(content)
        })
        .collect();
    server.set(|state| state.credentials = Some(ANN.to_owned()));
    let refused = fetch(server.config(), &contents[..1], &held).await.unwrap_err();
    assert_eq!(refused.reason, Reason::AuthFailed);
    assert!(refused.message.contains("wants credentials (401); name a Secret"), "{refused}");
    assert!(!refused.message.contains("canary"), "{refused}");
    server.take_log();

    fetch(server.config_with_password(), &contents[..1], &held).await.unwrap();
    assert_eq!(server.take_log(), [format!("{BATCH} {ANN}"), format!("GET /media/{} {ANN}", contents[0].oid())]);

    server.set(|state| drop(state.grant.insert("Authorization".to_owned(), "RemoteAuth granted".to_owned())));
    fetch(server.config_with_password(), &contents[1..2], &held).await.unwrap();
    assert_eq!(server.take_log()[1], format!("GET /media/{} RemoteAuth granted", contents[1].oid()));

    // Another host gets what it is granted with, and without that nothing.
    server.set(|state| state.downloads = format!("http://{}", media.address));
    fetch(server.config_with_password(), &contents[2..], &held).await.unwrap();
    assert_eq!(media.take_log(), [format!("GET /media/{} RemoteAuth granted", contents[2].oid())]);
    let again = Held::new(1 << 20);
    server.set(|state| state.grant.clear());
    fetch(server.config_with_password(), &contents[2..], &again).await.unwrap();
    assert_eq!(media.take_log(), [format!("GET /media/{} ", contents[2].oid())]);

    // A redirect of a download to a third host takes nothing along.
    let moved = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{}/media/{}\r\nContent-Length: 0\r\n\r\n",
        media.address,
        contents[0].oid()
    );
    server.set(|state| {
        state.downloads.clear();
        state.grant.insert("Authorization".to_owned(), "RemoteAuth granted".to_owned());
        state.instead = Some(("/media/", moved));
    });
    fetch(server.config_with_password(), &contents[..1], &Held::new(1 << 20)).await.unwrap();
    assert_eq!(media.take_log(), [format!("GET /media/{} ", contents[0].oid())]);
}

#[tokio::test]
async fn airgap_30_each_host_of_a_download_is_led_by_the_rules_for_it() {
    let (server, media) = (LfsServer::start().await, LfsServer::start().await);
    let pointer = server.hold(b"one");
    media.hold(b"one");
    let proxy = TestProxy::start(media.address, ProxyBehaviour::default()).await;
    server.set(|state| state.downloads = "http://media.corp.test".to_owned());
    // The repository's own host is loopback, which is direct; the download's host is the proxy's.
    let config = LfsConfig { egress: proxy.egress(None, None), ..server.config() };
    fetch(config.clone(), std::slice::from_ref(&pointer), &Held::new(1 << 20)).await.unwrap();
    assert_eq!(proxy.seen(), [format!("GET http://media.corp.test/media/{}", pointer.oid())]);
    // That the repository goes direct says nothing about another host.
    let direct = LfsConfig { route: Override::Direct, ..config };
    fetch(direct, std::slice::from_ref(&pointer), &Held::new(1 << 20)).await.unwrap();
    assert_eq!(proxy.seen().len(), 2);
}

#[tokio::test]
async fn what_is_not_the_content_is_never_kept() {
    let server = LfsServer::start().await;
    let pointer = server.hold(b"right");
    let fail = async |change: fn(&mut State)| {
        server.set(|state| {
            *state = State { contents: std::mem::take(&mut state.contents), ..State::default() };
            change(state);
        });
        let held = Held::new(1 << 20);
        let error = fetch(server.config(), std::slice::from_ref(&pointer), &held).await.unwrap_err();
        assert_eq!(held.names(), Vec::<String>::new(), "{error}");
        (error.reason, error.message)
    };
    let replace = |state: &mut State, content: &[u8]| {
        state.contents.values_mut().for_each(|held| *held = content.to_vec());
    };
    let (reason, message) = fail(|state| state.cut = Some(2)).await;
    assert_eq!(reason, Reason::ConnectionCut, "{message}");
    let (reason, message) = fail(|state| {
        state.instead = Some(("/batch", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned()));
    })
    .await;
    assert!(reason == Reason::LfsFailed && message.contains("there is no LFS API"), "{message}");
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\n\r\n<p>Blocked</p>";
    for part in ["/batch", "/media/"] {
        server.set(|state| state.instead = Some((part, page.to_owned())));
        let held = Held::new(1 << 20);
        let error = fetch(server.config(), std::slice::from_ref(&pointer), &held).await.unwrap_err();
        assert_eq!((error.reason, held.names()), (Reason::BlockedByProxy, Vec::new()), "{error}");
    }
    let (reason, message) = fail(|state| {
        let refusal = "<Error><StringToSign>canary</StringToSign></Error>";
        let text = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{refusal}", refusal.len());
        state.instead = Some(("/media/", text));
    })
    .await;
    assert!(reason == Reason::AuthFailed && !message.contains("canary"), "{message}");
    server.set(|state| state.instead = None);
    for (content, words) in [
        (&b"wrong"[..], "sent other content"),
        (b"righ", "sent 4 bytes, the pointer says 5"),
        (b"right and more", "sends more than the 5 bytes"),
    ] {
        server.set(|state| replace(state, content));
        let held = Held::new(1 << 20);
        let error = fetch(server.config(), std::slice::from_ref(&pointer), &held).await.unwrap_err();
        assert_eq!((error.reason, held.names()), (Reason::LfsFailed, Vec::new()));
        assert!(error.message.contains(words) && error.message.contains(&pointer.oid()[..12]), "{error}");
    }
    server.set(|state| state.contents.clear());
    let error = fetch(server.config(), std::slice::from_ref(&pointer), &Held::new(1 << 20)).await.unwrap_err();
    assert!(error.message.contains("404: Object does not exist"), "{error}");
}

#[tokio::test]
async fn one_transfer_and_what_is_kept_are_bounded_and_what_was_used_longest_ago_goes_first() {
    let server = LfsServer::start().await;
    let held = Held::new(10);
    let (one, two, three) = (server.hold(b"1111"), server.hold(b"2222"), server.hold(b"3333"));
    let bounded = LfsClient::new(server.config());
    let error = bounded.fetch(&[one.clone(), two.clone()], &held.store, LfsLimits { bytes: 7 }).await.unwrap_err();
    assert_eq!(error.reason, Reason::LfsFailed);
    assert!(error.message.contains("have 8 bytes, the limit of one transfer is 7"), "{error}");
    assert_eq!(server.take_log(), Vec::<String>::new());

    fetch(server.config(), &[one.clone(), two.clone()], &held).await.unwrap();
    let past = std::time::UNIX_EPOCH + Duration::from_secs(1);
    for pointer in [&one, &two] {
        let file = std::fs::File::open(held.directory.path().join("lfs").join(pointer.oid())).unwrap();
        file.set_modified(past).unwrap();
    }
    assert!(held.store.has(&one), "which counts as a use");
    fetch(server.config(), std::slice::from_ref(&three), &held).await.unwrap();
    assert_eq!((held.store.has(&one), held.store.has(&two), held.store.has(&three)), (true, false, true));
    // What is needed at once can't push itself out.
    let error = fetch(server.config(), &[one, two, three], &held).await.unwrap_err();
    assert!(error.message.contains("raise limits.storeMebibytes"), "{error}");
}

#[tokio::test]
async fn what_an_interrupted_transfer_left_is_removed() {
    let held = Held::new(10);
    let folder = held.directory.path().join("lfs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("0123.part"), b"half").unwrap();
    std::fs::write(folder.join("a".repeat(64)), b"whole").unwrap();
    held.store.reap();
    assert_eq!(held.names(), ["a".repeat(64)]);
}
