//! Repositories on the test bed's git server, written by the real git.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use super::testbed::{Testbed, run};

/// What a commit does to a path.
#[derive(Clone, Debug)]
pub enum Change {
    /// A file with this content.
    File(Vec<u8>),
    /// A symbolic link to this target.
    Link(String),
    /// A commit of another repository.
    Submodule(String),
    /// Nothing at this path any more, be it a file or a directory.
    Gone,
}

/// A file with text.
pub fn file(text: impl Into<String>) -> Change {
    Change::File(text.into().into_bytes())
}

/// A bare repository that the git server serves.
#[derive(Clone, Debug)]
pub struct GitRepository {
    directory: PathBuf,
    /// Where the operator finds it.
    pub url: String,
    /// `/<path>` in the server's access log.
    pub path: String,
}

impl GitRepository {
    /// A new, empty repository; one of that name that is left over is replaced.
    pub fn create(name: &str) -> Self {
        let bed = Testbed::shared();
        let directory = bed.git_root.join(format!("{name}.git"));
        if directory.exists() {
            fs::remove_dir_all(&directory).expect("a repository of an earlier run can be removed");
        }
        fs::create_dir_all(&directory).expect("the git server's root is writable");
        run(git().args(["init", "-q", "--bare", "-b", "main"]).arg(&directory));
        Self { directory, url: bed.git_url(name), path: format!("/{name}.git") }
    }

    /// Commits to `main`; the commit's id.
    pub fn commit<P: AsRef<str>>(&self, changes: impl IntoIterator<Item = (P, Change)>) -> String {
        self.commit_to("main", changes)
    }

    /// Commits to a branch, which is made on the tip of nothing when it does not exist; the commit's id. The ref moves
    /// when the objects are complete, as after a push.
    pub fn commit_to<P: AsRef<str>>(&self, branch: &str, changes: impl IntoIterator<Item = (P, Change)>) -> String {
        let message = "a change";
        let mut stream = Vec::new();
        let mut line = |bytes: &[u8]| {
            stream.extend_from_slice(bytes);
            stream.push(b'\n');
        };
        line(format!("commit refs/heads/{branch}").as_bytes());
        line(b"committer Ada Lovelace <ada@corp.test> 1750000000 +0000");
        line(format!("data {}\n{message}", message.len()).as_bytes());
        if let Some(tip) = self.tip(branch) {
            line(format!("from {tip}").as_bytes());
        }
        for (path, change) in changes {
            let path = path.as_ref();
            match change {
                Change::File(content) => {
                    line(format!("M 100644 inline {path}\ndata {}", content.len()).as_bytes());
                    line(&content);
                }
                Change::Link(target) => {
                    line(format!("M 120000 inline {path}\ndata {}\n{target}", target.len()).as_bytes())
                }
                Change::Submodule(commit) => line(format!("M 160000 {commit} {path}").as_bytes()),
                Change::Gone => line(format!("D {path}").as_bytes()),
            }
        }
        let mut import = self.git();
        import.args(["fast-import", "--quiet", "--done"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        line(b"done");
        let mut child = import.spawn().expect("git runs");
        child.stdin.take().expect("a pipe").write_all(&stream).expect("git reads the commit");
        let output = child.wait_with_output().expect("git ends");
        assert!(output.status.success(), "git refuses a commit: {}", String::from_utf8_lossy(&output.stderr));
        self.tip(branch).expect("the branch that was committed to")
    }

    /// Keeps a content for git LFS beside the repository; the pointer file that stands for it.
    pub fn keep_lfs(&self, content: &str) -> Change {
        let oid: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::create_dir_all(self.directory.join("lfs")).expect("the git server's root is writable");
        fs::write(self.directory.join("lfs").join(&oid), content).expect("the git server's root is writable");
        let size = content.len();
        file(format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"))
    }

    /// Has the git server grant downloads of LFS contents at another host.
    pub fn lfs_downloads_at(&self, host: &str) {
        fs::write(self.directory.join("lfs/host"), host).expect("the git server's root is writable");
    }

    /// Tags a commit.
    pub fn tag(&self, name: &str, commit: &str) {
        run(self.git().args(["update-ref", &format!("refs/tags/{name}"), commit]));
    }

    /// As `commit`, signed with an SSH key. What is not signed is never on `main`.
    pub fn commit_signed<P: AsRef<str>>(&self, key: &Path, changes: impl IntoIterator<Item = (P, Change)>) -> String {
        if let Some(tip) = self.tip("main") {
            run(self.git().args(["update-ref", "refs/heads/draft", &tip]));
        }
        let draft = self.commit_to("draft", changes);
        let mut sign = self.git();
        sign.args(["-c", "user.name=Ada Lovelace", "-c", "user.email=ada@corp.test", "-c", "gpg.format=ssh", "-c"]);
        sign.arg(format!("user.signingkey={}", key.display())).args(["commit-tree", "-S", "-m", "a signed change"]);
        if let Some(tip) = self.tip("main") {
            sign.args(["-p", &tip]);
        }
        let output = sign.arg(format!("{draft}^{{tree}}")).output().expect("git runs");
        assert!(output.status.success(), "git signs no commit: {}", String::from_utf8_lossy(&output.stderr));
        let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        run(self.git().args(["update-ref", "refs/heads/main", &commit]));
        commit
    }

    /// An annotated tag of a commit, signed with an SSH key.
    pub fn tag_signed(&self, key: &Path, name: &str, commit: &str) {
        let mut sign = self.git();
        sign.args(["-c", "user.name=Ada Lovelace", "-c", "user.email=ada@corp.test", "-c", "gpg.format=ssh", "-c"]);
        sign.arg(format!("user.signingkey={}", key.display())).args([
            "tag",
            "-f",
            "-s",
            "-m",
            "a release",
            name,
            commit,
        ]);
        run(&mut sign);
    }

    fn tip(&self, branch: &str) -> Option<String> {
        let output = self
            .git()
            .args(["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}")])
            .output()
            .expect("git runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn git(&self) -> Command {
        let mut command = git();
        command.arg("--git-dir").arg(&self.directory);
        command
    }
}

/// git without the machine's configuration.
fn git() -> Command {
    let mut command = Command::new("git");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
}

/// Every file below a directory, as changes that put it at the repository's root.
pub fn tree(root: &Path) -> Vec<(String, Change)> {
    let mut changes = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let relative = path.strip_prefix(root).expect("below the root").display().to_string();
                changes.push((relative, Change::File(fs::read(&path).expect("a fixture"))));
            }
        }
    }
    changes.sort_by(|left, right| left.0.cmp(&right.0));
    changes
}
