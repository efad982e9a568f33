//! Two replicas on one lease: whatever happens to the one that holds it, the audit log never shows two writers, and the other
//! works within the lease's duration.

use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::support::application::Application;
use crate::support::audit::{Audit, Request, lines};
use crate::support::cluster::{CONFIG_MAP, Cluster, name_of};
use crate::support::git::file;
use crate::support::installation::Installation;
use crate::support::manifests::config_map;
use crate::support::operator::Operator;
use crate::support::testbed::{Testbed, run};
use crate::support::waiting::{PATIENCE, wait_until};
use crate::support::wire::Wire;

/// What a replica is told, in seconds: the default.
const LEASE_SECONDS: u64 = 15;
const OBJECTS: usize = 60;

/// How long a replica is frozen, or cut off: longer than the lease by half unless `TIDELOCK_FREEZE_SECONDS` says otherwise
/// (a minute, for the report).
fn long_enough() -> Duration {
    let seconds = std::env::var("TIDELOCK_FREEZE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(LEASE_SECONDS * 3 / 2))
}

/// A leader and a replica that stands by, with one Application in sync.
struct Pair {
    installation: Installation,
    standby: Operator,
    target: String,
}

impl Pair {
    async fn start(name: &str, group: u32) -> Self {
        let mut installation = Installation::prepare(name).await;
        installation.apply_access().await;
        Cut::mark(group);
        installation.operator.set_group(group);
        installation.operator.start().await;
        let mut standby = installation.replica();
        standby.start().await;
        let target = installation.target("t").await;
        let repository = installation.repository(name);
        let files =
            (0..OBJECTS).map(|index| (format!("app/cm-{index}.yaml"), file(config_map(&format!("cm-{index}"), "git"))));
        let commit = repository.commit(files);
        installation.declare(Application::named("app", &repository.url, "app", &target)).await;
        installation.synced("app", &commit).await;
        let pair = Self { installation, standby, target };
        pair.wait_until_warm().await;
        pair
    }

    async fn wait_until_warm(&self) {
        self.installation
            .wait("the replica that stands by knows every object", async || {
                let known = self.standby.metrics().sum("tidelock_live_objects", &[]);
                if known >= OBJECTS as f64 { Ok(()) } else { Err(format!("it knows {known} objects")) }
            })
            .await;
    }

    /// Waits until the replica that stood by holds the lease.
    async fn wait_for_takeover(&self) {
        let led = wait_until(PATIENCE, async || {
            let led = self.standby.metrics().sum("tidelock_leader", &[]) == 1.0;
            if led { Ok(()) } else { Err(self.standby.last_log_lines()) }
        });
        led.await.unwrap_or_else(|state| panic!("the replica that stands by does not take over:\n{state}"));
    }

    /// Waits until every object is as git wants it.
    async fn wait_until_healed(&self) {
        self.installation
            .wait("every object is as git wants it", async || {
                let objects = self.installation.cluster.list(CONFIG_MAP, &self.target).await;
                let ours = objects.iter().filter(|object| name_of(object).starts_with("cm-"));
                let wrong: Vec<&str> = ours.filter(|object| object["data"]["value"] != "git").map(name_of).collect();
                if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}\n{}", self.standby.last_log_lines())) }
            })
            .await;
    }

    /// Waits until a replica has written much: time in which something late would arrive.
    async fn wait_until_another_write(&self, audit: &Audit, token: &str) {
        self.installation
            .wait("the other replica writes", async || {
                let written = writes_by(audit, token).len();
                if written >= 20 { Ok(()) } else { Err(format!("{written} writes")) }
            })
            .await;
    }

    /// Changes one object after the other by hand until dropped, so that there is always something to write.
    fn disturb(&self) -> Disturbance {
        let (cluster, target) = (self.installation.cluster.clone(), self.target.clone());
        Disturbance(tokio::spawn(disturb(cluster, target)))
    }

    async fn finish(mut self) {
        self.standby.stop().await;
        self.installation.finish_stopped().await;
    }
}

struct Disturbance(tokio::task::JoinHandle<()>);

