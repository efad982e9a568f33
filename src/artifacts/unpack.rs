//! Archives → files, without trusting them. Blocking.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use crate::git::{Import, ImportNote, ImportedKind, Store};
use crate::model::{Reason, Revision};

use super::error::ArtifactError;

/// Bounds of unpacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Files, folders and links.
    pub entries: usize,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// How many times larger than the archive its content may be. Manifests compress well, bombs better.
    pub ratio: u64,
}

impl Default for UnpackLimits {
    /// 50 000 entries, 256 MiB, 64 MiB, 200.
    fn default() -> Self {
        Self { entries: 50_000, bytes: 256 << 20, file_bytes: 64 << 20, ratio: 200 }
    }
}

/// Below this, how well something compresses says nothing.
const RATIO_COUNTS_FROM: u64 = 16 << 20;
/// What an entry takes in an archive besides its content.
const ENTRY_OVERHEAD: u64 = 4096;
const LONGEST_PATH: usize = 4096;
/// Bytes of a name or of attributes that stand in an entry of their own: reading the entry that they are about takes them
/// into memory whole.
const LONGEST_EXTENSION: u64 = 64 << 10;
/// Entries for one member: itself, a long name, a long target of a link and attributes.
const ENTRIES_OF_MEMBER: usize = 4;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How the files lie in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A packaged chart: in one folder of the chart's name, which is left out.
    Chart,
    /// From the root.
    Plain,
}

/// Unpacks an archive (tar, or tar in gzip) and imports its files as one commit.
pub fn import(
    store: &Store,
    archive: &[u8],
    layout: Layout,
    limits: UnpackLimits,
    note: &ImportNote,
) -> Result<Revision, ArtifactError> {
    survey(bounded(archive, limits), limits)?;
    let mut import = store.import()?;
    let found = unpack(bounded(archive, limits), layout, limits, &mut import)?;
    match layout {
        Layout::Chart if !found.chart => Err(invalid("the archive holds no Chart.yaml in a folder, so it is no chart")),
        Layout::Plain if found.files == 0 => Err(invalid("the archive holds no file")),
        Layout::Chart | Layout::Plain => Ok(import.finish(note)?),
    }
}

/// The name under which a kept archive lies in its commit.
pub const ARCHIVE: &str = "chart.tgz";

/// Imports a chart's archive as it is, for who wants to give it on whole. Its content is looked at as if it were unpacked.
pub fn keep_archive(
    store: &Store,
    archive: &[u8],
    limits: UnpackLimits,
    note: &ImportNote,
) -> Result<Revision, ArtifactError> {
    if !archive.starts_with(&GZIP) {
        return Err(invalid("the archive of the chart is not compressed by gzip"));
    }
    survey(bounded(archive, limits), limits)?;
    let found = unpack(bounded(archive, limits), Layout::Chart, limits, &mut store.import()?)?;
    if !found.chart {
        return Err(invalid("the archive holds no Chart.yaml in a folder, so it is no chart"));
    }
    let mut import = store.import()?;
    import.add(ARCHIVE, ImportedKind::File, archive)?;
    Ok(import.finish(note)?)
}

/// The archive from its beginning, without compression.
fn bounded(archive: &[u8], limits: UnpackLimits) -> Box<dyn Read + '_> {
    if !archive.starts_with(&GZIP) {
        return Box::new(archive);
    }
    let allowed = limits.bytes.saturating_add(limits.entries as u64 * ENTRY_OVERHEAD);
    let by_ratio = (archive.len() as u64).saturating_mul(limits.ratio).max(RATIO_COUNTS_FROM);
    Box::new(Bounded { inner: MultiGzDecoder::new(archive), left: allowed.min(by_ratio) })
}

fn invalid(message: impl Into<String>) -> ArtifactError {
    ArtifactError::new(Reason::ArtifactInvalid, message)
}

fn unreadable(error: &io::Error) -> ArtifactError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TooMuch>()) {
        Some(_) => invalid(
            "the archive unpacks to far more than its size: it is a decompression bomb, or its content exceeds the limit",
        ),
        None => invalid(format!("the archive is broken, cut short, or no tar archive ({error})")),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("too much")]
struct TooMuch;

/// Fails instead of giving more than a number of bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => Err(io::Error::other(TooMuch)),
        }
    }
}

