//! Walls around a tool: what it may touch is decided by the kernel, not by the tool.
//!
//! The walls are put around a thread that does nothing but start the tool; the tool and all its children inherit them,
//! the rest of the program is not affected. What a kernel does not offer is left out and reported.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// The newest kernel interface whose rights are asked for; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V6;
/// Where a dynamically linked tool finds its libraries.
const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];

/// Which walls this kernel gives. Each is enforced by itself: where one is missing the others still hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Only the tool itself and its private directory can be opened (Landlock).
    pub files: bool,
    /// Sockets, mounts, tracing and the like are refused (seccomp).
    pub system_calls: bool,
    /// The tool has its own, empty network and its own processes (namespaces; needs CAP_SYS_ADMIN).
    pub namespaces: bool,
}

impl Isolation {
    /// Whether a tool can neither reach the network nor read files that are not its own.
    pub const fn is_sufficient(self) -> bool {
        self.files && (self.system_calls || self.namespaces)
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = |on: bool| if on { "on" } else { "off" };
        let (files, calls, namespaces) = (state(self.files), state(self.system_calls), state(self.namespaces));
        write!(formatter, "landlock {files}, seccomp {calls}, namespaces {namespaces}")
    }
}

/// What a tool may open.
#[derive(Clone, Debug)]
pub(super) struct Walls {
    /// The tool's binary: read and execute.
    pub(super) tool: PathBuf,
    /// Its private directory: everything but execute.
    pub(super) private: PathBuf,
    /// Whether it needs shared libraries.
    pub(super) libraries: bool,
}

/// The filters of system calls, compiled once.
#[derive(Debug)]
pub(super) struct Filters {
    programs: Vec<BpfProgram>,
}

impl Filters {
    /// The filters for this architecture; none when it is unknown.
    pub(super) fn compile() -> Self {
        let arch = TargetArch::try_from(std::env::consts::ARCH);
        let programs = arch.ok().and_then(|arch| programs(arch).ok()).unwrap_or_default();
        Self { programs }
    }
}

/// Finds out which walls this kernel gives, by putting them around a thread that then ends.
pub(super) fn probe(filters: &Filters, walls: &Walls) -> Isolation {
    thread::scope(|scope| {
        let found = scope.spawn(|| {
            let wanted = Isolation { files: true, system_calls: true, namespaces: true };
            enclose(filters, walls, wanted).unwrap_or_default()
        });
        found.join().unwrap_or_default()
    })
}

/// Starts a command inside the walls that were found to work.
pub(super) fn spawn(mut command: Command, filters: &Filters, walls: &Walls, isolation: Isolation) -> io::Result<Child> {
    thread::scope(|scope| {
        let started = thread::Builder::new().name("render-jail".to_owned()).spawn_scoped(scope, move || {
            let found = enclose(filters, walls, isolation)?;
            if found != isolation {
                let problem = format!("the walls that worked at start are gone ({isolation}; now {found})");
                return Err(io::Error::other(problem));
            }
            command.spawn()
        })?;
        started.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts the tool died")))
    })
}

/// Puts the wanted walls around the calling thread and says which of them stand.
fn enclose(filters: &Filters, walls: &Walls, wanted: Isolation) -> io::Result<Isolation> {
    let namespaces = wanted.namespaces && own_namespaces();
    let files = wanted.files && restrict_files(walls).map_err(io::Error::other)?;
    let system_calls = wanted.system_calls
        && !filters.programs.is_empty()
        && filters.programs.iter().all(|program| seccompiler::apply_filter(program).is_ok());
    Ok(Isolation { files, system_calls, namespaces })
}

/// Children of this thread get a network without any interface, and process ids of their own: when the first of them
/// dies the kernel kills the others, whatever group or session they moved to.
#[expect(deprecated, reason = "its successor is unsafe only because of UnshareFlags::FILES, which is not used")]
fn own_namespaces() -> bool {
    use rustix::thread::{UnshareFlags, unshare};
    let flags = UnshareFlags::NEWNET | UnshareFlags::NEWPID | UnshareFlags::NEWIPC;
    unshare(flags).is_ok()
}

fn restrict_files(walls: &Walls) -> Result<bool, landlock::RulesetError> {
    let private = AccessFs::from_all(LANDLOCK) & !AccessFs::Execute;
    let run = AccessFs::Execute | AccessFs::ReadFile;
    let libraries: &[&str] = if walls.libraries { &LIBRARIES } else { &[] };
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules([&walls.tool], run))?
        .add_rules(path_beneath_rules([&walls.private], private))?
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(libraries, run | AccessFs::ReadDir))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => true,
        RulesetStatus::NotEnforced => false,
    })
}

/// Whether a binary names an interpreter, that is: needs shared libraries.
pub(super) fn is_dynamic(tool: &Path) -> bool {
    use std::io::Read;
    const HEAD: u64 = 4096;
    let mut head = Vec::new();
    let read = std::fs::File::open(tool).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_err()
        || [&b"/ld-linux"[..], b"/ld-musl"].iter().any(|name| head.windows(name.len()).any(|part| part == *name))
}

fn programs(arch: TargetArch) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let always = [
        // The network, and sockets of other programs on this machine.
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        // Other processes, and ways out of the group that is killed at the deadline.
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_setsid,
        // Namespaces and mounts.
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_by_handle_at,
        // Code that is not a file, keys of other programs, and doors into the kernel.
        libc::SYS_memfd_create,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_kexec_load,
        libc::SYS_kexec_file_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_quotactl,
        libc::SYS_acct,
    ];
    for number in always {
        denied.insert(number, Vec::new());
    }
    let argument = |index, operator, value| SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value);
    // The start of the tool itself is a `setpgid(0, 0)`; no other is needed.
    denied.insert(
        libc::SYS_setpgid,
        vec![
            SeccompRule::new(vec![argument(0, SeccompCmpOp::Ne, 0)?])?,
            SeccompRule::new(vec![argument(1, SeccompCmpOp::Ne, 0)?])?,
        ],
    );
    // A clone into new namespaces. Bits: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
    let bits = [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
    let mut clone = Vec::new();
    for bit in bits {
        clone.push(SeccompRule::new(vec![argument(0, SeccompCmpOp::MaskedEq(bit), bit)?])?);
    }
    denied.insert(libc::SYS_clone, clone);
    if arch == TargetArch::x86_64 {
        // The same calls by the numbers of the x32 interface.
        const X32: i64 = 0x4000_0000;
        let twins: Vec<_> = denied.iter().map(|(number, rules)| (number | X32, rules.clone())).collect();
        denied.extend(twins);
    }
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(denied, SeccompAction::Allow, refused, arch)?;
    // The arguments of clone3 can't be seen by a filter. "Not implemented" makes libraries fall back to clone.
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let fallback = SeccompFilter::new(clone3, SeccompAction::Allow, missing, arch)?;
    Ok(vec![filter.try_into()?, fallback.try_into()?])
}
