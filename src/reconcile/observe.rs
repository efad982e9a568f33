//! The first half of a reconcile: from an Application's spec to the desired set, as far as it goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::driver::{Driver, Reconciler};
use super::location::SourceLocation;
use super::memory::{Held, Memory};
use super::overriding::OverridingOrigin;
use super::produce::{Pinned, Wanted, allows_empty, hash_of, project_name};
use super::sources::{DEFAULT_INTERVAL, Interest, SourceState, Sources};
use crate::api::{AppProject, Application, ApplicationSource, IN_CLUSTER_NAME, IN_CLUSTER_SERVER};
use crate::desired::{ProjectRules, SyncOptions, about_source, check_references, source_label};
use crate::git::Target;
use crate::model::{Hash64, Owner, Reason, parse_duration};
use crate::status::Failure;

/// Annotation that asks for a poll now; any new value asks again.
pub(super) const REFRESH_ANNOTATION: &str = "tidelock.dev/refresh";

/// How far the first half came.
pub(super) enum Desired {
    /// A source has not been looked at yet.
    Pending,
    /// There is no desired set.
    Failed(Failure),
    /// There is one.
    Known {
        /// The set with what it was made from.
        held: Box<Held>,
        /// Why a source could not be asked for a newer revision.
        source_failure: Option<Failure>,
    },
}

/// How far the sources came.
enum Found {
    /// One has not been looked at yet.
    Pending,
    /// All are at a revision.
    All {
        pinned: Vec<Pinned>,
        /// Why one could not be asked for a newer revision.
        failure: Option<Failure>,
    },
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure { reason: Reason::InvalidSpec, message: message.into() }
}

impl Driver {
    /// Finds the desired set of an Application, from memory when nothing it is made from has changed.
    pub(super) async fn observe(&self, application: &Application, owner: &Owner, memory: &mut Memory) -> Desired {
        // It is much larger than the rest of a reconcile, and most reconciles wait elsewhere.
        match Box::pin(self.try_observe(application, owner, memory)).await {
            Ok(desired) => desired,
            Err(failure) => Desired::Failed(failure),
        }
    }

    /// Finds the desired set of what `memory.overriding` brings instead of the spec; what the spec wants when there is no
    /// such thing. What is known of the spec's own sources stays.
    pub(super) async fn observe_operation(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
    ) -> Desired {
        let found = match Box::pin(self.try_observe_operation(application, owner, memory)).await {
            Ok(found @ Desired::Known { .. }) => self.know(&owner.name, memory).await.map(|()| found),
            found => found,
        };
        found.unwrap_or_else(Desired::Failed)
    }

    async fn try_observe(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
    ) -> Result<Desired, Failure> {
        let sources = sources(application)?;
        let several = !application.spec.sources.is_empty();
        own_cluster(application)?;
        let (project, project_hash) = self.project(application)?;
        permit(&self.sources, &project, sources, several)?;
        created_namespace_is_permitted(application, &project, self.destinations.limit())?;
        self.say_interest(application, owner, memory).await?;
        self.take_refresh(application, owner, memory);

        let Some(states) = self.sources.states(&owner.name) else { return Ok(Desired::Pending) };
        if let Some((token, polls)) = &memory.refresh
            && is_answered(&states, polls)
        {
            memory.handled_refresh.clone_from(token);
            memory.refresh = None;
        }
        let (pinned, failure) = match pin(sources, several, states.get(..sources.len()))? {
            Found::Pending => return Ok(Desired::Pending),
            Found::All { pinned, failure } => (pinned, failure),
        };
        let checked = self.verified(application, sources, several, pinned, true).await?;
        let (pinned, failure) = (checked.pinned, checked.failure.or(failure));
        let parameters = parameters(application, sources, owner, project_hash, self.fleet.current().left_alone());
        let wanted = Wanted { application, owner, sources, several, project: &project, parameters };
        let held = Box::pin(self.produce(wanted, pinned, memory.held.as_ref(), &mut memory.refused)).await?;
        memory.held = Some(held.clone());
        Ok(Desired::Known { held: Box::new(held), source_failure: failure })
    }

