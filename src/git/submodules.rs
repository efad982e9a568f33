//! `.gitmodules`: where the repositories of submodules are. Pure.

use std::collections::BTreeMap;

use thiserror::Error;

use super::url::{RepositoryUrl, RepositoryUrlError};

/// The file in the root of a tree that names its submodules.
pub const GITMODULES: &str = ".gitmodules";

/// More text than this is no list of submodules.
const LONGEST_FILE: usize = 256 << 10;

/// More submodules than this in one file are refused.
const MOST_SUBMODULES: usize = 1000;

/// Why `.gitmodules` can't be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SubmodulesError {
    /// The whole file.
    #[error("`.gitmodules` is too long: at most 256 KiB and 1000 submodules are read")]
    TooLong,
    /// Bytes that are no text.
    #[error("`.gitmodules` is not valid UTF-8")]
    NotText,
    /// A line.
    #[error("`.gitmodules` line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Why a submodule's URL can't be used. The text is not repeated: it may hold a password.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SubmoduleUrlError {
    /// Nothing in `.gitmodules` has this path, or what has it has no URL.
    #[error("`.gitmodules` has no entry with this path and a `url`; add one, or remove the submodule from the tree")]
    Missing,
    /// Relative, and above the root of the server.
    #[error("its relative URL leads above the server's root; correct `url` in `.gitmodules`")]
    TooFarUp,
    /// Anything that is no repository URL.
    #[error("its URL can't be used: {0}")]
    Unusable(#[from] RepositoryUrlError),
}

/// What `.gitmodules` says: URLs by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submodules {
    urls: BTreeMap<String, String>,
}

impl Submodules {
    /// Reads the file. Of an entry only `path` and `url` are of interest; later lines win, as in git.
    pub fn parse(content: &[u8]) -> Result<Self, SubmodulesError> {
        if content.len() > LONGEST_FILE {
            return Err(SubmodulesError::TooLong);
        }
        let text = std::str::from_utf8(content).map_err(|_| SubmodulesError::NotText)?;
        let mut entries: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
        let mut section: Option<String> = None;
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        while let Some((number, line)) = lines.next() {
            let fail = |problem| SubmodulesError::Line { line: number, problem };
            let mut rest = line.trim_start_matches([' ', '\t', '\u{feff}']);
            if let Some(header) = rest.strip_prefix('[') {
                let (name, after) = section_name(header).map_err(fail)?;
                section = name;
                rest = after.trim_start_matches([' ', '\t']);
            }
            if rest.is_empty() || rest.starts_with(['#', ';', '\r']) {
                continue;
            }
            let key_end = rest.find(|character: char| !(character.is_ascii_alphanumeric() || character == '-'));
            let (key, after) = rest.split_at(key_end.unwrap_or(rest.len()));
            if key.is_empty() {
                return Err(fail("neither a section nor `key = value`"));
            }
            let after = after.trim_start_matches([' ', '\t']);
            let value = match after.strip_prefix('=') {
                Some(value) => {
                    let mut whole = value.to_owned();
                    // A backslash at the end of a line goes on in the next.
                    while ends_in_continuation(&whole) {
                        whole.pop();
                        let Some((_, next)) = lines.next() else { break };
                        whole.push_str(next);
                    }
                    unquote(&whole).map_err(fail)?
                }
                None => String::new(),
            };
            let Some(name) = &section else { continue };
            let entry = entries.entry(name.clone()).or_default();
            match key.to_ascii_lowercase().as_str() {
                "path" => entry.0 = Some(value),
                "url" => entry.1 = Some(value),
                _ => {}
            }
        }
        if entries.len() > MOST_SUBMODULES {
            return Err(SubmodulesError::TooLong);
        }
        let whole = entries.into_values().filter_map(|(path, url)| Some((path?, url?)));
        Ok(Self { urls: whole.map(|(path, url)| (path.trim_end_matches('/').to_owned(), url)).collect() })
    }