#[derive(Default)]
struct Found {
    files: usize,
    chart: bool,
}

/// Looks at every header, without the content, before anything is unpacked: what reads an archive's entries takes long
/// names, attributes and maps of sparse files into memory before it shows the entry.
fn survey(reader: impl Read, limits: UnpackLimits) -> Result<(), ArtifactError> {
    let mut archive = Archive::new(reader);
    let (mut entries, mut stated) = (0_usize, None);
    for entry in archive.entries().map_err(|error| unreadable(&error))?.raw(true) {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        entries += 1;
        if entries > limits.entries.saturating_mul(ENTRIES_OF_MEMBER) {
            return Err(too_many(limits));
        }
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader => {
                let size = entry.size();
                if size > LONGEST_EXTENSION {
                    return Err(invalid(format!(
                        "the archive has a name or attributes of {size} bytes, the limit is {LONGEST_EXTENSION}"
                    )));
                }
                if kind == EntryType::XHeader {
                    stated = stated_size(&mut entry)?;
                }
            }
            EntryType::GNUSparse => {
                let shown = String::from_utf8_lossy(&entry.path_bytes()).chars().take(200).collect::<String>();
                return Err(invalid(format!("`{shown}` in the archive is a sparse file, which is not supported")));
            }
            // What a size stands for must not depend on who reads it: else headers hide in what looks like content.
            _ => match stated.take() {
                Some(stated) if stated != entry.size() => {
                    return Err(invalid("the archive gives two different sizes for one entry"));
                }
                Some(_) | None => {}
            },
        }
    }
    Ok(())
}

/// The size that attributes state for the next member.
fn stated_size<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Option<u64>, ArtifactError> {
    let Some(attributes) = entry.pax_extensions().map_err(|error| unreadable(&error))? else { return Ok(None) };
    for attribute in attributes {
        let Ok(attribute) = attribute else { break };
        if attribute.key() == Ok("size") {
            return Ok(attribute.value().ok().and_then(|value| value.parse().ok()));
        }
    }
    Ok(None)
}

fn too_many(limits: UnpackLimits) -> ArtifactError {
    invalid(format!("the archive has more than {} entries", limits.entries))
}

fn unpack(
    reader: impl Read,
    layout: Layout,
    limits: UnpackLimits,
    import: &mut Import,
) -> Result<Found, ArtifactError> {
    let mut archive = Archive::new(reader);
    let (mut found, mut entries, mut bytes) = (Found::default(), 0_usize, 0_u64);
    for entry in archive.entries().map_err(|error| unreadable(&error))? {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        entries += 1;
        if entries > limits.entries {
            return Err(too_many(limits));
        }
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            continue;
        }
        let shown = String::from_utf8_lossy(&entry.path_bytes()).chars().take(200).collect::<String>();
        let whole = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| invalid(format!("the name `{shown}` in the archive is not UTF-8")))?;
        let Some(whole) = clean(&whole).map_err(|problem| invalid(format!("`{shown}` in the archive {problem}")))?
        else {
            continue;
        };
        let Some(path) = place(&whole, layout) else { continue };
        match kind {
            EntryType::Directory => {}
            EntryType::Regular | EntryType::Continuous => {
                let size = entry.size();
                bytes = bytes.saturating_add(size);
                if size > limits.file_bytes {
                    let message = format!("`{shown}` has {size} bytes, the limit for a file is {}", limits.file_bytes);
                    return Err(invalid(message));
                }
                if bytes > limits.bytes {
                    return Err(invalid(format!("the archive's files have more than {} bytes together", limits.bytes)));
                }
                let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
                let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default().min(1 << 20));
                entry.read_to_end(&mut content).map_err(|error| unreadable(&error))?;
                let kind = if executable { ImportedKind::Executable } else { ImportedKind::File };
                import.add(&path, kind, &content)?;
                found.files += 1;
                found.chart |= path == "Chart.yaml";
            }
            EntryType::Symlink => {
                let target = link_name(&entry, &shown)?;
                if leaves(&path, &target) {
                    return Err(invalid(format!("the link `{shown}` leads out of the archive")));
                }
                import.add(&path, ImportedKind::Link, target.as_bytes())?;
                found.files += 1;
            }
            EntryType::Link => {
                let target = link_name(&entry, &shown)?;
                let target = clean(&target).ok().flatten().and_then(|target| place(&target, layout));
                let copied = match target {
                    Some(target) => import.copy(&path, &target)?,
                    None => false,
                };
                if !copied {
                    return Err(invalid(format!("the hard link `{shown}` leads to no file before it in the archive")));
                }
                found.files += 1;
            }
            _ => return Err(invalid(format!("`{shown}` in the archive is neither a file, a folder nor a link"))),
        }
    }
    Ok(found)
}

