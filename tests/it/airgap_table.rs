//! One operator, many ways not to get through at once: each has its reason, on the Repository and on the Application, and
//! costs its proxy no more attempts than it may. The rows are in `airgap_table_rows.rs`.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::airgap_table_rows::{Attempts, Row, rows};
use crate::support::application::{ready_message, ready_reason};
use crate::support::audit::lines;
use crate::support::cluster::{APPLICATION, CONFIG_MAP, REPOSITORY};
use crate::support::git::{Change, GitRepository, file};
use crate::support::git_faults;
use crate::support::installation::Installation;
use crate::support::journals::dns_mark;
use crate::support::manifests::config_map;
use crate::support::misbehaving::{self, Contact};
use crate::support::reach::{asked_names, assert_says, dialled};
use crate::support::testbed::Testbed;

/// A hundred repositories that mostly fail, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(150);

/// The first pause after a failure that may pass; doubles from there.
const FIRST_RETRY: f64 = 2.0;

#[tokio::test]
async fn airgap_table_every_failure_has_its_reason_on_repository_and_application_and_few_attempts() {
    let bed = Testbed::shared();
    let installation = Installation::start("table").await;
    let target = installation.target("t").await;
    let rows = rows(&installation.namespace);
    assert!(rows.len() >= 60, "{} rows", rows.len());
    let failing = prepare(&installation, &rows).await;
    let (mark, dns, dialled_before) = (misbehaving::mark(), dns_mark(), dialled(bed));
    let audit = installation.audit();
    let begun = Instant::now();
    join_all(rows.iter().map(|row| installation.declare(row.way.application(&target)))).await;

    let mut wrong = Vec::new();
    let mut reports = BTreeMap::new();
    for row in &rows {
        match outcome(&installation, row, LIMIT.saturating_sub(begun.elapsed())).await {
            Ok(found) => {
                reports.insert(row.name, found);
            }
            Err(problem) => wrong.push(problem),
        }
    }
    let elapsed = begun.elapsed().as_secs_f64();
    for row in rows.iter().filter(|row| reports.contains_key(row.name)) {
        wrong.extend(check_log(row, &mark, elapsed).err());
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));

    for (name, report) in &reports {
        let text = report.to_string();
        assert!(!text.contains(&bed.proxy_password) && !text.contains(&bed.git_password), "{name}: {text}");
    }
    // What works was written, and nothing for what does not.
    let written = installation.cluster.list(CONFIG_MAP, &target).await;
    let working = rows.iter().filter(|row| row.reasons.is_empty()).count();
    let ours = written.iter().filter(|object| object["data"]["value"] == "row").count();
    assert_eq!(ours, working, "{:?}", lines(&audit.writes_in(&target)));
    assert_eq!(asked_names(&dns), Vec::<String>::new(), "names behind a proxy were asked for");
    for (place, packets) in dialled(bed) {
        let wanted = place.starts_with(&bed.black_hole_address) || dialled_before.contains_key(&place);
        assert!(wanted, "dialled past the proxy: {place}, {packets} packets");
    }
    for path in failing {
        git_faults::clear(&path);
    }
    installation.finish().await;
}

/// Secrets, ways and repositories; the paths of the git server that have a fault.
async fn prepare(installation: &Installation, rows: &[Row]) -> Vec<String> {
    let bed = Testbed::shared();
    installation.apply_secrets().await;
    // Big enough to be cut in the middle.
    let noise: Vec<u8> = (0..200_000).map(|_| fastrand::u8(..)).collect();
    let common = installation.repository("common");
    common.commit([("app/cm.yaml", file(config_map("never", "never"))), ("noise", Change::File(noise))]);
    let mut faulty = Vec::new();
    for row in rows {
        let name = format!("{}-{}", installation.namespace, row.name);
        if row.reasons.is_empty() {
            let own = GitRepository::create(&name);
            own.commit([("app/cm.yaml", file(config_map(row.name, "row")))]);
        } else {
            let directory = bed.git_root.join(format!("{name}.git"));
            symlink(bed.git_root.join(format!("{}-common.git", installation.namespace)), directory)
                .expect("a new name");
        }
        if let Some(fault) = row.fault {
            let path = format!("/{name}.git");
            git_faults::set(&path, fault);
            faulty.push(path);
        }
    }
    join_all(rows.iter().flat_map(|row| row.way.objects()).map(|object| installation.apply(object))).await;
    faulty
}

