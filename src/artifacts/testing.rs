//! A registry, a Helm repository and archives for tests: real servers on loopback, real bytes.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tar::{EntryType, Header};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

use super::digest::Digest;
use crate::egress::testing::{Head, read_head, serve};

/// An archive, with whatever names.
#[derive(Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    fn entry(mut self, path: &str, kind: EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    #[must_use]
    pub fn file(self, path: &str, content: &str) -> Self {
        self.entry(path, EntryType::Regular, "", content.as_bytes())
    }

    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Symlink, target, b"")
    }

    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Link, target, b"")
    }

    /// An entry about the next one.
    #[must_use]
    pub fn extension(self, kind: EntryType, content: &[u8]) -> Self {
        self.entry("extension", kind, "", content)
    }

    #[must_use]
    pub fn special(self, path: &str, kind: EntryType) -> Self {
        self.entry(path, kind, "", b"")
    }

    pub fn done(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A packaged chart.
pub fn chart(name: &str, version: &str) -> Vec<u8> {
    let about = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}-{{ .Chart.Version }}\"}\n";
    let tar =
        Tar::new().file(&format!("{name}/Chart.yaml"), &about).file(&format!("{name}/templates/map.yaml"), template);
    gzip(&tar.done())
}

/// What a server holds and how it behaves.
#[derive(Default)]
pub struct Shelf {
    /// By path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// By tag or digest: media type and text.
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub tags: Vec<String>,
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// `user:password` for Basic with every request to the registry.
    pub basic: Option<String>,
    /// `user:password` for the token service (empty: it gives tokens to anybody), and its URL.
    pub token: Option<(String, String)>,
    /// How many tokens were given; only the last is taken.
    pub tokens: usize,
    /// Where blobs are redirected to: an origin.
    pub blobs_at: Option<String>,
    /// Most tags in a page.
    pub page: usize,
    /// Every page of tags is followed by another one, each at a URL of its own.
    pub endless: bool,
    /// Said in place of every answer.
    pub answer: Option<String>,
    pub log: Vec<String>,
}

/// A server of everything that a shelf holds.
#[derive(Clone)]
pub struct Depot {
    pub address: SocketAddr,
    pub shelf: Arc<Mutex<Shelf>>,
}

impl Depot {
    pub async fn start(tls: Option<TlsAcceptor>) -> Self {
        let shelf: Arc<Mutex<Shelf>> = Arc::default();
        let shared = Arc::clone(&shelf);
        let address = serve(tls, move |mut stream| {
            let shelf = Arc::clone(&shared);
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let answer = answer(&mut shelf.lock().unwrap(), &head);
                    if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self { address, shelf }
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut Shelf) -> T) -> T {
        change(&mut self.shelf.lock().unwrap())
    }

    /// What was asked since the last call: method, host with path, and how it was logged in to.
    pub fn take_log(&self) -> Vec<String> {
        self.with(|shelf| std::mem::take(&mut shelf.log))
    }

    /// Publishes an artifact of one layer under a tag; gives the digest of its manifest.
    pub fn push(&self, tag: &str, config_type: &str, layer_type: &str, layer: &[u8]) -> Digest {
        let digest = Digest::of(layer);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": config_type, "digest": Digest::of(b"{}").as_str(), "size": 2},
            "layers": [{"mediaType": layer_type, "digest": digest.as_str(), "size": layer.len()}],
            "annotations": {"org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
        });
        let text = manifest.to_string().into_bytes();
        self.with(|shelf| shelf.blobs.insert(digest.to_string(), layer.to_vec()));
        self.push_manifest(tag, &text)
    }

    pub fn push_manifest(&self, tag: &str, text: &[u8]) -> Digest {
        let digest = Digest::of(text);
        self.with(|shelf| {
            let entry = ("application/vnd.oci.image.manifest.v1+json".to_owned(), text.to_vec());
            shelf.manifests.insert(digest.to_string(), entry.clone());
            shelf.manifests.insert(tag.to_owned(), entry);
            shelf.tags.push(tag.to_owned());
        });
        digest
    }

    pub fn push_chart(&self, name: &str, version: &str) -> Digest {
        self.push(
            &version.replace('+', "_"),
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            &chart(name, version),
        )
    }

    pub fn put_file(&self, path: &str, content: &[u8]) {
        self.with(|shelf| shelf.files.insert(path.to_owned(), content.to_vec()));
    }
}