    /// The URL of the submodule at a path; a relative one (`../lib.git`) is taken from the URL of the repository that it
    /// is a submodule of.
    pub fn url(&self, path: &str, parent: &RepositoryUrl) -> Result<RepositoryUrl, SubmoduleUrlError> {
        let text = self.urls.get(path).filter(|url| !url.is_empty()).ok_or(SubmoduleUrlError::Missing)?;
        if !(text.starts_with("./") || text.starts_with("../") || text == "." || text == "..") {
            return Ok(RepositoryUrl::parse(text)?);
        }
        let mut url = parent.base().clone();
        let mut path: Vec<&str> = url.path().split('/').filter(|name| !name.is_empty()).collect();
        for name in text.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    path.pop().ok_or(SubmoduleUrlError::TooFarUp)?;
                }
                name => path.push(name),
            }
        }
        let path = format!("/{}", path.join("/"));
        url.set_path(&path);
        Ok(RepositoryUrl::parse(url.as_str())?)
    }
}

/// `submodule "name"]` → the name, and what follows. `None` for other sections.
fn section_name(header: &str) -> Result<(Option<String>, &str), &'static str> {
    let unclosed = "the section has no `]`";
    let word_end = header.find([' ', '\t', '"', ']']).ok_or(unclosed)?;
    let (word, rest) = header.split_at(word_end);
    let rest = rest.trim_start_matches([' ', '\t']);
    if let Some(after) = rest.strip_prefix(']') {
        return Ok((None, after));
    }
    let quoted = rest.strip_prefix('"').ok_or("the name of the section is not in quotes")?;
    let mut name = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let after = quoted.get(at + 1..).unwrap_or_default().trim_start_matches([' ', '\t']);
                let after = after.strip_prefix(']').ok_or(unclosed)?;
                return Ok((word.eq_ignore_ascii_case("submodule").then_some(name), after));
            }
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            other => name.push(other),
        }
    }
    Err("the name of the section does not end")
}