    async fn try_observe_operation(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
    ) -> Result<Desired, Failure> {
        // Before anything of the spec can fail: the operation may be there to get around that.
        self.say_interest(application, owner, memory).await?;
        let own = self.try_observe(application, owner, memory).await;
        let Some(overriding) = &mut memory.overriding else { return own };
        match overriding.origin.clone() {
            OverridingOrigin::Sources { sources, several } => {
                self.observe_sources(application, owner, &sources, several, overriding).await
            }
            OverridingOrigin::Manifests(manifests) => {
                let Desired::Known { held, source_failure } = own? else { return Ok(Desired::Pending) };
                let held = self.replace_manifests(application, owner, *held, manifests).await?;
                overriding.held = Some(held.clone());
                Ok(Desired::Known { held: Box::new(held), source_failure })
            }
        }
    }

    async fn observe_sources(
        &self,
        application: &Application,
        owner: &Owner,
        sources: &[ApplicationSource],
        several: bool,
        overriding: &mut super::overriding::Overriding,
    ) -> Result<Desired, Failure> {
        own_cluster(application)?;
        let (project, project_hash) = self.project(application)?;
        permit(&self.sources, &project, sources, several)?;
        created_namespace_is_permitted(application, &project, self.destinations.limit())?;
        let Some(states) = self.sources.states(&owner.name) else { return Ok(Desired::Pending) };
        // They come after the spec's own.
        let states = states.len().checked_sub(sources.len()).and_then(|start| states.get(start..));
        let (pinned, failure) = match pin(sources, several, states)? {
            Found::Pending => return Ok(Desired::Pending),
            Found::All { pinned, failure } => (pinned, failure),
        };
        // A person asked for this very revision: no other will do.
        let pinned = self.verified(application, sources, several, pinned, false).await?.pinned;
        let parameters = parameters(application, sources, owner, project_hash, self.fleet.current().left_alone());
        let wanted = Wanted { application, owner, sources, several, project: &project, parameters };
        let held = Box::pin(self.produce(wanted, pinned, overriding.held.as_ref(), &mut overriding.refused)).await?;
        overriding.held = Some(held.clone());
        Ok(Desired::Known { held: Box::new(held), source_failure: failure })
    }

    /// The spec's set with other objects: what it is compared and reported with stays.
    async fn replace_manifests(
        &self,
        application: &Application,
        owner: &Owner,
        held: Held,
        manifests: Vec<crate::model::Manifest>,
    ) -> Result<Held, Failure> {
        if self.demands_signatures(application)? {
            return Err(Failure {
                reason: Reason::SignatureInvalid,
                message:
                    "manifests that come with an operation are signed by nobody, and the project demands signatures: \
                          commit and sign them"
                        .to_owned(),
            });
        }
        let (project, _) = self.project(application)?;
        let wanted =
            Wanted { application, owner, sources: &[], several: true, project: &project, parameters: held.parameters };
        let desired = self.assemble(wanted, manifests).await?;
        Ok(Held { hash: hash_of(&desired), desired: Arc::new(desired), warnings: Vec::new(), ..held })
    }

    fn take_refresh(&self, application: &Application, owner: &Owner, memory: &mut Memory) {
        let token = application.metadata.annotations.as_ref().and_then(|all| all.get(REFRESH_ANNOTATION));
        let Some(token) = token.filter(|token| **token != memory.handled_refresh) else { return };
        if memory.refresh.as_ref().is_none_or(|(pending, _)| pending != token) {
            let polls = self.sources.poll(&owner.name);
            if !polls.is_empty() {
                memory.refresh = Some((token.clone(), polls));
            }
        }
    }

    fn project(&self, application: &Application) -> Result<(ProjectRules, Hash64), Failure> {
        let project = self.project_object(application)?;
        let rules = self.project_rules(project_name(application), &project);
        let text = serde_json::to_vec(&project.spec).unwrap_or_default();
        Ok((rules, Hash64::of_bytes(&text)))
    }
}

impl Reconciler {
    /// What a project allows.
    pub(super) fn project_rules(&self, name: &str, project: &AppProject) -> ProjectRules {
        ProjectRules::new(name, &project.spec, &[&self.namespace, "kube-system"])
    }

