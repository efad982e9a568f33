use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use super::*;
use crate::render::jail::probe;
use crate::render::scratch::{Private, Scratch};

struct Cell {
    jail: Jail,
    _scratch: Scratch,
    private: Private,
    shell: PathBuf,
}

fn cell() -> Cell {
    let scratch = Scratch::open(&[PathBuf::from("/dev/shm"), std::env::temp_dir()], &mut Vec::new()).unwrap();
    let private = scratch.fresh().unwrap();
    let shell = fs::canonicalize("/bin/bash").expect("bash is needed: apt-get install bash");
    let filters = Filters::compile();
    let walls = Walls { tool: shell.clone(), private: private.path().to_owned(), libraries: true };
    let isolation = probe(&filters, &walls);
    Cell { jail: Jail { filters, isolation }, _scratch: scratch, private, shell }
}

impl Cell {
    fn run(&self, script: &str, timeout: Duration) -> Result<Output, ExecError> {
        self.run_as(self.jail.isolation, script, timeout)
    }

    fn run_as(&self, isolation: Isolation, script: &str, timeout: Duration) -> Result<Output, ExecError> {
        for used in ["home", "tmp"] {
            let _ = fs::remove_dir_all(self.private.path().join(used));
        }
        let jail = Jail { filters: Filters::compile(), isolation };
        let bounds = Bounds { timeout, output_bytes: 100_000, memory_bytes: 512 * 1024 * 1024 };
        let arguments = vec!["-c".into(), script.into()];
        jail.run(&Run { tool: &self.shell, arguments, private: self.private.path(), bounds })
    }

    /// Every wall alone, as far as this kernel has it, and all of them together.
    fn each_wall(&self) -> Vec<Isolation> {
        let all = self.jail.isolation;
        let none = Isolation::default();
        assert!(all.files, "these tests need a kernel with Landlock: {all}");
        assert!(all.system_calls, "these tests need a kernel with seccomp: {all}");
        let namespaces = Isolation { namespaces: all.namespaces, ..none };
        let mut walls = vec![Isolation { system_calls: true, ..none }, all];
        if all.namespaces {
            walls.push(namespaces);
        }
        walls
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

fn is_alive(pid: &str) -> bool {
    // A zombie is dead; in its stat line the state follows the name in parentheses.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}

#[test]
fn the_environment_is_empty_and_the_private_directory_is_home() {
    let cell = cell();
    let output =
        cell.run("echo \"$HOME|$TMPDIR|$PWD\"; echo x > $TMPDIR/f && read y < $TMPDIR/f && echo $y; export", PATIENCE);
    let output = output.unwrap();
    let place = cell.private.path().display();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", output.stderr);
    assert!(text.starts_with(&format!("{place}/home|{place}/tmp|{place}\nx\n")), "{text}");
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("declare -x ")?.split('=').next()).collect();
    assert_eq!(names, ["HOME", "OLDPWD", "PWD", "SHLVL", "TMPDIR"]);
}

#[test]
fn files_outside_can_neither_be_read_nor_listed_nor_written_nor_run() {
    let cell = cell();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "canary").unwrap();
    let place = outside.path().display();
    let script = format!(
        "read x < {place}/secret && echo got $x; read x < /etc/passwd && echo got $x; echo * {place}/*; \
         echo bad > {place}/new && echo wrote; /bin/ls / && echo ran; echo end"
    );
    let output = cell.run(&script, PATIENCE).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, format!("home tmp {place}/*\nend\n"), "{}", output.stderr);
    assert!(!outside.path().join("new").exists());
}

#[test]
fn no_connection_leaves_whichever_wall_stands() {
    let cell = cell();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("(echo hello > /dev/tcp/127.0.0.1/{port}) && echo connected; echo end");
    for isolation in cell.each_wall() {
        let output = cell.run_as(isolation, &script, PATIENCE).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "end\n", "{isolation}");
        assert!(listener.accept().is_err(), "{isolation}");
    }
    let open = cell.run_as(Isolation::default(), &script, PATIENCE).unwrap();
    assert_eq!(String::from_utf8_lossy(&open.stdout), "connected\nend\n", "without walls the script does connect");
}

#[test]
fn at_the_deadline_the_tool_and_its_children_are_gone() {
    let cell = cell();
    // A child in the background that holds the pipes; `set -m` also tries to move it to a group of its own.
    let filtered = Isolation { namespaces: false, ..cell.jail.isolation };
    for (isolation, script) in [
        (filtered, "set -m; (while :; do :; done) & echo $! > tmp/child; wait"),
        (cell.jail.isolation, "(while :; do :; done) & echo $! > tmp/child; echo $$ > tmp/self; wait"),
        (cell.jail.isolation, "set -m; (while :; do :; done) & echo $! > tmp/child; wait"),
        (Isolation::default(), "(while :; do :; done) & echo $! > tmp/child; echo $BASHPID > tmp/self; wait"),
    ] {
        let begun = Instant::now();
        let error = cell.run_as(isolation, script, Duration::from_millis(700)).unwrap_err();
        assert!(matches!(error, ExecError::Timeout(_)), "{error}");
        assert!(begun.elapsed() < PATIENCE);
        assert!(cell.private.path().join("tmp/child").exists(), "the child was started");
        if !isolation.namespaces {
            let child = fs::read_to_string(cell.private.path().join("tmp/child")).unwrap();
            eventually(|| !is_alive(child.trim()));
        }
    }
    eventually(|| processes_in(cell.private.path()).is_empty());
}

/// A killed process takes a moment to go.
fn eventually(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "the condition did not come true");
        thread::yield_now();
    }
}

/// Processes whose working directory lies in a place.
fn processes_in(place: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let here =
        processes.filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(place)));
    here.map(|process| process.file_name().to_string_lossy().into_owned()).filter(|pid| is_alive(pid)).collect()
}

#[test]
fn a_child_left_behind_ends_with_the_tool() {
    let cell = cell();
    for isolation in [cell.jail.isolation, Isolation::default()] {
        let output = cell.run_as(isolation, "(while :; do :; done) & echo done", PATIENCE).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n");
        eventually(|| processes_in(cell.private.path()).is_empty());
    }
}

#[test]
fn a_flood_of_output_is_stopped() {
    let cell = cell();
    for script in
        ["while :; do echo 0123456789012345678901234567890123456789; done", "while :; do echo 0123456789 >&2; done"]
    {
        let error = cell.run(script, PATIENCE).unwrap_err();
        assert!(matches!(error, ExecError::TooMuchOutput(100_000)), "{error}");
    }
    let output = cell.run("echo fine; echo complaint >&2; exit 3", PATIENCE).unwrap();
    assert_eq!((output.status.code(), output.stderr.as_str()), (Some(3), "complaint\n"));
}

#[test]
fn a_tool_that_is_missing_is_named() {
    let cell = cell();
    let bounds = Bounds { timeout: PATIENCE, output_bytes: 1, memory_bytes: 1 << 30 };
    let tool = Path::new("/nonexistent/helm");
    let error = cell.jail.run(&Run { tool, arguments: Vec::new(), private: cell.private.path(), bounds }).unwrap_err();
    assert!(error.to_string().starts_with("the tool /nonexistent/helm can't be started: "), "{error}");
}
