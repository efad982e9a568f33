//! The logs of the proxy, the git server and the DNS witness, from a mark on.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, MutexGuard};

use super::testbed::Testbed;

/// A place in a file that grows.
#[derive(Clone, Debug)]
pub struct Mark {
    path: PathBuf,
    offset: u64,
}

impl Mark {
    /// The present end of a file.
    pub fn end_of(path: &Path) -> Self {
        let offset = path.metadata().map_or(0, |metadata| metadata.len());
        Self { path: path.to_owned(), offset }
    }

    /// The complete lines begun since. A line that was just being written when the mark was made belongs to before.
    pub fn lines(&self) -> Vec<String> {
        let mut file = File::open(&self.path).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
        file.seek(SeekFrom::Start(self.offset.saturating_sub(1))).expect("a seekable file");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("a readable file");
        let line_end = |byte: &u8| *byte == b'\n';
        let begin = if self.offset == 0 { 0 } else { bytes.iter().position(line_end).map_or(bytes.len(), |at| at + 1) };
        let end = bytes.iter().rposition(line_end).map_or(begin, |at| at + 1).max(begin);
        String::from_utf8_lossy(&bytes[begin..end]).lines().map(str::to_owned).collect()
    }

    /// The JSON lines written since.
    pub fn entries<T: DeserializeOwned>(&self) -> Vec<T> {
        let parse = |line: &String| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.path.display()))
        };
        self.lines().iter().map(parse).collect()
    }
}

/// One request that the git server answered.
#[derive(Clone, Debug, Deserialize)]
pub struct GitRequest {
    /// RFC 3339, when it came.
    pub time: String,
    /// Path of the URL.
    pub path: String,
    /// `ls-refs`, `fetch`, or empty.
    #[serde(default)]
    pub command: String,
    /// The proxy that it came by; empty through a tunnel.
    #[serde(default)]
    pub via: String,
    /// Status of the answer.
    #[serde(default)]
    pub status: u16,
    /// Bytes of the answer's body.
    #[serde(default)]
    pub response_bytes: u64,
    /// How long it took.
    #[serde(default)]
    pub milliseconds: f64,
}

impl GitRequest {
    /// Seconds since midnight at which it came, for the distance of two requests.
    pub fn second(&self) -> f64 {
        second_of_day(&self.time)
    }
}

/// Seconds since midnight of a time in RFC 3339.
pub fn second_of_day(time: &str) -> f64 {
    let clock = time.split('T').nth(1).unwrap_or_default().trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap_or_default())
}

/// What the git server was asked about one repository since a mark.
pub fn git_requests(mark: &Mark, repository_path: &str) -> Vec<GitRequest> {
    mark.entries::<GitRequest>().into_iter().filter(|request| request.path.starts_with(repository_path)).collect()
}

/// The end of the git server's log.
pub fn git_mark() -> Mark {
    Mark::end_of(&Testbed::shared().git_access_log)
}

/// One question to the DNS witness.
#[derive(Clone, Debug, Deserialize)]
pub struct DnsQuestion {
    /// The name, with a dot at its end.
    pub name: String,
}

/// The end of the DNS witness's log.
pub fn dns_mark() -> Mark {
    Mark::end_of(&Testbed::shared().dns_log)
}

/// One request that Squid logged, when it was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRequest {
    /// Who, `-` without a login.
    pub user: String,
    /// Status of the answer.
    pub status: u16,
    /// `CONNECT`, `GET`, …
    pub method: String,
    /// `host:port` of a tunnel, or a URL.
    pub target: String,
}

impl ProxyRequest {
    /// The host that was asked for.
    pub fn host(&self) -> &str {
        let rest = self.target.split_once("://").map_or(self.target.as_str(), |(_, rest)| rest);
        rest.split(['/', ':']).next().unwrap_or_default()
    }
}

/// The proxy's log does not tell operators apart. Tests that ask for other hosts than the git server's, and those that
/// prove that nobody did, take turns.
pub async fn alone_at_the_proxy() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// The end of the proxy's log.
pub fn proxy_mark() -> Mark {
    Mark::end_of(&Testbed::shared().proxy_access_log)
}

/// What the proxy was asked since a mark. A tunnel appears when it is closed. The fields are those of `logformat` in
/// `e2e/testbed/squid.sh`.
pub fn proxy_requests(mark: &Mark) -> Vec<ProxyRequest> {
    let parse = |line: String| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_time, _client, _listener, user, status, _result, method, target, ..] = fields.as_slice() else {
            panic!("not a line of the proxy's log: {line}")
        };
        ProxyRequest {
            user: (*user).to_owned(),
            status: status.parse().unwrap_or(0),
            method: (*method).to_owned(),
            target: (*target).to_owned(),
        }
    };
    mark.lines().into_iter().map(parse).collect()
}