/// What Repository and Application say in the end, or what they say instead of what they should.
async fn outcome(installation: &Installation, row: &Row, limit: Duration) -> Result<Value, String> {
    let wanted: &[&str] = if row.reasons.is_empty() { &["Connected"] } else { &row.reasons };
    let result = crate::support::waiting::wait_until(limit, async || {
        let repository = installation.cluster.must_get(REPOSITORY, &installation.namespace, row.name).await;
        let application = installation.cluster.must_get(APPLICATION, &installation.namespace, row.name).await;
        let good = wanted.contains(&ready_reason(&repository))
            && if row.reasons.is_empty() {
                ready_reason(&application) == "Succeeded"
            } else {
                ready_reason(&application) == ready_reason(&repository)
            };
        if good {
            return Ok(json!([repository["status"], application["status"]]));
        }
        Err(format!(
            "{}: wanted {}; the Repository says {}: {}; the Application says {}: {}",
            row.name,
            wanted.join(" or "),
            ready_reason(&repository),
            ready_message(&repository),
            ready_reason(&application),
            ready_message(&application)
        ))
    })
    .await?;
    for status in result.as_array().into_iter().flatten().take(if row.reasons.is_empty() { 0 } else { 2 }) {
        let report = json!({"status": status});
        let message = ready_message(&report);
        if let Some(word) = row.says.iter().find(|word| !message.contains(word.as_str())) {
            return Err(format!("{}: no {word:?} in: {message}", row.name));
        }
    }
    Ok(result)
}

/// Whether the misbehaving proxy saw what it may see of a row.
fn check_log(row: &Row, mark: &crate::support::journals::Mark, elapsed: f64) -> Result<(), String> {
    let Some(mode) = &row.mode else { return Ok(()) };
    let seen = misbehaving::contacts(mark, mode);
    let complain = |problem: &str| Err(format!("{}: {problem}: {seen:#?}", row.name));
    let read: Vec<&Contact> = seen.iter().filter(|contact| !contact.method.is_empty()).collect();
    if let Some(other) = read.iter().find(|contact| !contact.target.contains(&row.host)) {
        return complain(&format!("asked for {}, not for {}", other.target, row.host));
    }
    if row.with_login && read.iter().any(|contact| contact.method != "SOCKS" && contact.scheme != "Basic") {
        return complain("the login does not come at once");
    }
    match row.attempts {
        Attempts::Unknown => Ok(()),
        Attempts::Once if seen.len() == 1 => Ok(()),
        Attempts::Once => complain(&format!("{} attempts instead of one", seen.len())),
        Attempts::BackingOff => {
            // Pauses of 2, 4, 8 s and so on, from the first failure.
            let most = 2.0 + (elapsed / FIRST_RETRY + 1.0).log2();
            if seen.is_empty() || seen.len() as f64 > most {
                return complain(&format!("{} attempts in {elapsed:.0} s", seen.len()));
            }
            Ok(())
        }
    }
}

