//! What it costs to bring a repository here: time, bytes, resident memory, processor time.
//!
//! ```text
//! cargo bench --bench transfer -- URL [--ref NAME] [--proxy http://HOST:PORT] [--store DIRECTORY] [--times N]
//! ```
//!
//! Resolves a ref, fetches its commit into an object store (a fresh one unless `--store` names one that is kept), and
//! prints one line of JSON for each of `--times` rounds. A round with a kept store fetches what is new since the last.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measuring program ends at the first thing that is not as expected"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use tidelock::egress::{Egress, EgressRules, Override, ProxyRule, ProxyUrl, SystemRoots, Timeouts};
use tidelock::git::{
    FetchLimits, Remote, RemoteConfig, RepositoryUrl, Store, StoreLimits, Target, ref_prefixes, resolve,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Arguments {
    url: RepositoryUrl,
    target: Target,
    proxy: Option<String>,
    store: Option<PathBuf>,
    times: u32,
}

fn main() {
    // `cargo bench` says so to every benchmark; without a URL there is nothing to measure.
    let Some(arguments) = arguments() else {
        println!("transfer: give a URL to measure: cargo bench --bench transfer -- URL");
        return;
    };
    tidelock::git::bound_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(&arguments));
}

fn arguments() -> Option<Arguments> {
    let mut given = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut url, mut target, mut proxy, mut store, mut times) = (None, Target::Head, None, None, 1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--ref" => target = Target::parse(&given.next().expect("a name after --ref")),
            "--proxy" => proxy = Some(given.next().expect("a URL after --proxy")),
            "--store" => store = Some(PathBuf::from(given.next().expect("a directory after --store"))),
            "--times" => times = given.next().and_then(|count| count.parse().ok()).expect("a number after --times"),
            other => url = Some(RepositoryUrl::parse(other).expect("the URL of a repository")),
        }
    }
    Some(Arguments { url: url?, target, proxy, store, times })
}

async fn run(arguments: &Arguments) {
    let Arguments { url, target, proxy, store, times } = arguments;
    let (egress, route) = match proxy {
        None => (Egress::direct(SystemRoots::new()), Override::Direct),
        Some(text) => {
            let url = ProxyUrl::parse(text).expect("the URL of a proxy");
            let rule =
                ProxyRule { name: "given".to_owned(), url, hosts: Vec::new(), direct: Vec::new(), default: true };
            let rules = EgressRules { proxies: vec![rule], ..EgressRules::default() };
            (Egress::new(rules, BTreeMap::new(), SystemRoots::new()), Override::Proxy("given".to_owned()))
        }
    };
    let remote = Remote::new(RemoteConfig {
        url: url.clone(),
        egress,
        route,
        authorization: None,
        identity: None,
        ca: None,
        ssh: None,
        timeouts: Timeouts { idle: Duration::from_mins(5), first_byte: Duration::from_mins(5), ..Timeouts::default() },
    });
    let limits = FetchLimits { bytes: 8 << 30, objects: 10_000_000, ..FetchLimits::default() };
    for _ in 0..*times {
        let fresh = tempfile::tempdir().unwrap();
        let directory = store.clone().unwrap_or_else(|| fresh.path().join("store"));
        let store = Store::open(&directory, StoreLimits { bytes: 64 << 30 }).unwrap();
        reset_peak();
        let (started, used) = (Instant::now(), processor_time());
        let refs = remote.ls_refs(&ref_prefixes([target])).await.unwrap();
        let revision = resolve(target, &refs, url).unwrap().revision;
        let polled = started.elapsed();
        let stats = remote.fetch(&store, std::slice::from_ref(&revision), limits).await.unwrap();
        let wall = started.elapsed();
        store.record_tip("refs/heads/measured", &revision).unwrap();
        let line = json!({
            "revision": revision.as_str(),
            "route": remote.route(),
            "poll_ms": polled.as_secs_f64() * 1e3,
            "wall_ms": wall.as_secs_f64() * 1e3,
            "processor_ms": processor_time().saturating_sub(used).as_secs_f64() * 1e3,
            "bytes": stats.bytes,
            "objects": stats.objects,
            "pieces": stats.pieces,
            "peak_rss_mib": memory("VmHWM:") / 1024,
            "anonymous_mib": memory("RssAnon:") / 1024,
        });
        println!("{line}");
    }
}

fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// A line of `/proc/self/status`, in KiB.
fn memory(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Time that this process's threads have run. Those of the runtime live longer than a measurement.
fn processor_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let ran = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(ran.sum())
}