/// Whether a value ends in a backslash that is no escaped one.
fn ends_in_continuation(value: &str) -> bool {
    let value = value.trim_end_matches('\r');
    value.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The value of a line: quotes and escapes resolved, comments and blanks at the ends removed.
fn unquote(text: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    // How much of `value` is kept: unquoted blanks count only when something follows them.
    let mut kept = 0;
    let mut quoted = false;
    let mut characters = text.trim_start_matches([' ', '\t']).chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            '#' | ';' if !quoted => break,
            '\\' => {
                value.push(match characters.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('b') => '\u{8}',
                    Some(other @ ('\\' | '"')) => other,
                    Some(_) | None => return Err("a backslash before a character that can't be escaped"),
                });
                kept = value.len();
                continue;
            }
            other => value.push(other),
        }
        if quoted || !character.is_ascii_whitespace() {
            kept = value.len();
        }
    }
    if quoted {
        return Err("a quote does not end");
    }
    value.truncate(kept);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::git::testing::Fixture;

    fn parent(text: &str) -> RepositoryUrl {
        RepositoryUrl::parse(text).unwrap()
    }

    fn urls(text: &str) -> Vec<(String, String)> {
        Submodules::parse(text.as_bytes()).unwrap().urls.into_iter().collect()
    }

    fn pair(path: &str, url: &str) -> (String, String) {
        (path.to_owned(), url.to_owned())
    }

    #[test]
    fn what_git_writes_is_read_as_git_reads_it() {
        let fixture = Fixture::new();
        let lib = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            let output = Command::new("git").args(arguments).current_dir(lib.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["init", "-q", "."]);
        run(&["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"]);
        let url = lib.path().display().to_string();
        for (name, path) in [("plain", "vendor/lib"), ("we \"ird\\", "with space;#/é"), ("b", "trail ")] {
            let allow = "protocol.file.allow=always";
            fixture.git(&["-c", allow, "submodule", "--quiet", "add", "--name", name, "--", &url, path]);
        }
        let text = std::fs::read_to_string(fixture.work().join(GITMODULES)).unwrap();
        let mut expected: Vec<(String, String)> =
            ["vendor/lib", "with space;#/é", "trail "].iter().map(|path| pair(path, &url)).collect();
        expected.sort();
        assert_eq!(urls(&text), expected, "{text}");
        // And git agrees about a file written by hand.
        let odd = "\u{feff}# comment\n[core]\n\tbare = true\n[submodule \"x\"] path = a/b ; comment\n\
                   url = \"https://h/a # b\" # comment\n[SubModule \"y\"]\nPath=c\\\n/d\nurl = one\nurl = https://h/\\\"two\n\
                   [submodule \"none\"]\n\tpath = lonely\n[submodule]\n\tpath = nameless\n\tshallow\n";
        std::fs::write(fixture.work().join("odd"), odd).unwrap();
        let git = |key: &str| fixture.git(&["config", "-f", "odd", "--get", key]);
        assert_eq!(
            urls(odd),
            [
                pair(&git("submodule.x.path"), &git("submodule.x.url")),
                pair(&git("submodule.y.path"), &git("submodule.y.url")),
            ]
        );
        assert_eq!(urls(odd)[1], pair("c/d", "https://h/\"two"));
    }

    #[test]
    fn relative_urls_are_taken_from_the_parents() {
        let of = |url: &str, from: &str| {
            let text = format!("[submodule \"x\"]\n\tpath = x\n\turl = {url}\n");
            let found = Submodules::parse(text.as_bytes()).unwrap().url("x", &parent(from));
            found.map(|url| (url.as_str().to_owned(), url.base().path().to_owned()))
        };
        let team = "https://git.corp.test:8443/team/app.git";
        let at = |url: &str, path: &str| Ok((url.to_owned(), path.to_owned()));
        assert_eq!(of("../lib.git", team), at("https://git.corp.test:8443/team/lib", "/team/lib.git"));
        assert_eq!(of("../../other/lib", team), at("https://git.corp.test:8443/other/lib", "/other/lib"));
        assert_eq!(of("./sub", team), at("https://git.corp.test:8443/team/app.git/sub", "/team/app.git/sub"));
        assert_eq!(of("https://else.test/x.git", team), at("https://else.test/x", "/x.git"));
        assert_eq!(of("../../../x", team), Err(SubmoduleUrlError::TooFarUp));
        assert_eq!(of("https://u:canary@h/x", team), Err(RepositoryUrlError::HoldsCredentials.into()));
        assert_eq!(of("/srv/git/x", team), Err(RepositoryUrlError::Unreadable("it has no scheme".into()).into()));
        assert_eq!(of("", team), Err(SubmoduleUrlError::Missing));
        assert!(matches!(of("--upload-pack=touch", team), Err(SubmoduleUrlError::Unusable(_))));
        assert!(matches!(of("file:///etc", team), Err(SubmoduleUrlError::Unusable(_))));
        assert_eq!(Submodules::default().url("y", &parent(team)), Err(SubmoduleUrlError::Missing));
    }

    #[test]
    fn a_broken_file_is_refused_with_the_line() {
        let line = |text: &str| match Submodules::parse(text.as_bytes()) {
            Err(SubmodulesError::Line { line, problem }) => (line, problem),
            other => panic!("{other:?}"),
        };
        assert_eq!(line("\n[submodule \"x\"\n"), (2, "the section has no `]`"));
        assert_eq!(line("[submodule x]\n"), (1, "the name of the section is not in quotes"));
        assert_eq!(line("[submodule \"x]\n"), (1, "the name of the section does not end"));
        assert_eq!(line("[submodule \"x\"]\nurl = \"a\n"), (2, "a quote does not end"));
        assert_eq!(
            line("[submodule \"x\"]\nurl = a\\q\n"),
            (2, "a backslash before a character that can't be escaped")
        );
        assert_eq!(line("[submodule \"x\"]\n= a\n"), (2, "neither a section nor `key = value`"));
        assert_eq!(Submodules::parse(b"\xff"), Err(SubmodulesError::NotText));
        assert_eq!(Submodules::parse(&vec![b' '; LONGEST_FILE + 1]), Err(SubmodulesError::TooLong));
    }
}