fn link_name<R: Read>(entry: &tar::Entry<'_, R>, shown: &str) -> Result<String, ArtifactError> {
    let bytes = entry.link_name_bytes().unwrap_or_default().into_owned();
    String::from_utf8(bytes).map_err(|_| invalid(format!("the target of the link `{shown}` is not UTF-8")))
}

/// A path without `.` and doubled slashes; `None` for the root itself and for what belongs to a git repository.
fn clean(path: &str) -> Result<Option<String>, &'static str> {
    if path.len() > LONGEST_PATH {
        return Err("has too long a name");
    }
    if path.starts_with('/') {
        return Err("has an absolute path");
    }
    if path.contains(['\0', '\\']) {
        return Err("has a name with a backslash or a null byte");
    }
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.contains(&"..") {
        return Err("leads out of the archive by `..`");
    }
    if names.iter().any(|name| name.eq_ignore_ascii_case(".git")) {
        return Ok(None);
    }
    Ok((!names.is_empty()).then(|| names.join("/")))
}

/// Where a path of the archive comes to lie; `None` when it is not taken.
fn place(path: &str, layout: Layout) -> Option<String> {
    match layout {
        Layout::Plain => Some(path.to_owned()),
        Layout::Chart => path.split_once('/').map(|(_, rest)| rest.to_owned()),
    }
}

