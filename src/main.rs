//! The `tidelock` binary: arguments, crypto provider, logs, runtime, verb.

use std::process::ExitCode;

use clap::Parser;
use tidelock::cli::plugin::PluginArguments;
use tidelock::cli::{self, Arguments, Exit, Observing};
use tidelock::clock::Clock;
use tidelock::settings::Environment;
use tidelock::telemetry::Telemetry;

/// Holds on to less memory than the system's allocator after a burst of large renders.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tidelock::git::bound_memory();
    if cli::plugin::is_plugin(std::env::args_os().next().as_deref()) {
        return match cli::plugin::run(PluginArguments::parse()) {
            Ok(never) => match never {},
            Err(error) => {
                complain(&error.into());
                ExitCode::from(Exit::Error.code())
            }
        };
    }
    let arguments = Arguments::parse();
    let exit = run(arguments).unwrap_or_else(|error| {
        complain(&error);
        Exit::Error
    });
    ExitCode::from(exit.code())
}

fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let logs = arguments.verb.logs();
    let clock = Clock::system();
    if arguments.verb.handles_secrets() {
        keep_memory_private()
            .map_err(|error| anyhow::anyhow!("cannot keep this process's memory out of core dumps: {error}"))?;
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider was installed before"))?;
    let traces = arguments.verb.traces(&Environment::read().traces)?;
    let mut telemetry = Telemetry::start(logs.format, &logs.level, traces.settings, clock.clone())?;
    for warning in &traces.warnings {
        tracing::warn!("{warning}");
    }
    let observing = Observing { dropped: telemetry.dropped(), traces: telemetry.take_traces() };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow::anyhow!("cannot start the async runtime: {error}"))?;
    let result = runtime.block_on(cli::run(arguments.verb, clock, observing));
    // Tasks that hang in a blocking call must not keep a process alive whose work is done.
    runtime.shutdown_background();
    Ok(result?)
}

/// Forbids core dumps and other processes' reading of this one's memory, which holds credentials.
fn keep_memory_private() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "logs have ended, or have not begun")]
fn complain(error: &anyhow::Error) {
    eprintln!("tidelock: {error}");
}
