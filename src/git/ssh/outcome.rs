//! What a server means by what it writes beside the answer, and by how its command ends. Pure.

use crate::model::Reason;

use super::handler::one_line;

/// How much of it is quoted.
const QUOTE_LIMIT: usize = 300;

/// How the command on the server ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ending {
    /// Exit status, when the server told one.
    pub status: Option<u32>,
    /// The signal that ended it.
    pub signal: Option<String>,
}

impl Ending {
    /// Whether the command says that it did its work. A server that tells no status says nothing else.
    pub(super) fn is_good(&self) -> bool {
        self.signal.is_none() && self.status.unwrap_or(0) == 0
    }
}

/// The reason and message for a command that ended badly. `complaint` is what it wrote to its standard error.
pub(super) fn judge(ending: &Ending, complaint: &str, path: &str, login: &str) -> (Reason, String) {
    let how = match (&ending.signal, ending.status) {
        (Some(signal), _) => format!("was ended by the signal {signal}"),
        (None, Some(status)) => format!("ended with status {status}"),
        (None, None) => "ended".to_owned(),
    };
    let quote = one_line(complaint, QUOTE_LIMIT);
    let said = if quote.is_empty() { "it says nothing".to_owned() } else { format!("it says: \"{quote}\"") };
    let text = complaint.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&MISSING) {
        let message = format!(
            "the server has no repository `{path}`, or none that the key may read; {said}; check the URL, and that the key \
             ({login}) is a deploy key of this repository or belongs to a user who may read it"
        );
        return (Reason::RepositoryNotFound, message);
    }
    if has(&REFUSED) {
        let message = format!("the server refuses access to `{path}` to the key ({login}); {said}");
        return (Reason::AuthFailed, message);
    }
    if ending.status == Some(127) || has(&NO_COMMAND) {
        let message = format!("the server cannot run `git-upload-pack` ({how}); {said}; is this a git server?");
        return (Reason::ServerError, message);
    }
    (Reason::ServerError, format!("git on the server {how}; {said}"))
}

/// How git itself and the large services say that a repository does not exist.
const MISSING: [&str; 8] = [
    "repository not found",
    "does not appear to be a git repository",
    "no such repository",
    "repository does not exist",
    "project you were looking for could not be found",
    "could not be found or you don't have permission",
    "not a git repository",
    "tf401019",
];

/// How they say that the key may not.
const REFUSED: [&str; 6] =
    ["permission denied", "access denied", "permission to ", "not allowed to", "not authorized", "dubious ownership"];

const NO_COMMAND: [&str; 3] = ["command not found", "not found: git-upload-pack", "no such command"];

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(status: u32, complaint: &str) -> Reason {
        judge(&Ending { status: Some(status), signal: None }, complaint, "o/r.git", "ssh-ed25519 SHA256:x").0
    }

    #[test]
    fn what_servers_write_becomes_a_reason() {
        for (status, complaint, expected) in [
            (1, "ERROR: Repository not found.\r\n", Reason::RepositoryNotFound),
            (128, "fatal: '/x' does not appear to be a git repository\n", Reason::RepositoryNotFound),
            (1, "conq: repository does not exist.\n", Reason::RepositoryNotFound),
            (1, "remote: The project you were looking for could not be found", Reason::RepositoryNotFound),
            (1, "ERROR: Permission to o/r.git denied to deploy key", Reason::AuthFailed),
            (127, "sh: 1: git-upload-pack: not found", Reason::ServerError),
            (128, "fatal: out of memory", Reason::ServerError),
            (1, "", Reason::ServerError),
        ] {
            assert_eq!(reason(status, complaint), expected, "{complaint}");
        }
        let ending = Ending { status: None, signal: Some("KILL".to_owned()) };
        assert_eq!(
            judge(&ending, "oh\u{1b}[31m\nno", "x", "y"),
            (Reason::ServerError, "git on the server was ended by the signal KILL; it says: \"oh [31m no\"".to_owned())
        );
    }

    #[test]
    fn a_server_that_tells_no_status_has_done_its_work() {
        assert!(Ending::default().is_good());
        assert!(Ending { status: Some(0), signal: None }.is_good());
        assert!(!Ending { status: Some(1), signal: None }.is_good());
        assert!(!Ending { status: None, signal: Some("TERM".to_owned()) }.is_good());
    }
}