/// Whether a symbolic link leads out of the root, read from where it lies.
fn leaves(path: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return true;
    }
    let mut depth = path.matches('/').count();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::testing::{Tar, gzip};
    use crate::git::{SnapshotLimits, StoreLimits};
    use crate::model::Files as _;

    fn try_import(archive: &[u8], layout: Layout, limits: UnpackLimits) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store"), StoreLimits::default()).unwrap();
        let note = ImportNote { name: "1".into(), origin: "o".into(), made: 0 };
        let revision = import(&store, archive, layout, limits, &note).map_err(|error| {
            assert_eq!(error.reason, Reason::ArtifactInvalid, "{error}");
            error.message
        })?;
        let files = store.snapshot(&revision, SnapshotLimits::default()).unwrap();
        let mut found = Vec::new();
        let mut ahead = vec![String::new()];
        while let Some(folder) = ahead.pop() {
            for entry in files.list(&folder).unwrap().unwrap_or_default() {
                let path = format!("{folder}{}{}", if folder.is_empty() { "" } else { "/" }, entry.name);
                match files.read(&path).unwrap() {
                    Some(content) => found.push(format!("{path}={}", String::from_utf8_lossy(&content))),
                    None => ahead.push(path),
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn plain(archive: &[u8]) -> Result<Vec<String>, String> {
        try_import(archive, Layout::Plain, UnpackLimits::default())
    }

    #[test]
    fn a_chart_loses_its_folder_and_a_plain_archive_nothing() {
        let chart = Tar::new().file("shop/Chart.yaml", "c").file("shop/templates/a.yaml", "t").done();
        let expected = Ok(vec!["Chart.yaml=c".to_owned(), "templates/a.yaml=t".to_owned()]);
        assert_eq!(try_import(&gzip(&chart), Layout::Chart, UnpackLimits::default()), expected);
        let archive = Tar::new()
            .file("./a.yaml", "a")
            .file("b//c.yaml", "c")
            .link("b/to", "../a.yaml")
            .hard_link("d.yaml", "a.yaml")
            .file(".git/config", "x")
            .file("a.yaml", "again")
            .done();
        let expected: Vec<String> =
            ["a.yaml=again", "b/c.yaml=c", "b/to=../a.yaml", "d.yaml=a"].map(str::to_owned).to_vec();
        assert_eq!(plain(&archive), Ok(expected.clone()));
        assert_eq!(plain(&gzip(&archive)), Ok(expected));
    }

    #[test]
    fn what_leaves_the_root_or_is_no_file_is_refused() {
        for (archive, expected) in [
            (Tar::new().file("../a", "x").done(), "leads out of the archive by `..`"),
            (Tar::new().file("a/../../b", "x").done(), "leads out of the archive by `..`"),
            (Tar::new().file("/etc/a", "x").done(), "has an absolute path"),
            (Tar::new().link("a/b", "../../etc").done(), "leads out of the archive"),
            (Tar::new().link("a", "/etc/passwd").done(), "leads out of the archive"),
            (Tar::new().hard_link("a", "../b").done(), "leads to no file before it"),
            (Tar::new().hard_link("a", "b").done(), "leads to no file before it"),
            (Tar::new().special("dev", EntryType::Block).done(), "neither a file, a folder nor a link"),
            (Tar::new().special("pipe", EntryType::Fifo).done(), "neither a file, a folder nor a link"),
            (Tar::new().done(), "holds no file"),
            (b"hello".to_vec(), "broken, cut short, or no tar archive"),
            (b"\x1f\x8bhello".to_vec(), "broken, cut short, or no tar archive"),
        ] {
            let error = plain(&archive).unwrap_err();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
        let cut = gzip(&Tar::new().file("a", &"x".repeat(5000)).done());
        assert!(plain(&cut[..cut.len() - 12]).unwrap_err().contains("broken, cut short"));
        let flat = Tar::new().file("Chart.yaml", "c").done();
        let error = try_import(&flat, Layout::Chart, UnpackLimits::default()).unwrap_err();
        assert!(error.contains("no Chart.yaml in a folder"), "{error}");
    }

    #[test]
    fn bombs_and_hordes_are_stopped_at_the_limit() {
        let limits = UnpackLimits { entries: 3, bytes: 100, file_bytes: 50, ratio: 200 };
        let refuse = |tar: Tar| try_import(&gzip(&tar.done()), Layout::Plain, limits).unwrap_err();
        let many = (0..4).fold(Tar::new(), |tar, number| tar.file(&format!("f{number}"), "x"));
        assert!(refuse(many).contains("more than 3 entries"));
        assert!(refuse(Tar::new().file("a", &"x".repeat(51))).contains("the limit for a file is 50"));
        let half = "x".repeat(45);
        let three = Tar::new().file("a", &half).file("b", &half).file("c", &half);
        assert!(refuse(three).contains("more than 100 bytes together"));
        let bomb = gzip(&Tar::new().file("a", &"\0".repeat(40 << 20)).done());
        assert!(bomb.len() < 100_000);
        assert!(plain(&bomb).unwrap_err().contains("decompression bomb"));
    }

    #[test]
    fn names_and_attributes_that_would_fill_the_memory_are_refused_before_they_are_read() {
        let huge = "\0".repeat(usize::try_from(LONGEST_EXTENSION).unwrap() + 1);
        for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader] {
            let archive = Tar::new().extension(kind, huge.as_bytes()).file("a", "x").done();
            let error = plain(&gzip(&archive)).unwrap_err();
            assert!(error.contains("a name or attributes of 65537 bytes"), "{kind:?}: {error}");
        }
        let long = format!("{}/a.yaml", "d".repeat(200));
        let named = Tar::new().extension(EntryType::GNULongName, format!("{long}\0").as_bytes()).file("a", "x").done();
        assert_eq!(plain(&named), Ok(vec![format!("{long}=x")]));
        let sparse = Tar::new().special("holes", EntryType::GNUSparse).done();
        assert!(plain(&sparse).unwrap_err().contains("`holes` in the archive is a sparse file"));
    }

    #[test]
    fn an_entry_with_two_sizes_is_refused_so_that_no_header_hides_in_content() {
        let inner = Tar::new().extension(EntryType::GNULongName, &vec![b'x'; 70_000]).done();
        let inner = String::from_utf8(inner).unwrap();
        let hidden = Tar::new().extension(EntryType::XHeader, b"10 size=0\n").file("a", &inner).done();
        assert_eq!(plain(&hidden), Err("the archive gives two different sizes for one entry".to_owned()));
        let same = Tar::new().extension(EntryType::XHeader, b"10 size=1\n").file("a", "x").done();
        assert_eq!(plain(&same), Ok(vec!["a=x".to_owned()]));
    }
}