    /// Polls what an Application that another process works on will need here when that process is gone. Nothing is
    /// done about what can't be polled: that is the other's to report.
    pub(super) async fn anticipate(&self, application: &Application, owner: &Owner) -> Result<(), Failure> {
        let sources = sources(application)?;
        own_cluster(application)?;
        let project = self.project_object(application)?;
        let rules = self.project_rules(project_name(application), &project);
        permit(&self.sources, &rules, sources, !application.spec.sources.is_empty())?;
        self.say_interest(application, owner, &Memory::default()).await
    }

    /// Says what is to be polled: the spec's sources, then those of a running operation.
    async fn say_interest(&self, application: &Application, owner: &Owner, memory: &Memory) -> Result<(), Failure> {
        let interval = application.spec.poll_interval.as_deref().and_then(parse_duration).unwrap_or(DEFAULT_INTERVAL);
        let several = !application.spec.sources.is_empty();
        let own = application.spec.all_sources();
        let others = memory.overriding.as_ref().map(super::overriding::Overriding::sources).unwrap_or_default();
        let mut interests = Vec::with_capacity(own.len() + others.len());
        for (index, source) in own.iter().chain(others).enumerate() {
            let (url, target) = self.sources.locate(source).map_err(|error| {
                let field = if several { format!("sources[{index}]") } else { "source".to_owned() };
                invalid(format!("spec.{field}.repoURL `{}`: {error}", source.repo_url))
            })?;
            interests.push(Interest { url, target, interval });
        }
        self.sources.set_interest(&owner.name, &interests).await
    }

    /// The project of an Application.
    pub(super) fn project_object(&self, application: &Application) -> Result<Arc<AppProject>, Failure> {
        let name = project_name(application);
        match self.projects.get(name) {
            Some(Ok(project)) => Ok(project),
            Some(Err(error)) => Err(Failure {
                reason: Reason::InvalidSpec,
                message: format!("the AppProject `{name}` can't be read by this version: {error}"),
            }),
            None => Err(Failure {
                reason: Reason::ReferenceNotFound,
                message: format!(
                    "there is no AppProject `{name}` in the namespace `{}`: create it, or correct spec.project",
                    self.namespace
                ),
            }),
        }
    }
}

/// The tag that a range of versions gave, or that stands for a digest. Every other target says by itself what it is.
fn tag_of(source: &ApplicationSource, state: &SourceState) -> Option<String> {
    let text = source.target_revision.as_deref().unwrap_or_default();
    let is_named_by_tag = match &state.url {
        SourceLocation::Git(_) => {
            let target = Target::parse_with_prefix(text, source.tag_prefix.as_deref().unwrap_or_default());
            matches!(target, Target::Range { .. })
        }
        // A chart is called by its version anyway.
        SourceLocation::Helm { .. } => false,
        SourceLocation::Registry { .. } => source.chart.as_deref().is_none_or(str::is_empty),
    };
    let reference = state.reference.as_deref().filter(|_| is_named_by_tag)?;
    reference.strip_prefix("refs/tags/").map(str::to_owned)
}

/// Whether every repository was polled since a refresh was asked for. One that came since then has been polled anyway.
fn is_answered(states: &[SourceState], polls: &std::collections::BTreeMap<String, u64>) -> bool {
    states.iter().all(|state| state.polls > 0 && polls.get(state.url.as_str()).is_none_or(|poll| state.polls >= *poll))
}

/// The revisions of all sources. What fails names its source, the first one first.
fn pin(sources: &[ApplicationSource], several: bool, states: Option<&[SourceState]>) -> Result<Found, Failure> {
    let Some(states) = states.filter(|states| states.len() == sources.len()) else { return Ok(Found::Pending) };
    if states.iter().any(|state| state.polls == 0) {
        return Ok(Found::Pending);
    }
    let (mut pinned, mut first_failure) = (Vec::with_capacity(states.len()), None);
    for (index, (source, state)) in sources.iter().zip(states).enumerate() {
        let label = source_label(sources, several, index);
        let failure = state
            .failure
            .as_ref()
            .map(|failure| Failure { reason: failure.reason, message: about_source(&label, &failure.message) });
        let Some(revision) = state.revision.clone() else {
            return Err(failure.unwrap_or_else(|| Failure {
                reason: Reason::InternalError,
                message: about_source(&label, "the source gave neither a revision nor a reason"),
            }));
        };
        first_failure = first_failure.or(failure);
        pinned.push(Pinned {
            url: state.url.clone(),
            revision,
            tag: tag_of(source, state),
            store: Arc::clone(&state.store),
        });
    }
    Ok(Found::All { pinned, failure: first_failure })
}

