//! The program under test, as a process in a place with no way out but the proxy.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::metrics::Metrics;
use super::testbed::{Testbed, read};
use super::waiting::{PATIENCE, wait_until};

/// One `tidelock controller`, which may be killed and started again on the same state.
#[derive(Debug)]
pub struct Operator {
    kubeconfig: PathBuf,
    namespace: String,
    state: PathBuf,
    log: PathBuf,
    address: String,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    group: Option<u32>,
    on_the_host: bool,
    child: Option<Child>,
}

impl Operator {
    /// A controller of a namespace that keeps everything in `directory`; not yet started.
    pub fn new(kubeconfig: &Path, namespace: &str, directory: &Path) -> Self {
        let state = directory.join("state");
        fs::create_dir_all(&state).expect("a state directory");
        Self {
            kubeconfig: kubeconfig.to_owned(),
            namespace: namespace.to_owned(),
            state,
            log: directory.join("operator.log"),
            address: format!("{}:{}", Testbed::shared().operator_address, next_port()),
            environment: Vec::new(),
            arguments: Vec::new(),
            group: None,
            on_the_host: false,
            child: None,
        }
    }

    /// With a variable in its environment from the next start on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// With further arguments from the next start on.
    pub fn add_arguments(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// An address in its place that nothing else listens on.
    pub fn another_address() -> String {
        format!("{}:{}", Testbed::shared().operator_address, next_port())
    }

    /// In a group of its own from the next start on, so that its packets can be told from others'.
    pub fn set_group(&mut self, group: u32) {
        self.group = Some(group);
    }

    /// Runs on the machine itself from the next start on, with a kubeconfig that is changed as said.
    pub fn run_on_the_host(&mut self, change: impl FnOnce(&mut Value)) {
        let mut config: Value = serde_json::from_str(&read(&self.kubeconfig)).expect("a kubeconfig as JSON");
        change(&mut config);
        fs::write(&self.kubeconfig, config.to_string()).expect("a kubeconfig");
        let port = self.address.rsplit(':').next().expect("a port");
        self.address = format!("127.0.0.1:{port}");
        self.on_the_host = true;
    }

    /// What stands in the identity of this operator and in no other's, and so in the user agent of its requests.
    pub fn token(&self) -> String {
        fs::read_to_string(self.state.join("holder")).expect("an operator that was started has a token")
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "SIG{name} could not be sent");
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("the operator runs");
        let ended = wait_until(limit, async || {
            child.try_wait().expect("our own child").ok_or_else(|| "it still runs".to_owned())
        })
        .await;
        ended.unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the operator does not end within {} s:\n{}", limit.as_secs(), self.last_log_lines())
        })
    }

    /// Status and text of a path of its server; 0 when nobody answers.
    pub fn ask(&self, path: &str) -> (u16, String) {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "5", "--noproxy", "*", "-w", "\n%{http_code}"])
            .arg(format!("http://{}/{path}", self.address))
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, code) = text.rsplit_once('\n').unwrap_or_default();
        (code.parse().unwrap_or_default(), body.to_owned())
    }

    /// The process's id on this machine.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the operator runs").id()
    }

    /// Where it keeps everything.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Starts the process and does not wait for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the operator runs already");
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let bed = Testbed::shared();
        let program = Path::new(env!("CARGO_BIN_EXE_tidelock"));
        let mut command = if self.on_the_host {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        } else {
            bed.in_operator_place_as(self.group, program)
        };
        command
            .arg("controller")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--namespace", &self.namespace, "--listen", &self.address, "--log-format", "json"])
            .arg("--state")
            .arg(&self.state)
            .arg("--tools")
            .arg(&bed.bin)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(variable).env_remove(variable.to_ascii_uppercase());
        }
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        self.child = Some(command.spawn().expect("the operator starts"));
    }

    /// Starts the process and waits until it is ready.
    pub async fn start(&mut self) {
        self.spawn();
        let result = wait_until(PATIENCE, async || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok()).flatten() {
                return Ok(Err(format!("the operator ended: {status}")));
            }
            self.fetch("readyz").map(|_| Ok(()))
        })
        .await
        .and_then(|ended| ended);
        if let Err(state) = result {
            panic!("the operator does not become ready: {state}\n{}", self.last_log_lines());
        }
    }

    /// Kills the process as the kernel does when memory runs out: nothing of it runs afterwards.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process can be killed");
            child.wait().expect("the process ends");
        }
    }

    /// Throws everything away that the operator keeps on disk, as when a pod moves to another node.
    pub fn lose_state(&self) {
        assert!(self.child.is_none(), "the operator runs");
        fs::remove_dir_all(&self.state).expect("the state can be removed");
        fs::create_dir_all(&self.state).expect("a state directory");
    }

    /// Runs `tidelock doctor` where the operator runs, with its rights, whether it runs or not.
    pub fn doctor(&self, arguments: &[&str]) -> Output {
        let mut command = Testbed::shared().in_operator_place(Path::new(env!("CARGO_BIN_EXE_tidelock")));
        command.arg("doctor").arg("--kubeconfig").arg(&self.kubeconfig);
        command.args(["--namespace", &self.namespace]).args(arguments).stdin(Stdio::null());
        for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(variable).env_remove(variable.to_ascii_uppercase());
        }
        command.output().expect("the doctor runs")
    }

    /// Asks the process to stop and waits until it has, by itself and without an error.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let signalled = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
        assert!(signalled.success(), "the operator was gone before it was asked to stop:\n{}", self.last_log_lines());
        let status = wait_until(Duration::from_secs(30), async || {
            child.try_wait().expect("our own child").ok_or_else(|| "it still runs".to_owned())
        })
        .await;
        match status {
            Ok(status) => assert!(status.success(), "the operator stops with {status}:\n{}", self.last_log_lines()),
            Err(_) => {
                let _ = child.kill();
                panic!("the operator does not stop within 30 s of SIGTERM:\n{}", self.last_log_lines());
            }
        }
    }

    /// What `/metrics` says now.
    pub fn metrics(&self) -> Metrics {
        Metrics(self.fetch("metrics").unwrap_or_else(|error| panic!("no metrics: {error}\n{}", self.last_log_lines())))
    }

    /// Everything the process has written, over all its starts.
    pub fn logs(&self) -> String {
        fs::read(&self.log).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of the log, for messages of failed tests.
    pub fn last_log_lines(&self) -> String {
        let logs = self.logs();
        let lines: Vec<&str> = logs.lines().collect();
        let first = lines.len().saturating_sub(25);
        format!("--- last log lines of the operator ({})\n{}", self.log.display(), lines[first..].join("\n"))
    }

    fn fetch(&self, path: &str) -> Result<String, String> {
        let output = Command::new("curl")
            .args(["-sS", "--fail", "--max-time", "5", "--noproxy", "*", &format!("http://{}/{path}", self.address)])
            .output()
            .map_err(|error| format!("cannot run curl: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// All operators share one network namespace. Ports lie below the ephemeral range.
fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 200).unwrap_or_default();
    12_000 + process * 100 + NEXT.fetch_add(1, Ordering::Relaxed) % 100
}
