//! A real git server for tests: `git http-backend` behind a small HTTP server that misbehaves on demand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::egress::testing::{Head, be_silent, read_head, serve};
use crate::egress::{Egress, Override, SystemRoots, Timeouts};
use crate::model::Revision;

use super::{Remote, RemoteConfig, RepositoryUrl, Store, StoreLimits};

const BACKEND: &str = "/usr/lib/git-core/git-http-backend";

/// A repository with a work tree, driven by the git command.
pub(super) struct Fixture {
    pub dir: TempDir,
}

impl Fixture {
    /// Two commits on `main`, a branch, a light and an annotated tag.
    pub(super) fn new() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(fixture.work()).unwrap();
        fixture.git(&["init", "-q", "-b", "main", "."]);
        fixture.commit(&[("README", "one\n"), ("app/deployment.yaml", "kind: Deployment\n")]);
        fixture.git(&["tag", "light"]);
        fixture.git(&["tag", "-a", "-m", "release", "v1.0"]);
        fixture.git(&["branch", "other"]);
        fixture.commit(&[("README", "two\n")]);
        fixture
    }

    pub(super) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub(super) fn git(&self, arguments: &[&str]) -> String {
        let output = command("git", self.dir.path()).args(arguments).current_dir(self.work()).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(super) fn commit(&self, files: &[(&str, &str)]) -> Revision {
        for (path, content) in files {
            let path = self.work().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "change"]);
        self.revision("HEAD")
    }

    pub(super) fn revision(&self, name: &str) -> Revision {
        Revision::parse(&self.git(&["rev-parse", name])).unwrap()
    }
}

fn command(program: &str, home: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Ann").env(format!("GIT_{role}_EMAIL"), "ann@corp.test");
        command.env(format!("GIT_{role}_DATE"), "2026-01-02T03:04:05Z");
    }
    command
}

/// What a server does wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// Closes after this many bytes of the body of a POST.
    Cut(usize),
    /// Falls silent after this many bytes of the body of a POST.
    Stall(usize),
    /// This, in place of every answer.
    Answer(String),
    /// Does not pass `Git-Protocol` on, so that git speaks version 0.
    OldProtocol,
    /// Redirects everything to the same path on this origin.
    Redirect(String),
}

/// A git server.
#[derive(Clone)]
pub(super) struct GitServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    root: PathBuf,
    fault: Fault,
    credentials: Option<String>,
    log: Vec<String>,
}

impl GitServer {
    pub(super) async fn start(fixture: &Fixture) -> Self {
        Self::start_with(fixture, None).await
    }

    pub(super) async fn start_with(fixture: &Fixture, tls: Option<TlsAcceptor>) -> Self {
        let state = Arc::new(Mutex::new(State { root: fixture.dir.path().to_owned(), ..State::default() }));
        let shared = Arc::clone(&state);
        let address = serve(tls, move |mut stream| {
            let state = Arc::clone(&shared);
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let mut body = vec![0; head.header("content-length").parse().unwrap_or(0)];
                    stream.read_exact(&mut body).await.unwrap();
                    let (text, fault) = answer(&state, &head, body).await;
                    let start = text.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
                    let end = match fault {
                        Fault::Cut(bytes) | Fault::Stall(bytes) if head.method == "POST" => {
                            (start + bytes).min(text.len())
                        }
                        _ => text.len(),
                    };
                    if stream.write_all(&text[..end]).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                    if end < text.len() {
                        if matches!(fault, Fault::Stall(_)) {
                            be_silent(stream).await;
                        }
                        return;
                    }
                }
            }
        })
        .await;
        Self { address, state }
    }

    pub(super) fn break_with(&self, fault: Fault) {
        self.state.lock().unwrap().fault = fault;
    }

    pub(super) fn want_credentials(&self, pair: &str) {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        self.state.lock().unwrap().credentials = Some(format!("Basic {encoded}"));
    }

    /// The requests since the last call: method and path, and the command of protocol version 2.
    pub(super) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    pub(super) fn url(&self) -> RepositoryUrl {
        RepositoryUrl::parse(&format!("http://{}/work/.git", self.address)).unwrap()
    }

    pub(super) fn config(&self) -> RemoteConfig {
        RemoteConfig {
            url: self.url(),
            egress: Egress::direct(SystemRoots::none()),
            route: Override::None,
            authorization: None,
            identity: None,
            ca: None,
            ssh: None,
            timeouts: Timeouts { idle: Duration::from_secs(20), ..Timeouts::default() },
        }
    }

    pub(super) fn remote(&self) -> Remote {
        Remote::new(self.config())
    }
}