fn answer(shelf: &mut Shelf, head: &Head) -> Vec<u8> {
    // A proxy passes on the absolute form.
    let target = match head.target.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("/".to_owned(), |(_, path)| format!("/{path}")),
        None => head.target.clone(),
    };
    let login = head.header("authorization").split(' ').next().unwrap_or_default();
    let login = if login.is_empty() { "-" } else { login };
    let host = head.header("host").split(':').next().unwrap_or_default().to_owned();
    shelf.log.push(format!("{} {host}{target} {login}", head.method));
    if let Some(answer) = &shelf.answer {
        return answer.clone().into_bytes();
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (status, headers, body) = if path == "/token" {
        token(shelf, head)
    } else if let Some(digest) = path.strip_prefix("/storage/") {
        found(shelf.blobs.get(digest), "application/octet-stream")
    } else if let Some(rest) = path.strip_prefix("/v2/") {
        registry(shelf, head, rest, query)
    } else {
        file(shelf, head, path)
    };
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    if head.method != "HEAD" {
        bytes.extend_from_slice(&body);
    }
    bytes
}

type Answer = (&'static str, Vec<(&'static str, String)>, Vec<u8>);

fn found(content: Option<&Vec<u8>>, media_type: &str) -> Answer {
    match content {
        Some(content) => {
            let digest = Digest::of(content).to_string();
            let headers = vec![("Content-Type", media_type.to_owned()), ("Docker-Content-Digest", digest)];
            ("200 OK", headers, content.clone())
        }
        None => ("404 Not Found", Vec::new(), br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#.to_vec()),
    }
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn token(shelf: &mut Shelf, head: &Head) -> Answer {
    let Some((pair, _)) = &shelf.token else { return ("404 Not Found", Vec::new(), Vec::new()) };
    if !pair.is_empty() && head.header("authorization") != basic(pair) {
        return ("401 Unauthorized", Vec::new(), b"{}".to_vec());
    }
    shelf.tokens += 1;
    let text = json!({"token": format!("token-{}", shelf.tokens), "expires_in": 300}).to_string();
    ("200 OK", vec![("Content-Type", "application/json".to_owned())], text.into_bytes())
}

fn registry(shelf: &Shelf, head: &Head, rest: &str, query: &str) -> Answer {
    let sent = head.header("authorization");
    if let Some(pair) = &shelf.basic
        && sent != basic(pair)
    {
        return ("401 Unauthorized", vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())], b"{}".to_vec());
    }
    if let Some((_, realm)) = &shelf.token
        && (shelf.tokens == 0 || sent != format!("Bearer token-{}", shelf.tokens))
    {
        let name = rest.split("/manifests/").next().and_then(|name| name.split("/blobs/").next()).unwrap_or_default();
        let challenge = format!("Bearer realm=\"{realm}\",service=\"depot\",scope=\"repository:{name}:pull\"");
        return ("401 Unauthorized", vec![("WWW-Authenticate", challenge)], b"{}".to_vec());
    }
    if let Some((_, reference)) = rest.split_once("/manifests/") {
        return match shelf.manifests.get(reference) {
            Some((media_type, text)) => found(Some(text), media_type),
            None => found(None, ""),
        };
    }
    if let Some((_, digest)) = rest.split_once("/blobs/") {
        if let Some(origin) = &shelf.blobs_at {
            let location = format!("{origin}/storage/{digest}?X-Signature=canary");
            return ("307 Temporary Redirect", vec![("Location", location)], Vec::new());
        }
        return found(shelf.blobs.get(digest), "application/octet-stream");
    }
    if rest.ends_with("/tags/list") {
        let last = query.split('&').find_map(|pair| pair.strip_prefix("last="));
        let start = last.and_then(|last| shelf.tags.iter().position(|tag| tag == last)).map_or(0, |at| at + 1);
        let size = if shelf.page == 0 { usize::MAX } else { shelf.page };
        let page: Vec<&String> = shelf.tags.iter().skip(start).take(size).collect();
        let mut headers = vec![("Content-Type", "application/json".to_owned())];
        if shelf.endless {
            headers.push(("Link", format!("</v2/{rest}?last={}>; rel=\"next\"", shelf.log.len())));
        } else if let Some(last) = page.last().filter(|_| start + page.len() < shelf.tags.len()) {
            headers.push(("Link", format!("</v2/{rest}?n={size}&last={last}>; rel=\"next\"")));
        }
        return ("200 OK", headers, json!({"name": "x", "tags": page}).to_string().into_bytes());
    }
    found(None, "")
}

fn file(shelf: &Shelf, head: &Head, path: &str) -> Answer {
    if let Some(pair) = &shelf.basic
        && head.header("authorization") != basic(pair)
    {
        return ("401 Unauthorized", Vec::new(), b"denied".to_vec());
    }
    let Some(content) = shelf.files.get(path) else { return ("404 Not Found", Vec::new(), b"no such file".to_vec()) };
    let tag = format!("\"{}\"", Digest::of(content).hex());
    if head.header("if-none-match") == tag {
        return ("304 Not Modified", vec![("ETag", tag)], Vec::new());
    }
    ("200 OK", vec![("ETag", tag), ("Content-Type", "application/octet-stream".to_owned())], content.clone())
}