fn sources(application: &Application) -> Result<&[ApplicationSource], Failure> {
    let sources = application.spec.all_sources();
    if sources.is_empty() {
        return Err(invalid("spec.source is missing"));
    }
    check_references(sources).map_err(|problem| Failure { reason: problem.reason, message: problem.message })?;
    Ok(sources)
}

fn permit(
    sources: &Sources,
    project: &ProjectRules,
    wanted: &[ApplicationSource],
    several: bool,
) -> Result<(), Failure> {
    for (index, source) in wanted.iter().enumerate() {
        // One that can't be located has no other spelling, and is refused later.
        let spellings = match sources.locate(source) {
            Ok((SourceLocation::Git(url), _)) => url.spellings(),
            Ok((location, _)) => vec![location.to_string()],
            Err(_) => Vec::new(),
        };
        project.permits_source(&source.repo_url, &spellings).map_err(|denied| Failure {
            reason: Reason::NotPermitted,
            message: about_source(&source_label(wanted, several, index), &denied.to_string()),
        })?;
    }
    Ok(())
}

fn own_cluster(application: &Application) -> Result<(), Failure> {
    let destination = &application.spec.destination;
    let server = destination.server.as_deref().unwrap_or_default().trim_end_matches('/');
    let name = destination.name.as_deref().unwrap_or_default();
    if (server.is_empty() || server == IN_CLUSTER_SERVER) && (name.is_empty() || name == IN_CLUSTER_NAME) {
        return Ok(());
    }
    Err(Failure {
        reason: Reason::UnsupportedField,
        message: format!(
            "spec.destination names the cluster `{}`; this version deploys to the operator's own cluster only \
             ({IN_CLUSTER_SERVER}, or the name `{IN_CLUSTER_NAME}`)",
            if name.is_empty() { server } else { name }
        ),
    })
}

/// Whether `CreateNamespace=true` is among the sync options.
fn creates_namespace(application: &Application) -> bool {
    SyncOptions::of(&application.spec).create_namespace
}

fn created_namespace_is_permitted(
    application: &Application,
    project: &ProjectRules,
    limit: Option<&BTreeSet<String>>,
) -> Result<(), Failure> {
    let destination = &application.spec.destination;
    if limit.is_some() && creates_namespace(application) {
        return Err(Failure {
            reason: Reason::OutsideNamespaces,
            message: format!(
                "spec.syncPolicy.syncOptions: CreateNamespace=true, and this operator is limited to namespaces that exist \
                 (--destination-namespaces): make the namespace `{}` and its Role, and take the option out",
                destination.namespace.as_deref().unwrap_or_default()
            ),
        });
    }
    match destination.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        Some(namespace) if creates_namespace(application) => project
            .permits_namespace(destination, namespace)
            .map_err(|message| Failure { reason: Reason::NotPermitted, message }),
        _ => Ok(()),
    }
}

/// Whether an option lets objects through whose kind nobody serves yet.
pub(super) fn skips_missing(application: &Application) -> bool {
    SyncOptions::of(&application.spec).skip_dry_run_on_missing_resource
}

fn parameters(
    application: &Application,
    sources: &[ApplicationSource],
    owner: &Owner,
    project: Hash64,
    excluded: Hash64,
) -> Hash64 {
    Hash64::of_json(&serde_json::json!({
        "sources": sources,
        "destination": application.spec.destination,
        "owner": owner.instance,
        "project": project.to_string(),
        "projectName": application.spec.project,
        "excluded": excluded.to_string(),
        "skipsMissing": skips_missing(application),
        "allowEmpty": allows_empty(application),
    }))
}
