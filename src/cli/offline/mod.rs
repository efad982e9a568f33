//! What `plan` and `diff` share: the way from files on disk to a plan, on the controller's own code.
//!
//! ```text
//! --desired ─► render ─► desired::assemble ─┐
//! --live ─► live::reduce, health::assess ───┼─► diff::infer_inventory ─► diff::compare ─► plan::compile
//! --application (or a default) ─────────────┘
//! ```
//!
//! Two things are at hand in a cluster and not here, and stand-ins take their place: discovery ([`kinds`]) and the record
//! of what was applied ([`crate::diff::infer_inventory`]). There is no project: anything may go anywhere.

mod application;
mod kinds;
mod live;
mod render;
mod survey;
mod words;

use std::io;
use std::path::PathBuf;

use clap::Args;
use thiserror::Error;

use super::input::InputError;
use super::sources::SourcesError;
use crate::desired::Problem;
use crate::model::{GroupVersionKind, Reason};
use crate::plan::PlanError;
use crate::settings::ToolFlags;

pub use survey::{Survey, survey};
pub use words::{ApplicationName, ObjectName};

pub(super) use words::{columns, json, section};

/// How an Application is made up from files.
#[derive(Args, Clone, Debug, Default)]
pub struct OfflineArguments {
    /// Directory with what git wants: the root of a repository, or the folder of the Application in it
    #[arg(long, value_name = "DIR")]
    pub desired: PathBuf,
    /// YAML with the Application; without it the directory is named after itself, and synced with pruning
    #[arg(long, value_name = "FILE")]
    pub application: Option<PathBuf>,
    /// Of several sources: the directory of one of them, by its place (0, 1, …), name or ref; --desired is that of the others
    #[arg(long = "source", value_name = "SOURCE=DIR", requires = "application")]
    pub sources: Vec<String>,
    /// YAML with the ConfigMap of fleet-wide settings (`tidelock-cm`, or Argo CD's `argocd-cm`): rules of differences, and
    /// kinds that are left alone
    #[arg(long, value_name = "FILE")]
    pub customizations: Option<PathBuf>,
    /// Take kinds that nothing is known of as namespaced, instead of refusing them
    #[arg(long)]
    pub assume_namespaced: bool,
    /// Revision that the directory is at, for a consent to prune that names one
    #[arg(long, value_name = "COMMIT")]
    pub revision: Option<String>,
    /// Name of the controller's installation, which ownership marks are made from
    #[arg(long, value_name = "NAME", default_value = "tidelock")]
    pub installation: String,
    #[command(flatten)]
    pub tools: ToolFlags,
}

/// How a report looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Columns for people.
    #[default]
    Text,
    /// One JSON object for programs.
    Json,
}

/// Why nothing can be said.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// A file is of no use.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The file does not hold the one Application that is wanted.
    #[error("{name}: {problem}")]
    Application {
        /// The file.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The live file holds something that was never in a cluster.
    #[error(
        "{place}: {kind} `{name}` has no metadata.uid, so it is no live object; dump live state with kubectl get -o yaml"
    )]
    NotLive {
        /// File and line.
        place: String,
        /// The kind.
        kind: String,
        /// The name.
        name: String,
    },
    /// The live file has the same object twice, in different versions.
    #[error("{place}: {kind} `{name}` is there twice; dump each object once")]
    LiveTwice {
        /// File and line of the second.
        place: String,
        /// The kind.
        kind: String,
        /// The name.
        name: String,
    },
    /// The directory could not be rendered.
    #[error("{}", with_reason(.0))]
    Sources(#[from] SourcesError),
    /// Rendering made nothing.
    #[error(
        "{}: {path} renders no object; set spec.syncPolicy.automated.allowEmpty in the Application if that is meant",
        Reason::EmptyRender.as_str()
    )]
    EmptyRender {
        /// The directory.
        path: PathBuf,
    },
    /// The table of kinds can't be read.
    #[error("the built-in table of kinds is damaged: {0}")]
    Kinds(#[source] serde_json::Error),
    /// The objects don't make a desired set.
    #[error("{}", sentence(.0))]
    Desired(Vec<Problem>),
    /// There is no order in which it could be done.
    #[error("{reason}: {0}", reason = .0.reason())]
    Plan(PlanError),
    /// stdout could not be written to.
    #[error("cannot write to stdout: {0}")]
    Print(#[source] io::Error),
}

fn with_reason(error: &SourcesError) -> String {
    error.reason().map_or_else(|| error.to_string(), |reason| format!("{reason}: {error}"))
}

fn sentence(problems: &[Problem]) -> String {
    let mut lines: Vec<String> =
        problems.iter().map(|problem| format!("{}: {}", problem.reason, problem.message)).collect();
    if problems.iter().any(|problem| problem.reason == Reason::KindNotFound) {
        lines.push(
            "no cluster is asked: kinds besides those of Kubernetes itself are known from CustomResourceDefinitions \
             among the desired or the live objects; --assume-namespaced takes the others as namespaced"
                .to_owned(),
        );
    }
    lines.join("\n")
}

/// What is said of a kind that nothing is known of.
fn unknown_kind_note(gvk: &GroupVersionKind) -> String {
    format!("nothing is known of the kind {gvk}: it is taken as namespaced (--assume-namespaced)")
}