#[tokio::test]
async fn airgap_table_a_hundred_failures_of_each_kind_leave_threads_descriptors_and_files_as_they_were() {
    const KINDS: [(&str, &str, &str); 8] = [
        ("refused", "status:403", "ProxyForbidden"),
        ("login", "auth:ntlm", "ProxyAuthRequired"),
        ("closed", "head:empty", "ProxyUnreachable"),
        ("reset", "head:reset", "ProxyUnreachable"),
        ("garbage", "head:garbage", "ProxyUnreachable"),
        ("tls", "inside:alert", "TlsFailed"),
        ("cut", "cut:20000", "ConnectionCut"),
        ("upstream", "status:502", "ProxyUpstreamFailed"),
    ];
    let installation = Installation::start("hundred").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let noise: Vec<u8> = (0..200_000).map(|_| fastrand::u8(..)).collect();
    for (index, (name, mode, _)) in KINDS.iter().enumerate() {
        let slot = format!("slot:{index}");
        misbehaving::set_slot(&slot, mode);
        let git = installation.repository(name);
        git.commit([("app/cm.yaml", file(config_map(name, "1"))), ("noise", Change::File(noise.clone()))]);
        let way = crate::support::reach::Way::by(name, &misbehaving::url(&slot), &git.url);
        installation.take(&way, &target).await;
    }
    for (name, _, reason) in KINDS {
        installation.repository_says(name, &[reason]).await;
    }
    let fail = async |times: usize| {
        join_all(KINDS.iter().map(async |(name, _, _)| {
            for _ in 0..times {
                installation.refresh(name).await;
            }
        }))
        .await;
    };
    fail(10).await;
    let before = Resources::of(&installation);
    fail(100).await;
    let after = Resources::of(&installation);
    // Pools grow and shrink by a few; a leak would be of hundreds.
    assert!(
        after.threads <= before.threads + 8 && after.descriptors <= before.descriptors + 16,
        "{before:?}, after eight hundred failures {after:?}"
    );
    assert_eq!(after.temporary, Vec::<String>::new(), "{after:?}");
    installation.finish().await;
}

/// What a process holds.
#[derive(Debug)]
pub struct Resources {
    /// Threads of the process.
    pub threads: usize,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Those of them that are sockets.
    pub sockets: usize,
    /// Files of transfers that are not over.
    pub temporary: Vec<String>,
}

impl Resources {
    /// What an installation's operator holds now.
    pub fn of(installation: &Installation) -> Self {
        let process = std::path::PathBuf::from(format!("/proc/{}", installation.operator.pid()));
        let count = |name: &str| std::fs::read_dir(process.join(name)).expect("a process of ours").count();
        let sockets = std::fs::read_dir(process.join("fd"))
            .expect("a process of ours")
            .filter(|entry| {
                let target = entry.as_ref().ok().and_then(|entry| std::fs::read_link(entry.path()).ok());
                target.is_some_and(|target| target.to_string_lossy().starts_with("socket:"))
            })
            .count();
        let mut temporary = Vec::new();
        let mut open = vec![installation.operator.state().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if path.is_dir() {
                    open.push(path);
                } else if name.starts_with("tmp")
                    || name.starts_with("pack_git2")
                    || name.contains(".tmp")
                    || name.contains("incoming")
                {
                    temporary.push(path.display().to_string());
                }
            }
        }
        Self { threads: count("task"), descriptors: count("fd"), sockets, temporary }
    }
}

#[tokio::test]
async fn airgap_table_a_row_that_is_repaired_works_without_a_restart() {
    let installation = Installation::start("repair").await;
    installation.apply_secrets().await;
    let target = installation.target("t").await;
    let git = installation.repository("repaired");
    let commit = git.commit([("app/cm.yaml", file(config_map("repaired", "1")))]);
    misbehaving::set_slot("slot:8", "status:503");
    let way = crate::support::reach::Way::by("repaired", &misbehaving::url("slot:8"), &git.url);
    installation.take(&way, &target).await;
    let failed = installation.repository_says("repaired", &["ProxyUnavailable"]).await;
    assert_says(&failed, &["503", "repaired"]);
    // Nobody asks for anything: the pause after a failure that may pass is short.
    misbehaving::set_slot("slot:8", "tunnel");
    installation.healthy("repaired", &commit).await;
    installation.repository_says("repaired", &["Connected"]).await;
    installation.finish().await;
}
