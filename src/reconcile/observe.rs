//! The first half of a reconcile: from an Application's spec to the desired set, as far as it goes.

use std::sync::Arc;

use super::driver::Driver;
use super::memory::{Held, Memory, Refused};
use super::sources::{DEFAULT_INTERVAL, Interest, SourceState};
use crate::api::{Application, ApplicationSource, IN_CLUSTER_NAME, IN_CLUSTER_SERVER};
use crate::desired::{AssembleInput, DesiredSet, Problem, ProjectRules, assemble};
use crate::git::{RepositoryUrl, SnapshotLimits, Store};
use crate::metrics::{RenderResult, RenderTool};
use crate::model::{ApiSurface, Hash64, Manifest, Owner, Reason, Revision, parse_duration};
use crate::plan::Policy;
use crate::render::{RenderRequest, Rendered, Tool};
use crate::status::Failure;

/// Annotation that asks for a poll now; any new value asks again.
pub(super) const REFRESH_ANNOTATION: &str = "tidelock.dev/refresh";

/// How far the first half came.
pub(super) enum Desired {
    /// The source has not been looked at yet.
    Pending,
    /// There is no desired set.
    Failed(Failure),
    /// There is one.
    Known {
        /// The set with what it was made from.
        held: Held,
        /// Why the source could not be asked for a newer revision.
        source_failure: Option<Failure>,
    },
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure { reason: Reason::InvalidSpec, message: message.into() }
}

impl Driver {
    /// Finds the desired set of an Application, from memory when nothing it is made from has changed.
    pub(super) async fn observe(&self, application: &Application, owner: &Owner, memory: &mut Memory) -> Desired {
        match self.try_observe(application, owner, memory).await {
            Ok(desired) => desired,
            Err(failure) => Desired::Failed(failure),
        }
    }

    async fn try_observe(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
    ) -> Result<Desired, Failure> {
        let source = only_source(application)?;
        own_cluster(application)?;
        let (project, project_hash) = self.project(&application.spec.project)?;
        project
            .permits_source(&source.repo_url)
            .map_err(|denied| Failure { reason: Reason::NotPermitted, message: denied.to_string() })?;
        created_namespace_is_permitted(application, &project)?;
        let url = RepositoryUrl::parse(&source.repo_url)
            .map_err(|error| invalid(format!("spec.source.repoURL `{}`: {error}", source.repo_url)))?;
        let interval = application.spec.poll_interval.as_deref().and_then(parse_duration).unwrap_or(DEFAULT_INTERVAL);
        let target = source.target_revision.clone().unwrap_or_default();
        self.sources.set_interest(&owner.name, Some(&Interest { url, target, interval })).await?;
        self.take_refresh(application, owner, memory);

        let Some(SourceState { revision, failure, polls, store }) = self.sources.state(&owner.name) else {
            return Ok(Desired::Pending);
        };
        if polls == 0 {
            return Ok(Desired::Pending);
        }
        if let Some((token, number)) = &memory.refresh
            && polls >= *number
        {
            memory.handled_refresh.clone_from(token);
            memory.refresh = None;
        }
        let Some(revision) = revision else {
            return Err(failure.unwrap_or_else(|| Failure {
                reason: Reason::InternalError,
                message: "the source gave neither a revision nor a reason".to_owned(),
            }));
        };
        let parameters = parameters(application, source, owner, project_hash);
        let held = match &memory.held {
            Some(held) if held.revision == revision && held.parameters == parameters && self.still_current(held) => {
                held.clone()
            }
            _ => {
                let held =
                    self.render(application, source, owner, memory, &revision, parameters, &project, store).await?;
                memory.held = Some(held.clone());
                held
            }
        };
        Ok(Desired::Known { held, source_failure: failure })
    }

    /// Helm templates may ask which kinds are served; no other tool does.
    fn still_current(&self, held: &Held) -> bool {
        held.tool != Tool::Helm || held.surface == hash_of_surface(&self.surface.current())
    }

    fn take_refresh(&self, application: &Application, owner: &Owner, memory: &mut Memory) {
        let token = application.metadata.annotations.as_ref().and_then(|all| all.get(REFRESH_ANNOTATION));
        let Some(token) = token.filter(|token| **token != memory.handled_refresh) else { return };
        if memory.refresh.as_ref().is_none_or(|(pending, _)| pending != token)
            && let Some(number) = self.sources.poll(&owner.name)
        {
            memory.refresh = Some((token.clone(), number));
        }
    }

