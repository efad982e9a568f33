//! What a large pack costs in memory. Alone in its process, so that the peak of resident memory is its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test ends at the first thing that is not as expected"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tidelock::egress::{Egress, EgressRules, Override, ProxyRule, ProxyUrl, SystemRoots, Timeouts};
use tidelock::git::{
    FetchLimits, Remote, RemoteConfig, RepositoryUrl, Store, StoreLimits, Target, ref_prefixes, resolve,
};

/// Files of incompressible bytes, and how large each is.
const FILES: usize = 32;
const FILE_BYTES: usize = 8 << 20;

/// A quarter of a gigabyte is to cost less than a quarter of the 256 MiB that a gigabyte may.
const MOST_KIB: u64 = 64 << 10;

#[test]
fn airgap_29_a_large_pack_comes_through_a_proxy_in_memory_that_does_not_grow_with_it() {
    tidelock::git::bound_memory();
    let directory = tempfile::tempdir().unwrap();
    make_repository(&directory.path().join("large"));
    let address = serve(directory.path().to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Store::open(&directory.path().join("store"), StoreLimits::default()).unwrap();
    let (bytes, objects, peak) = runtime.block_on(async {
        let url = RepositoryUrl::parse("http://git.corp.test/large").unwrap();
        let remote = Remote::new(remote_config(url.clone(), address));
        let refs = remote.ls_refs(&ref_prefixes([&Target::Head])).await.unwrap();
        let revision = resolve(&Target::Head, &refs, &url).unwrap().revision;
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let came = remote.fetch(&store, std::slice::from_ref(&revision), FetchLimits::default()).await.unwrap();
        assert!(store.has(&revision).unwrap());
        (came.bytes, came.objects, peak())
    });
    assert!(bytes > (FILES * FILE_BYTES) as u64, "{bytes}");
    assert_eq!(objects as usize, FILES + 2, "the commit, its folder, the files");
    assert!(peak < MOST_KIB, "a pack of {} KiB took {peak} KiB of resident memory", bytes >> 10);
}

/// The peak of resident memory in KiB, file-backed pages included.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn remote_config(url: RepositoryUrl, proxy: SocketAddr) -> RemoteConfig {
    let rule = ProxyRule {
        name: "corporate".to_owned(),
        url: ProxyUrl::parse(&format!("http://{proxy}")).unwrap(),
        hosts: Vec::new(),
        direct: Vec::new(),
        default: true,
    };
    let rules = EgressRules { proxies: vec![rule], ..EgressRules::default() };
    let long = Duration::from_mins(5);
    RemoteConfig {
        url,
        egress: Egress::new(rules, BTreeMap::new(), SystemRoots::none()),
        route: Override::None,
        authorization: None,
        identity: None,
        ca: None,
        ssh: None,
        timeouts: Timeouts { first_byte: long, idle: long, ..Timeouts::default() },
    }
}

fn git(home: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// A bare repository of one commit.
fn make_repository(path: &Path) {
    let home = path.parent().unwrap();
    assert!(git(home).args(["init", "-q", "--bare", "-b", "main"]).arg(path).status().unwrap().success());
    // Nothing here can be compressed, and trying takes long.
    for (name, value) in [("core.compression", "0"), ("pack.compression", "0"), ("core.bigFileThreshold", "1m")] {
        assert!(git(home).arg("-C").arg(path).args(["config", name, value]).status().unwrap().success());
    }
    let mut import = git(home);
    import.arg("-C").arg(path).args(["fast-import", "--quiet"]).stdin(Stdio::piped());
    let mut child = import.spawn().unwrap();
    let mut stream = child.stdin.take().unwrap();
    stream
        .write_all(b"commit refs/heads/main\ncommitter Ann <ann@corp.test> 1767323045 +0000\ndata 4\nmany\n")
        .unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for file in 0..FILES {
        write!(stream, "M 100644 inline file{file}\ndata {FILE_BYTES}\n").unwrap();
        let mut content = Vec::with_capacity(FILE_BYTES);
        while content.len() < FILE_BYTES {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend_from_slice(&state.to_le_bytes());
        }
        stream.write_all(&content).unwrap();
        stream.write_all(b"\n").unwrap();
    }
    drop(stream);
    assert!(child.wait().unwrap().success());
}

/// A proxy and the git server behind it in one: takes requests in absolute form, answers by `git http-backend`.
fn serve(root: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, &root);
        }
    });
    address
}

fn answer(mut stream: TcpStream, root: &Path) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut headers) = (String::new(), BTreeMap::new());
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let target = target.strip_prefix("http://git.corp.test").expect("the absolute form");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let mut backend = Command::new("/usr/lib/git-core/git-http-backend");
    backend.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", root).env("GIT_CONFIG_NOSYSTEM", "1");
    backend.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("PATH_INFO", path);
    backend.env("QUERY_STRING", query).env("REQUEST_METHOD", method).env("REMOTE_ADDR", "127.0.0.1");
    backend.env("CONTENT_TYPE", header("content-type")).env("CONTENT_LENGTH", body.len().to_string());
    backend.env("GIT_PROTOCOL", header("git-protocol"));
    let mut child = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&body).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n").unwrap();
    // The headers that the backend writes go on where ours end.
    std::io::copy(&mut child.stdout.take().unwrap(), &mut stream).unwrap();
    child.wait().unwrap();
}
