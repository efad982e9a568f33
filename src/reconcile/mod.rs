//! The only module that sees all phases.

pub mod lease;

use std::path::PathBuf;
use std::sync::Arc;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::server::probes::{Probes, Requirement};
use crate::settings::Settings;
use lease::{Acquired, Holder, HolderError, LeaseError, LeaseKeeper};

/// What the process lends to the work.
#[derive(Clone, Debug)]
pub struct Process {
    /// Tells the time.
    pub clock: Clock,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Tells whether work goes on and can start.
    pub probes: Probes,
}

/// Why the work ended other than by being told to.
#[derive(Debug, Error)]
pub enum RunError {
    /// The kubeconfig can't be used.
    #[error("cannot use the kubeconfig {path}: {source}")]
    ReadKubeconfig {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: KubeconfigError,
    },
    /// There is no service account.
    #[error("this is no pod with a service account ({0}): outside a cluster give --kubeconfig FILE")]
    NotInCluster(#[source] InClusterError),
    /// No client could be made.
    #[error("cannot prepare the connection to the API server: {0}")]
    PrepareClient(#[source] kube::Error),
    /// The state directory is in use.
    #[error(transparent)]
    Holder(#[from] HolderError),
    /// The lease is lost, or can't be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

/// Runs until told to stop.
pub async fn run(settings: Settings, process: Process, shutdown: CancellationToken) -> Result<(), RunError> {
    let client = connect(&settings).await?;
    let holder = Holder::claim(&settings.state, &settings.host_name)?;
    let mut keeper = LeaseKeeper::new(client, &settings.namespace, holder, process.clock.clone());
    let standing_by = |_: &str| {
        process.probes.readiness.met(Requirement::Lease);
        process.probes.heartbeat.beat();
    };
    if keeper.acquire(&shutdown, standing_by).await? == Acquired::ShuttingDown {
        return Ok(());
    }
    process.probes.readiness.met(Requirement::Lease);
    process.metrics.set_leader(true);
    // WIRE: the driver runs beside the keeper; `shutdown` stops the driver, and the driver's end stops the keeper.
    let kept = keeper.keep(&shutdown).await;
    process.metrics.set_leader(false);
    kept?;
    keeper.release().await;
    Ok(())
}

async fn connect(settings: &Settings) -> Result<Client, RunError> {
    let mut config = match &settings.kubeconfig {
        Some(path) => {
            let unusable = |source| RunError::ReadKubeconfig { path: path.clone(), source };
            let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(unusable)?
        }
        None => Config::incluster().map_err(RunError::NotInCluster)?,
    };
    // The API server is always reached directly; the proxy variables are for git.
    config.proxy_url = None;
    Client::try_from(config).map_err(RunError::PrepareClient)
}