    fn project(&self, name: &str) -> Result<(ProjectRules, Hash64), Failure> {
        let name = if name.is_empty() { "default" } else { name };
        match self.projects.get(name) {
            Some(Ok(project)) => {
                let rules = ProjectRules::new(name, &project.spec, &[&self.namespace, "kube-system"]);
                let text = serde_json::to_vec(&project.spec).unwrap_or_default();
                Ok((rules, Hash64::of_bytes(&text)))
            }
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

    #[expect(clippy::too_many_arguments, reason = "everything a desired set is made from, each named once")]
    async fn render(
        &self,
        application: &Application,
        source: &ApplicationSource,
        owner: &Owner,
        memory: &mut Memory,
        revision: &Revision,
        parameters: Hash64,
        project: &ProjectRules,
        store: Arc<Store>,
    ) -> Result<Held, Failure> {
        let surface = self.surface.current();
        // Not worked out unless it is needed: a commit to a shared repository makes every one of its Applications look.
        let refused_for = || Hash64::of_bytes(format!("{parameters}{}", hash_of_surface(&surface)).as_bytes());
        if let Some(refused) = &memory.refused
            && refused.revision == *revision
            && refused.parameters == refused_for()
        {
            return Err(refused.failure.clone());
        }
        let rendered = self
            .render_files(application, source, owner, memory, revision, parameters, Arc::clone(&surface), store)
            .await;
        let result = match rendered {
            Ok(Files::Same(held)) => return Ok(held),
            Ok(Files::New(rendered)) => {
                let policy =
                    Policy::new(application.spec.sync_policy.as_ref().and_then(|policy| policy.automated.as_ref()));
                self.assemble(rendered, application, source, owner, policy, project).await
            }
            Err(failure) => Err(failure),
        };
        match result {
            Ok((desired, tool, inputs, warnings)) => {
                memory.refused = None;
                let hash = hash_of(&desired);
                let desired = Arc::new(desired);
                let surface = hash_of_surface(&surface);
                let reported = revision.to_string();
                Ok(Held {
                    parameters,
                    surface,
                    revision: revision.clone(),
                    reported,
                    inputs,
                    tool,
                    desired,
                    hash,
                    warnings,
                })
            }
            Err(failure) => {
                if failure.reason.is_terminal() {
                    memory.refused = Some(Refused {
                        parameters: refused_for(),
                        revision: revision.clone(),
                        failure: failure.clone(),
                    });
                }
                Err(failure)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "everything a render is made from, each named once")]
    async fn render_files(
        &self,
        application: &Application,
        source: &ApplicationSource,
        owner: &Owner,
        memory: &Memory,
        revision: &Revision,
        parameters: Hash64,
        surface: Arc<ApiSurface>,
        store: Arc<Store>,
    ) -> Result<Files, Failure> {
        // A render holds a file tree and a tool's output in memory; more of them than cores gain nothing.
        let permit = self.renders.acquire().await;
        let renderer = Arc::clone(&self.renderer);
        let held = memory.held.clone().filter(|held| held.parameters == parameters && self.still_current(held));
        let (revision, source, name) = (revision.clone(), source.clone(), owner.name.clone());
        let namespace = application.spec.destination.namespace.clone().unwrap_or_default();
        let metrics = Arc::clone(&self.metrics);
        let (clock, limits) = (self.clock.clone(), self.render_limits);
        let done = tokio::task::spawn_blocking(move || {
            let snapshot = store
                .snapshot(&revision, SnapshotLimits::default())
                .map_err(|error| Failure { reason: error.reason, message: error.to_string() })?;
            if let Some(mut held) = held
                && held.inputs.unchanged(&snapshot)
            {
                held.revision = revision;
                return Ok(Files::Same(held));
            }
            let request = RenderRequest {
                source: &source,
                application_name: &name,
                destination_namespace: &namespace,
                kube_version: surface.server_version.clone(),
                api_versions: surface.api_versions(),
                limits,
            };
            let started = clock.monotonic();
            let rendered = renderer.render(&snapshot, &request);
            let took = clock.monotonic().saturating_duration_since(started);
            match rendered {
                Ok(rendered) => {
                    metrics.rendered(metric_tool(rendered.tool), RenderResult::Done, Some(took));
                    Ok(Files::New(rendered))
                }
                Err(error) => {
                    metrics.rendered(RenderTool::Undetermined, RenderResult::Failed, Some(took));
                    Err(Failure { reason: error.reason, message: error.to_string() })
                }
            }
        })
        .await;
        drop(permit);
        done.unwrap_or_else(|_| {
            Err(Failure { reason: Reason::InternalError, message: "rendering panicked; see the log".to_owned() })
        })
    }

    async fn assemble(
        &self,
        rendered: Rendered,
        application: &Application,
        source: &ApplicationSource,
        owner: &Owner,
        policy: Policy,
        project: &ProjectRules,
    ) -> Result<(DesiredSet, Tool, crate::render::RenderInputs, Vec<String>), Failure> {
        let Rendered { manifests, warnings, tool, inputs } = rendered;
        if manifests.is_empty() && !policy.allow_empty {
            return Err(Failure {
                reason: Reason::EmptyRender,
                message: format!(
                    "the path `{}` renders no object; nothing is deleted. Set syncPolicy.automated.allowEmpty if that is meant",
                    source.path.as_deref().unwrap_or(".")
                ),
            });
        }
        let attempt = |manifests: Vec<Manifest>, surface: &ApiSurface| {
            let input = AssembleInput { owner, destination: &application.spec.destination, surface, project };
            assemble(manifests, input)
        };
        let surface = self.surface.current();
        let unknown = manifests.iter().any(|manifest| surface.resolve(&manifest.gvk()).is_none());
        let surface = if unknown {
            // The kind may have been installed since the last look.
            self.surface.refresh(super::driver::SURFACE_REFRESH).await.unwrap_or(surface)
        } else {
            surface
        };
        let desired = attempt(manifests, &surface).map_err(|problems| failure_of(&problems))?;
        Ok((desired, tool, inputs, warnings))
    }
}

enum Files {
    /// Nothing that was read has changed.
    Same(Held),
    /// Rendered anew.
    New(Rendered),
}

fn only_source(application: &Application) -> Result<&ApplicationSource, Failure> {
    if !application.spec.sources.is_empty() {
        return Err(Failure {
            reason: Reason::UnsupportedField,
            message: "spec.sources is not supported by this version: use spec.source, one Application for each source"
                .to_owned(),
        });
    }
    application.spec.source.as_ref().ok_or_else(|| invalid("spec.source is missing"))
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
pub(super) fn creates_namespace(application: &Application) -> bool {
    let options = application.spec.sync_policy.iter().flat_map(|policy| &policy.sync_options);
    options.map(|option| option.trim()).any(|option| option == "CreateNamespace=true")
}

fn created_namespace_is_permitted(application: &Application, project: &ProjectRules) -> Result<(), Failure> {
    let destination = &application.spec.destination;
    match destination.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        Some(namespace) if creates_namespace(application) => project
            .permits_namespace(destination, namespace)
            .map_err(|message| Failure { reason: Reason::NotPermitted, message }),
        _ => Ok(()),
    }
}

fn parameters(application: &Application, source: &ApplicationSource, owner: &Owner, project: Hash64) -> Hash64 {
    let allow_empty =
        Policy::new(application.spec.sync_policy.as_ref().and_then(|policy| policy.automated.as_ref())).allow_empty;
    Hash64::of_json(&serde_json::json!({
        "source": source,
        "destination": application.spec.destination,
        "owner": owner.instance,
        "project": project.to_string(),
        "allowEmpty": allow_empty,
    }))
}

fn hash_of_surface(surface: &ApiSurface) -> Hash64 {
    let mut text = surface.server_version.clone();
    for version in surface.api_versions() {
        text.push('\n');
        text.push_str(&version);
    }
    Hash64::of_bytes(text.as_bytes())
}

fn hash_of(desired: &DesiredSet) -> Hash64 {
    let mut text = String::with_capacity(desired.objects.len() * 64);
    for (key, object) in &desired.objects {
        text.push_str(&key.to_string());
        text.push_str(&object.hash.to_string());
        text.push('\n');
    }
    Hash64::of_bytes(text.as_bytes())
}

fn failure_of(problems: &[Problem]) -> Failure {
    let reason = problems.first().map_or(Reason::InternalError, |problem| problem.reason);
    let mut message: String =
        problems.iter().take(3).map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
    if problems.len() > 3 {
        message = format!("{message}; and {} more", problems.len() - 3);
    }
    Failure { reason, message }
}

fn metric_tool(tool: Tool) -> RenderTool {
    match tool {
        Tool::Directory => RenderTool::Directory,
        Tool::Kustomize => RenderTool::Kustomize,
        Tool::Helm => RenderTool::Helm,
    }
}
