//! A real git server for tests: `git http-backend` behind a small HTTP server that misbehaves on demand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::egress::testing::{Head, TestProxy, be_silent, read_head, serve};
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
        Self::with_format("sha1")
    }

    /// The same, with objects named by this hash.
    pub(super) fn with_format(format: &str) -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(fixture.work()).unwrap();
        fixture.git(&["init", "-q", "-b", "main", &format!("--object-format={format}"), "."]);
        fixture.change(&[("README", "one\n"), ("app/deployment.yaml", "kind: Deployment\n")]);
        fixture.git(&["tag", "light"]);
        fixture.git(&["tag", "-a", "-m", "release", "v1.0"]);
        fixture.git(&["branch", "other"]);
        fixture.change(&[("README", "two\n")]);
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
        self.change(files);
        self.revision("HEAD")
    }

    fn change(&self, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = self.work().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "change"]);
    }

    /// A commit of incompressible files of this size, by name.
    pub(super) fn noise(&self, files: &[(&str, usize)]) -> Revision {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for (path, size) in files {
            let mut content = Vec::with_capacity(size + 8);
            while content.len() < *size {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                content.extend_from_slice(&state.to_le_bytes());
            }
            content.truncate(*size);
            let path = self.work().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.commit(&[])
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
    /// Does not pass `Git-Protocol` on but tells git this, so that it speaks an old version.
    OldProtocol(&'static str),
    /// Gives an empty pack to whoever asks for objects rather than for commits.
    EmptyPieces,
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
        Fault::EmptyPieces => {
            let text = String::from_utf8_lossy(&body);
            if text.contains("command=fetch") && !text.contains("deepen") {
                return (empty_pack(), Fault::None);
            }
        }
        Fault::None | Fault::Cut(_) | Fault::Stall(_) | Fault::OldProtocol(_) => {}
    }
    let output = tokio::task::spawn_blocking({
        let head = head.clone();
        let protocol = match &fault {
            Fault::OldProtocol(told) => (*told).to_owned(),
            _ => head.header("git-protocol").to_owned(),
        };
        move || backend(&root, &head, &target, &body, &protocol)
    });
    (output.await.unwrap(), fault)
}

/// An answer of protocol version 2 with a pack of no object.
fn empty_pack() -> Vec<u8> {
    let checksum = [
        0x02, 0x9d, 0x08, 0x82, 0x3b, 0xd8, 0xa8, 0xea, 0xb5, 0x10, 0xad, 0x6a, 0xc7, 0x5c, 0x82, 0x3c, 0xfd, 0x3e,
        0xd3, 0x1e,
    ];
    let pack = [&b"PACK\0\0\0\x02\0\0\0\0"[..], &checksum].concat();
    let content = [b"000dpackfile\n", format!("{:04x}\x01", pack.len() + 5).as_bytes(), &pack, b"0000"].concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    [head.as_bytes(), &content].concat()
}

/// Runs `git http-backend` as CGI, and makes an HTTP answer of what it says.
fn backend(root: &Path, head: &Head, target: &str, body: &[u8], protocol: &str) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut command = command(BACKEND, root);
    command.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("PATH_INFO", path);
    command.env("QUERY_STRING", query).env("REQUEST_METHOD", &head.method).env("REMOTE_ADDR", "127.0.0.1");
    command.env("CONTENT_TYPE", head.header("content-type")).env("CONTENT_LENGTH", body.len().to_string());
    if !protocol.is_empty() {
        command.env("GIT_PROTOCOL", protocol);
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

/// What a proxy does to the bytes that come from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    None,
    /// Closes the connection after this many bytes.
    Close(usize),
    /// Resets the connection after this many bytes.
    Reset(usize),
    /// Passes nothing on after this many bytes, and keeps the connection.
    Hold(usize),
    /// Passes on one byte at a time from here to there, each after this many milliseconds.
    Trickle {
        from: usize,
        to: usize,
        pause: u64,
    },
}

/// A proxy that leads to one server, counts what passes, and harms connections.
#[derive(Clone)]
pub(super) struct Relay {
    pub address: SocketAddr,
    state: Arc<Mutex<RelayState>>,
}

struct RelayState {
    harm: Harm,
    /// Bytes to the client.
    received: usize,
    connections: usize,
}

impl Relay {
    pub(super) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(RelayState { harm: Harm::None, received: 0, connections: 0 }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                tokio::spawn(relay(client, server, Arc::clone(&shared)));
            }
        });
        Self { address, state }
    }

    pub(super) fn harm(&self, harm: Harm) {
        self.state.lock().unwrap().harm = harm;
    }

    /// Bytes that went to the client since the last call, and connections.
    pub(super) fn take(&self) -> (usize, usize) {
        let mut state = self.state.lock().unwrap();
        (std::mem::take(&mut state.received), std::mem::take(&mut state.connections))
    }

    /// A repository behind this proxy.
    pub(super) fn remote(&self, server: &GitServer, timeouts: Timeouts) -> Remote {
        let proxy = TestProxy { address: self.address, log: Arc::default() };
        Remote::new(RemoteConfig {
            url: RepositoryUrl::parse("http://git.corp.test/work/.git").unwrap(),
            egress: proxy.egress(None, None),
            timeouts,
            ..server.config()
        })
    }
}

async fn relay(mut client: TcpStream, server: SocketAddr, state: Arc<Mutex<RelayState>>) {
    #[expect(clippy::disallowed_methods, reason = "a server of the test")]
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut from_server, mut to_server) = server.split();
    let (mut passed, mut up, mut down) = (0, vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let harm = state.lock().unwrap().harm;
        let limit = match harm {
            Harm::Trickle { from, .. } if passed < from => from,
            Harm::Trickle { to, .. } if passed < to => passed + 1,
            Harm::None | Harm::Trickle { .. } => usize::MAX,
            Harm::Close(bytes) | Harm::Reset(bytes) | Harm::Hold(bytes) => bytes,
        };
        if passed >= limit {
            match harm {
                Harm::Reset(_) => client.set_zero_linger().unwrap(),
                Harm::Hold(_) => drop(client.read_to_end(&mut Vec::new()).await),
                Harm::None | Harm::Close(_) | Harm::Trickle { .. } => {}
            }
            return;
        }
        let most = down.len().min(limit - passed);
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => to_server.write_all(&up[..count]).await.unwrap(),
            },
            read = from_server.read(&mut down[..most]) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    if let Harm::Trickle { from, pause, .. } = harm && passed >= from && limit != usize::MAX {
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                    }
                    passed += count;
                    state.lock().unwrap().received += count;
                    if client.write_all(&down[..count]).await.is_err() {
                        return;
                    }
                }
            },
        }
    }
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