impl Drop for Disturbance {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn disturb(cluster: Cluster, target: String) {
    let mut ticks = tokio::time::interval(Duration::from_millis(300));
    for number in 0.. {
        ticks.tick().await;
        let name = format!("cm-{}", number % OBJECTS);
        cluster.merge(CONFIG_MAP, &target, &name, json!({"data": {"value": format!("drift-{number}")}})).await;
    }
}

/// No packet of a replica reaches the API server until this is dropped, whoever sends it: what the kernel still has of it when
/// the process has ended is held back too. What comes from the server still arrives for a while, so that the replica learns of
/// things to do: a way that is broken in one direction is the worse case.
struct Cut {
    group: u32,
}

impl Cut {
    /// Marks the connections of a group, so that they can be told apart even when their process is gone.
    fn mark(group: u32) {
        let (owner, mark) = (group.to_string(), group.to_string());
        filter(&[
            "-t",
            "mangle",
            "-A",
            "OUTPUT",
            "-m",
            "owner",
            "--gid-owner",
            &owner,
            "-j",
            "CONNMARK",
            "--set-mark",
            &mark,
        ]);
    }

    fn off(group: u32) -> Self {
        Self::rule("-A", group);
        Self { group }
    }

    fn rule(verb: &str, group: u32) {
        let mark = group.to_string();
        filter(&[verb, "OUTPUT", "-p", "tcp", "--dport", "6443", "-m", "connmark", "--mark", &mark, "-j", "DROP"]);
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        Self::rule("-D", self.group);
    }
}

/// Changes the packet filter where the operators are.
fn filter(arguments: &[&str]) {
    let prefix = &Testbed::shared().operator_netns;
    let mut command = Command::new(&prefix[0]);
    run(command.args(&prefix[1..]).args(["iptables", "-w"]).args(arguments));
}

fn time_of(request: &Request) -> Timestamp {
    request.received.parse().expect("audit events have RFC 3339 times")
}

/// What a replica wrote, or tried to, renewals of the lease aside.
fn writes_by(audit: &Audit, token: &str) -> Vec<Request> {
    let by_it = |request: &Request| request.agent.contains(token) && request.is_write() && request.resource != "leases";
    audit.requests().into_iter().filter(by_it).collect()
}

/// When the second replica took the lease. Fails when a write of the first came later than that, or one of the second
/// earlier; what was refused counts too.
fn taken_over_without_two_writers(audit: &Audit, first: &str, second: &str) -> Timestamp {
    let takes =
        |request: &Request| request.agent.contains(second) && request.resource == "leases" && request.is_done_write();
    let taken = audit.requests().into_iter().find(takes).expect("the second replica takes the lease");
    let taken = time_of(&taken);
    let late: Vec<Request> = writes_by(audit, first).into_iter().filter(|write| time_of(write) >= taken).collect();
    assert_eq!(lines(&late), Vec::<String>::new(), "written after another had the lease ({taken})");
    let early: Vec<Request> = writes_by(audit, second).into_iter().filter(|write| time_of(write) < taken).collect();
    assert_eq!(lines(&early), Vec::<String>::new(), "written before it had the lease ({taken})");
    taken
}

#[expect(clippy::print_stderr, reason = "how long a takeover took is part of the report")]
fn report(what: &str, since: Timestamp, taken: Timestamp) -> Duration {
    let took = taken.duration_since(since).unsigned_abs();
    eprintln!("takeover {what}: {:.2} s with a lease of {LEASE_SECONDS} s", took.as_secs_f64());
    took
}

#[tokio::test]
async fn a_replica_that_stands_by_is_ready_and_warm_and_writes_nothing_and_takes_over_when_the_leader_is_killed() {
    let mut pair = Pair::start("ha-kill", 4201).await;
    let (first, second) = (pair.installation.operator.token(), pair.standby.token());
    let (status, text) = pair.standby.ask("readyz?verbose");
    assert_eq!(status, 200, "{text}");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(text.contains(&format!("[+]lease ok: stands by for {}_{first}\n", host.trim())), "{text}");
    assert!(text.ends_with("readyz check passed\n"), "{text}");
    let metrics = pair.standby.metrics();
    assert_eq!(metrics.sum("tidelock_leader", &[]), 0.0);
    assert!(metrics.sum("tidelock_polls_total", &[]) >= 1.0, "it polls what it will need");

    let audit = pair.installation.audit();
    let killed = Timestamp::now();
    pair.installation.operator.kill9();
    pair.wait_for_takeover().await;
    pair.installation.refresh("app").await;
    let taken = taken_over_without_two_writers(&audit, &first, &second);
    let took = report("after kill -9", killed, taken);
    assert!(took <= Duration::from_secs(LEASE_SECONDS), "{took:?}");
    // Nothing was out of sync, so nothing is applied again.
    assert_eq!(lines(&audit.writes_in(&pair.target)), Vec::<String>::new());

    let disturbance = pair.disturb();
    pair.installation
        .wait("the new leader heals", async || {
            if audit.writes_in(&pair.target).is_empty() { Err("no write yet".to_owned()) } else { Ok(()) }
        })
        .await;
    drop(disturbance);
    pair.wait_until_healed().await;
    pair.finish().await;
}

#[tokio::test]
async fn before_a_replica_has_the_lease_it_writes_nothing_at_all() {
    let mut installation = Installation::prepare("ha-idle").await;
    installation.apply_access().await;
    let audit = installation.audit();
    installation.operator.start().await;
    let mut standby = installation.replica();
    standby.start().await;
    let target = installation.target("t").await;
    let repository = installation.repository("idle");
    let first = repository.commit([("app/a.yaml", file(config_map("a", "1")))]);
    installation.declare(Application::named("app", &repository.url, "app", &target).polled_every("2s")).await;
    installation.synced("app", &first).await;
    let second = repository.commit([("app/a.yaml", file(config_map("a", "2")))]);
    installation.synced("app", &second).await;
    let polls = || standby.metrics().sum("tidelock_git_requests_total", &["operation=\"fetch\""]);
    installation
        .wait("the replica that stands by has fetched", async || {
            if polls() >= 1.0 { Ok(()) } else { Err(standby.last_log_lines()) }
        })
        .await;
    let asked: Vec<Request> =
        audit.requests().into_iter().filter(|request| request.agent.contains(&standby.token())).collect();
    let watches = asked.iter().filter(|request| request.verb == "watch" && request.resource == "configmaps").count();
    assert!(watches >= 1, "it watches what the leader manages");
    let writes: Vec<Request> = asked.into_iter().filter(Request::is_write).collect();
    assert_eq!(lines(&writes), Vec::<String>::new());
    standby.stop().await;
    installation.finish().await;
}

#[tokio::test]
async fn a_leader_that_was_frozen_for_longer_than_its_lease_writes_nothing_when_it_wakes() {
    let mut pair = Pair::start("ha-freeze", 4202).await;
    let (first, second) = (pair.installation.operator.token(), pair.standby.token());
    let audit = pair.installation.audit();
    let disturbance = pair.disturb();
    pair.installation
        .wait("the leader heals", async || {
            if audit.writes_in(&pair.target).len() < 3 { Err("it is idle".to_owned()) } else { Ok(()) }
        })
        .await;
    let (frozen, since) = (Timestamp::now(), Instant::now());
    pair.installation.operator.signal("STOP");
    pair.wait_for_takeover().await;
    tokio::time::sleep(long_enough().saturating_sub(since.elapsed())).await;
    pair.installation.operator.signal("CONT");
    let status = pair.installation.operator.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(1), "a lost lease ends the process");
    drop(disturbance);
    pair.wait_until_healed().await;
    let taken = taken_over_without_two_writers(&audit, &first, &second);
    let took = report("after SIGSTOP", frozen, taken);
    assert!(took <= Duration::from_secs(LEASE_SECONDS), "{took:?}");
    pair.finish().await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_the_other_starts_and_what_it_had_sent_does_not_arrive_later() {
    let group = 4203;
    let mut pair = Pair::start("ha-cut", group).await;
    let (first, second) = (pair.installation.operator.token(), pair.standby.token());
    let audit = pair.installation.audit();
    let disturbance = pair.disturb();
    pair.installation
        .wait("the leader heals", async || {
            if audit.writes_in(&pair.target).len() < 3 { Err("it is idle".to_owned()) } else { Ok(()) }
        })
        .await;
    let cut_at = Timestamp::now();
    let cut = Cut::off(group);
    pair.wait_for_takeover().await;
    // The worst moment: the other has just begun.
    drop(cut);
    let status = pair.installation.operator.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(1), "a lost lease ends the process");
    pair.wait_until_another_write(&audit, &second).await;
    drop(disturbance);
    pair.wait_until_healed().await;
    let taken = taken_over_without_two_writers(&audit, &first, &second);
    let took = report("after a network cut", cut_at, taken);
    assert!(took <= Duration::from_secs(LEASE_SECONDS), "{took:?}");
    // It comes back as the one that stands by.
    pair.installation.operator.start().await;
    let (_, text) = pair.installation.operator.ask("readyz?verbose");
    assert!(text.contains(&format!("_{second}\n")), "{text}");
    pair.installation.operator.stop().await;
    pair.finish().await;
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_over_at_once_and_nothing_is_applied_again() {
    let mut pair = Pair::start("ha-term", 4204).await;
    let (first, second) = (pair.installation.operator.token(), pair.standby.token());
    let audit = pair.installation.audit();
    let (told, since) = (Timestamp::now(), Instant::now());
    let before = pair.standby.metrics().sum("tidelock_reconciles_total", &[]);
    pair.installation.operator.stop().await;
    assert!(since.elapsed() < Duration::from_secs(10), "SIGTERM ends it within ten seconds: {:?}", since.elapsed());
    pair.wait_for_takeover().await;
    pair.installation
        .wait("the new leader has looked at its Application", async || {
            let now = pair.standby.metrics().sum("tidelock_reconciles_total", &[]);
            if now > before { Ok(()) } else { Err(pair.standby.last_log_lines()) }
        })
        .await;
    let taken = taken_over_without_two_writers(&audit, &first, &second);
    let took = report("after SIGTERM", told, taken);
    assert!(took <= Duration::from_secs(LEASE_SECONDS / 2), "{took:?}");
    assert_eq!(lines(&writes_by(&audit, &second)), Vec::<String>::new(), "nothing was out of sync");
    pair.finish().await;
}

#[tokio::test]
async fn sigterm_in_the_middle_of_a_sync_ends_within_ten_seconds_and_the_other_replica_completes_it() {
    let mut pair = Pair::start("ha-busy", 4205).await;
    let (first, second) = (pair.installation.operator.token(), pair.standby.token());
    let repository = pair.installation.repository("busy");
    // A wave that never becomes healthy by itself keeps the sync going.
    let waits = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: waits\n  annotations: {argocd.argoproj.io/sync-wave: \"-1\"}\nspec:\n  \
                 paused: false\n  selector: {matchLabels: {app: waits}}\n  template:\n    metadata: {labels: {app: waits}}\n    \
                 spec: {nodeSelector: {no: where}, containers: [{name: app, image: tidelock.local/demo:1}]}\n";
    let commit = repository.commit([
        ("app/a.yaml".to_owned(), file(waits.to_owned())),
        ("app/b.yaml".to_owned(), file(config_map("after", "git"))),
    ]);
    pair.installation.declare(Application::named("busy", &repository.url, "app", &pair.target)).await;
    pair.installation
        .wait_application("busy", "waits for its first wave", |object| {
            object["status"]["operationState"]["phase"] == "Running"
        })
        .await;
    let audit = pair.installation.audit();
    let since = Instant::now();
    pair.installation.operator.stop().await;
    assert!(since.elapsed() < Duration::from_secs(10), "SIGTERM ends it within ten seconds: {:?}", since.elapsed());
    pair.wait_for_takeover().await;
    let commit_next = repository.commit([("app/a.yaml".to_owned(), crate::support::git::Change::Gone)]);
    assert_ne!(commit, commit_next);
    pair.installation.follow("busy", &commit_next).await;
    taken_over_without_two_writers(&audit, &first, &second);
    pair.finish().await;
}

/// `/healthz` is asked every second for so long; every answer must be well.
async fn stays_alive(operator: &Operator, what: &str, limit: Duration) {
    let end = Instant::now() + limit;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while Instant::now() < end {
        ticks.tick().await;
        let (status, text) = operator.ask("healthz?verbose");
        assert_eq!(status, 200, "{what}: {text}\n{}", operator.last_log_lines());
    }
}

#[tokio::test]
async fn an_api_server_that_answers_ten_seconds_late_or_not_at_all_never_makes_a_replica_look_dead() {
    let mut installation = Installation::prepare("ha-slow").await;
    let wire = Wire::to_api_server().await;
    installation.operator.run_on_the_host(|config| {
        let server = config["clusters"][0]["cluster"]["server"].as_str().expect("a server").to_owned();
        let host = server.trim_start_matches("https://").split(':').next().expect("a host").to_owned();
        config["clusters"][0]["cluster"]["tls-server-name"] = json!(host);
        config["clusters"][0]["cluster"]["server"] = json!(format!("https://{}", wire.address));
    });
    // Else it would lose the lease, which is right, and ends the process.
    installation.operator.add_arguments(&["--lease-duration", "600"]);
    installation.operator.start().await;
    installation.declare(Application::named("app", "https://git.corp.test/nothing.git", "app", "default")).await;
    wire.answers_after(Duration::from_secs(10));
    stays_alive(&installation.operator, "each answer 10 s late", long_enough()).await;
    wire.goes_silent();
    stays_alive(&installation.operator, "no answer", long_enough()).await;
    wire.answers_after(Duration::ZERO);
    installation.operator.ask("readyz?verbose");
    installation
        .wait("it works again", async || {
            let object = installation.application("app").await;
            if object["status"]["conditions"].is_array() { Ok(()) } else { Err(installation.operator.last_log_lines()) }
        })
        .await;
    installation.finish().await;
}