async fn answer(state: &Mutex<State>, head: &Head, body: Vec<u8>) -> (Vec<u8>, Fault) {
    // A proxy passes on the absolute form.
    let target = match head.target.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("/".to_owned(), |(_, path)| format!("/{path}")),
        None => head.target.clone(),
    };
    let command = String::from_utf8_lossy(body.get(4..).unwrap_or_default()).lines().next().map(str::to_owned);
    let (root, fault, refused) = {
        let mut state = state.lock().unwrap();
        let command =
            command.filter(|command| command.starts_with("command=")).map_or(String::new(), |it| format!(" {it}"));
        state.log.push(format!("{} {target}{command}", head.method));
        let refused = state.credentials.as_ref().is_some_and(|wanted| head.header("authorization") != wanted);
        (state.root.clone(), state.fault.clone(), refused)
    };
    if refused {
        let text =
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 6\r\n\r\ndenied";
        return (text.into(), Fault::None);
    }
    match &fault {
        Fault::Answer(text) => return (text.clone().into(), Fault::None),
        Fault::Redirect(origin) => {
            let text = format!("HTTP/1.1 301 Moved\r\nLocation: {origin}{target}\r\nContent-Length: 0\r\n\r\n");
            return (text.into(), Fault::None);
        }
        Fault::None | Fault::Cut(_) | Fault::Stall(_) | Fault::OldProtocol => {}
    }
    let output = tokio::task::spawn_blocking({
        let (head, old) = (head.clone(), fault == Fault::OldProtocol);
        move || backend(&root, &head, &target, &body, old)
    });
    (output.await.unwrap(), fault)
}

/// Runs `git http-backend` as CGI, and makes an HTTP answer of what it says.
fn backend(root: &Path, head: &Head, target: &str, body: &[u8], old: bool) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut command = command(BACKEND, root);
    command.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("PATH_INFO", path);
    command.env("QUERY_STRING", query).env("REQUEST_METHOD", &head.method).env("REMOTE_ADDR", "127.0.0.1");
    command.env("CONTENT_TYPE", head.header("content-type")).env("CONTENT_LENGTH", body.len().to_string());
    if !old {
        command.env("GIT_PROTOCOL", head.header("git-protocol"));
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // A backend that has heard enough closes its end.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), body);
    let output = child.wait_with_output().unwrap().stdout;
    let split = output.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let lines = String::from_utf8(output[..split].to_vec()).unwrap();
    let mut headers: BTreeMap<&str, &str> = lines.lines().filter_map(|line| line.split_once(": ")).collect();
    let status = headers.remove("Status").unwrap_or("200 OK").to_owned();
    let content = &output[split + 4..];
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", content.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut answer = text.into_bytes();
    answer.extend_from_slice(content);
    answer
}

/// A store in a directory that goes away with the test.
pub(super) struct TestStore {
    pub dir: TempDir,
    pub store: Store,
}

impl TestStore {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), StoreLimits::default()).unwrap();
        Self { dir, store }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Names of all files below `objects`, sorted.
    pub(super) fn object_files(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut waiting = vec![self.path().join("objects")];
        while let Some(dir) = waiting.pop() {
            for entry in dir.read_dir().unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    waiting.push(entry.path());
                } else {
                    names.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        names.sort();
        names
    }
}
