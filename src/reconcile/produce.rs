//! From sources at their revisions to a desired set.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chart_dependencies::ChartWants;
use super::driver::Driver;
use super::location::SourceLocation;
use super::memory::{Held, Refused, TreeInputs};
use super::trees::{MOST_ROUNDS, Trees, Wants};
use crate::api::{Application, ApplicationSource};
use crate::desired::{
    AssembleInput, DesiredSet, Problem, ProjectRules, about_source, assemble, join_sources, outside_namespaces,
    source_label,
};
use crate::diff::leave_out;
use crate::git::{LfsMode, Mount, Mounted, SnapshotLimits, Store};
use crate::metrics::{RenderResult, RenderTool};
use crate::model::{ApiSurface, Hash64, Manifest, Owner, Reason, Revision};
use crate::plan::Policy;
use crate::render::{ChartArchives, References, RenderRequest, Rendered, Renderer, Tool};
use crate::status::Failure;

/// What a desired set is made from, revisions aside.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) application: &'a Application,
    pub(super) owner: &'a Owner,
    pub(super) sources: &'a [ApplicationSource],
    /// Whether they are `sources`, not `source`.
    pub(super) several: bool,
    pub(super) project: &'a ProjectRules,
    /// Hash of all of the spec that goes into the set, and of the project.
    pub(super) parameters: Hash64,
}

/// A source at its revision.
#[derive(Clone)]
pub(super) struct Pinned {
    pub(super) url: SourceLocation,
    pub(super) revision: Revision,
    /// The tag that a range of versions gave.
    pub(super) tag: Option<String>,
    pub(super) store: Arc<Store>,
}

impl Pinned {
    /// What people call the revision, where that is not its commit: a chart's version, an artifact's digest, as the import
    /// has noted it. Blocking.
    fn name(&self) -> Option<String> {
        match self.url {
            SourceLocation::Git(_) => None,
            SourceLocation::Helm { .. } | SourceLocation::Registry { .. } => {
                self.store.imported(&self.revision).map(|note| note.name)
            }
        }
    }
}

/// What one source renders to.
struct Part {
    manifests: Vec<Manifest>,
    warnings: Vec<String>,
    inputs: Vec<TreeInputs>,
    uses_surface: bool,
}

enum Files {
    /// Nothing that was read has changed.
    Same(Held),
    /// Rendered anew.
    New {
        parts: Vec<Part>,
        /// For each source, what was reported of it if nothing that was read of it has changed.
        unchanged: Vec<Option<String>>,
        /// What people call the revision of each source, where that is not its commit.
        names: Vec<Option<String>>,
    },
}

/// Why there is no desired set.
struct Stopped {
    failure: Failure,
    /// Whether the same sources and parameters give the same again. What couldn't be fetched may be there the next time.
    lasts: bool,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self { lasts: failure.reason.is_terminal() && failure.reason != Reason::LfsFailed, failure }
    }
}

/// Why a render ended without a result.
enum Unrendered {
    /// It asked for what has to be brought first.
    Lacking(Wants),
    /// The same for charts that other charts depend on.
    LackingCharts(ChartWants),
    Failed(Failure),
}

impl From<Failure> for Unrendered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Everything that rendering takes with it to its thread.
struct RenderJob {
    renderer: Arc<Renderer>,
    sources: Vec<ApplicationSource>,
    several: bool,
    pinned: Vec<Pinned>,
    trees: Trees,
    /// The archives that each source was given.
    charts: Vec<ChartArchives>,
    /// What is known already, of the same parameters and served kinds.
    known: Option<Held>,
    name: String,
    namespace: String,
    project: String,
    surface: Arc<ApiSurface>,
    limits: crate::render::RenderLimits,
    metrics: Arc<crate::metrics::Metrics>,
    clock: crate::clock::Clock,
}

impl Driver {
    /// Makes the desired set of sources at their revisions, or finds that the known one still holds.
    pub(super) async fn produce(
        &self,
        wanted: Wanted<'_>,
        pinned: Vec<Pinned>,
        known: Option<&Held>,
        refused: &mut Option<Refused>,
    ) -> Result<Held, Failure> {
        let revisions: Vec<Revision> = pinned.iter().map(|source| source.revision.clone()).collect();
        let mut trees = Trees::default();
        let mut parameters = wanted.parameters;
        for source in &pinned {
            let url = match &source.url {
                SourceLocation::Git(url) => url,
                // Neither has submodules or LFS.
                SourceLocation::Helm { .. } | SourceLocation::Registry { .. } => continue,
            };
            let options = self.sources.access.tree_options(url)?;
            if let Some(fingerprint) = options.fingerprint() {
                parameters = Hash64::of_bytes(format!("{parameters} {url} {fingerprint}").as_bytes());
            }
            trees.add(url, &source.revision, &source.store, options);
        }
        let wanted = Wanted { parameters, ..wanted };
        let known = known.filter(|held| held.parameters == wanted.parameters && self.still_current(held));
        if let Some(held) = known.filter(|held| held.revisions == revisions) {
            let tags = pinned.into_iter().map(|source| source.tag).collect();
            return Ok(Held { tags, ..held.clone() });
        }
        let surface = self.surface.current();
        // Not worked out unless it is needed: a commit to a shared repository makes every one of its Applications look.
        let refused_for = || Hash64::of_bytes(format!("{}{}", wanted.parameters, hash_of_surface(&surface)).as_bytes());
        if let Some(refused) = refused
            && refused.revisions == revisions
            && refused.parameters == refused_for()
        {
            return Err(refused.failure.clone());
        }
        match Box::pin(self.make(wanted, pinned, trees, known, &surface)).await {
            Ok(held) => {
                *refused = None;
                Ok(held)
            }
            Err(Stopped { failure, lasts }) => {
                if lasts {
                    *refused = Some(Refused { parameters: refused_for(), revisions, failure: failure.clone() });
                }
                Err(failure)
            }
        }
    }

    async fn make(
        &self,
        wanted: Wanted<'_>,
        pinned: Vec<Pinned>,
        trees: Trees,
        known: Option<&Held>,
        surface: &Arc<ApiSurface>,
    ) -> Result<Held, Stopped> {
        let primary = wanted.sources.iter().position(renders_something).unwrap_or(0);
        let revisions: Vec<Revision> = pinned.iter().map(|source| source.revision.clone()).collect();
        let tags = pinned.iter().map(|source| source.tag.clone()).collect();
        let (parts, unchanged, names) = match Box::pin(self.render_files(wanted, pinned, trees, known, surface)).await?
        {
            Files::Same(held) => return Ok(held),
            Files::New { parts, unchanged, names } => (parts, unchanged, names),
        };
        let (mut rendered, mut warnings, mut inputs, mut uses_surface) = (Vec::new(), Vec::new(), Vec::new(), false);
        for (index, part) in parts.into_iter().enumerate() {
            let label = source_label(wanted.sources, wanted.several, index);
            warnings.extend(part.warnings.iter().map(|warning| about_source(&label, warning)));
            inputs.extend(part.inputs);
            uses_surface |= part.uses_surface;
            rendered.push((label, part.manifests));
        }
        let manifests = if wanted.several {
            let namespace = wanted.application.spec.destination.namespace.as_deref().unwrap_or_default();
            let (manifests, shadowed) = join_sources(rendered, namespace, surface);
            warnings.extend(shadowed);
            manifests
        } else {
            rendered.into_iter().flat_map(|(_, manifests)| manifests).collect()
        };
        let desired = self.assemble(wanted, manifests).await?;
        let reported: Vec<String> = revisions
            .iter()
            .zip(unchanged)
            .zip(names)
            .map(|((revision, before), name)| before.or(name).unwrap_or_else(|| revision.to_string()))
            .collect();
        let missing = || Failure { reason: Reason::InvalidSpec, message: "spec.source is missing".to_owned() };
        Ok(Held {
            parameters: wanted.parameters,
            surface: hash_of_surface(surface),
            revision: revisions.get(primary).cloned().ok_or_else(missing)?,
            reported: reported.get(primary).cloned().ok_or_else(missing)?,
            reported_revisions: if wanted.several { reported } else { Vec::new() },
            revisions,
            tags,
            inputs,
            uses_surface,
            hash: hash_of(&desired),
            desired: Arc::new(desired),
            warnings,
        })
    }

    /// Whether a set may still hold for what the API server serves now.
    pub(super) fn still_current(&self, held: &Held) -> bool {
        !held.uses_surface || held.surface == hash_of_surface(&self.surface.current())
    }

    async fn render_files(
        &self,
        wanted: Wanted<'_>,
        pinned: Vec<Pinned>,
        mut trees: Trees,
        known: Option<&Held>,
        surface: &Arc<ApiSurface>,
    ) -> Result<Files, Stopped> {
        let mut charts: Vec<ChartArchives> = pinned.iter().map(|_| ChartArchives::default()).collect();
        for _ in 0..MOST_ROUNDS {
            let job = RenderJob {
                renderer: Arc::clone(&self.renderer),
                sources: wanted.sources.to_vec(),
                several: wanted.several,
                pinned: pinned.clone(),
                trees: trees.clone(),
                charts: charts.clone(),
                known: known.cloned(),
                name: wanted.owner.name.clone(),
                namespace: wanted.application.spec.destination.namespace.clone().unwrap_or_default(),
                project: project_name(wanted.application).to_owned(),
                surface: Arc::clone(surface),
                limits: self.render_limits,
                metrics: Arc::clone(&self.metrics),
                clock: self.clock.clone(),
            };
            // A render holds a file tree and a tool's output in memory; more of them than cores gain nothing.
            let permit = self.renders.acquire().await;
            let done = tokio::task::spawn_blocking(move || job.run()).await;
            drop(permit);
            let panicked =
                || Failure { reason: Reason::InternalError, message: "rendering panicked; see the log".to_owned() };
            match done.unwrap_or_else(|_| Err(panicked().into())) {
                Ok(files) => return Ok(files),
                Err(Unrendered::Failed(failure)) => return Err(failure.into()),
                Err(Unrendered::Lacking(wants)) => self
                    .sources
                    .bring(&mut trees, wants, wanted.project)
                    .await
                    .map_err(|failure| Stopped { failure, lasts: false })?,
                Err(Unrendered::LackingCharts(wants)) => {
                    for (index, lacking) in wants {
                        let (Some(archives), Some(source)) = (charts.get_mut(index), pinned.get(index)) else {
                            continue;
                        };
                        let helm = wanted.sources.get(index).and_then(|source| source.helm.as_ref());
                        let pass_credentials = helm.is_some_and(|helm| helm.pass_credentials);
                        let label = source_label(wanted.sources, wanted.several, index);
                        let brought = self
                            .sources
                            .bring_charts(archives, lacking, &source.revision, pass_credentials, wanted.project)
                            .await;
                        brought.map_err(|failure| Stopped {
                            failure: Failure { message: about_source(&label, &failure.message), ..failure },
                            lasts: false,
                        })?;
                    }
                }
            }
        }
        let message =
            format!("the files still refer to submodules, LFS files or charts after {MOST_ROUNDS} rounds of fetching");
        Err(Failure { reason: Reason::InputTooLarge, message }.into())
    }

    /// Makes a desired set of manifests.
    pub(super) async fn assemble(&self, wanted: Wanted<'_>, manifests: Vec<Manifest>) -> Result<DesiredSet, Failure> {
        if manifests.is_empty() && !allows_empty(wanted.application) {
            let what = match wanted.sources {
                [source] => format!("the path `{}` renders", source.path.as_deref().unwrap_or(".")),
                _ => "all sources together render".to_owned(),
            };
            return Err(Failure {
                reason: Reason::EmptyRender,
                message: format!(
                    "{what} no object; nothing is deleted. Set syncPolicy.automated.allowEmpty if that is meant"
                ),
            });
        }
        let surface = self.surface.current();
        let unknown = manifests.iter().any(|manifest| surface.resolve(&manifest.gvk()).is_none());
        let surface = if unknown {
            // The kind may have been installed since the last look.
            self.surface.refresh(super::driver::SURFACE_REFRESH).await.unwrap_or(surface)
        } else {
            surface
        };
        let destination = &wanted.application.spec.destination;
        let input = AssembleInput {
            owner: wanted.owner,
            destination,
            surface: &surface,
            project: wanted.project,
            skip_missing: super::observe::skips_missing(wanted.application),
        };
        let desired = assemble(manifests, input).map_err(|problems| failure_of(&problems))?;
        let fleet = self.fleet.current();
        let desired = leave_out(desired, |key| fleet.customizations.excludes(&key.group, &key.kind));
        let problems = self.destinations.limit().map(|limit| outside_namespaces(&desired, limit)).unwrap_or_default();
        if problems.is_empty() { Ok(desired) } else { Err(failure_of(&problems)) }
    }
}

impl RenderJob {
    fn run(self) -> Result<Files, Unrendered> {
        let snapshots = self.snapshots()?;
        let unchanged = |held: &Held, source: usize| {
            let (Some(pinned), Some(snapshot)) = (self.pinned.get(source), snapshots.get(source)) else { return false };
            let same_commit = held.revisions.get(source) == Some(&pinned.revision);
            same_commit
                || held
                    .inputs
                    .iter()
                    .filter(|tree| tree.source == source)
                    .all(|tree| !tree.uses_revision && tree.inputs.unchanged(&**snapshot))
        };
        let places = 0..self.pinned.len();
        let same = self.known.as_ref().filter(|held| {
            held.revisions.len() == self.pinned.len() && places.clone().all(|source| unchanged(held, source))
        });
        self.complete(&snapshots)?;
        if let Some(held) = same {
            let mut held = held.clone();
            held.revisions = self.pinned.iter().map(|source| source.revision.clone()).collect();
            held.tags = self.pinned.iter().map(|source| source.tag.clone()).collect();
            let primary = self.sources.iter().position(renders_something).unwrap_or(0);
            if let Some(revision) = held.revisions.get(primary) {
                held.revision = revision.clone();
            }
            return Ok(Files::Same(held));
        }
        let parts = places
            .clone()
            .map(|source| {
                self.render(source, &snapshots).map_err(|failure| {
                    let label = source_label(&self.sources, self.several, source);
                    let pointers = snapshots.iter().any(|snapshot| !snapshot.refused_pointers().is_empty());
                    let is_pointer = pointers && failure.reason == Reason::StoreFailed;
                    let reason = if is_pointer { Reason::LfsFailed } else { failure.reason };
                    Failure { reason, message: about_source(&label, &failure.message) }
                })
            })
            .collect::<Result<Vec<_>, Failure>>();
        // Of what was made without something that was asked for, not even the failure counts.
        self.complete(&snapshots)?;
        let lacking = self.charts.iter().map(ChartArchives::take_lacking).enumerate();
        let lacking: ChartWants = lacking.filter(|(_, lacking)| !lacking.is_empty()).collect();
        if !lacking.is_empty() {
            return Err(Unrendered::LackingCharts(lacking));
        }
        let parts = parts?;
        let unchanged = places
            .map(|source| {
                let held = self.known.as_ref().filter(|held| unchanged(held, source))?;
                held.reported_revisions.get(source).cloned()
            })
            .collect();
        let names = self.pinned.iter().map(Pinned::name).collect();
        Ok(Files::New { parts, unchanged, names })
    }

    /// Whether everything that was asked for was there.
    fn complete(&self, snapshots: &[Arc<Mounted>]) -> Result<(), Unrendered> {
        let mut wants = Wants::new();
        for (pinned, snapshot) in self.pinned.iter().zip(snapshots) {
            let lacking = snapshot.lacking();
            if let SourceLocation::Git(url) = &pinned.url
                && !lacking.is_empty()
            {
                wants.insert((url.clone(), pinned.revision.clone()), lacking);
            }
        }
        if wants.is_empty() { Ok(()) } else { Err(Unrendered::Lacking(wants)) }
    }

    /// The tree of each source. Sources at one commit share theirs.
    fn snapshots(&self) -> Result<Vec<Arc<Mounted>>, Failure> {
        let mut opened: BTreeMap<(&SourceLocation, &Revision), Arc<Mounted>> = BTreeMap::new();
        let mut all = Vec::new();
        for (index, Pinned { url, revision, store, .. }) in self.pinned.iter().enumerate() {
            let snapshot = if let Some(snapshot) = opened.get(&(url, revision)) {
                Arc::clone(snapshot)
            } else {
                let opened = match url {
                    SourceLocation::Git(url) => self.trees.open(url, revision, store),
                    SourceLocation::Helm { .. } | SourceLocation::Registry { .. } => {
                        let snapshot = store.snapshot(revision, SnapshotLimits::default());
                        snapshot
                            .map(|snapshot| Mounted::plain(Mount { snapshot: Arc::new(snapshot), lfs: LfsMode::Off }))
                    }
                };
                let snapshot = opened.map_err(|error| {
                    let label = source_label(&self.sources, self.several, index);
                    Failure { reason: error.reason, message: about_source(&label, &error.to_string()) }
                })?;
                Arc::new(snapshot)
            };
            opened.insert((url, revision), Arc::clone(&snapshot));
            all.push(snapshot);
        }
        Ok(all)
    }

    /// The place of the source with a `ref`.
    fn lender(&self, reference: &str) -> Option<usize> {
        self.sources.iter().position(|source| source.reference.as_deref() == Some(reference))
    }

    fn render(&self, index: usize, snapshots: &[Arc<Mounted>]) -> Result<Part, Failure> {
        let internal = || Failure {
            reason: Reason::InternalError,
            message: "a source has no tree; this is a fault of the operator".to_owned(),
        };
        let source = self.sources.get(index).ok_or_else(internal)?;
        let snapshot = snapshots.get(index).ok_or_else(internal)?;
        let pinned = self.pinned.get(index).ok_or_else(internal)?;
        let mut references = References::default();
        for (lender, snapshot) in self.sources.iter().zip(snapshots) {
            if let Some(name) = lender.reference.as_deref().filter(|name| self.several && !name.is_empty()) {
                references.insert(name, &**snapshot);
            }
        }
        if let Some(charts) = self.charts.get(index) {
            references.with_charts(charts);
        }
        let revision = pinned.name().unwrap_or_else(|| pinned.revision.to_string());
        let request = RenderRequest {
            source,
            application_name: &self.name,
            destination_namespace: &self.namespace,
            project: &self.project,
            revision: &revision,
            references,
            kube_version: self.surface.server_version.clone(),
            api_versions: self.surface.api_versions(),
            limits: self.limits,
        };
        let started = self.clock.monotonic();
        let rendered = self.renderer.render(&**snapshot, &request);
        let took = self.clock.monotonic().saturating_duration_since(started);
        let rendered = match rendered {
            Ok(rendered) => {
                self.metrics.rendered(metric_tool(rendered.tool), RenderResult::Done, Some(took));
                rendered
            }
            Err(error) => {
                self.metrics.rendered(RenderTool::Undetermined, RenderResult::Failed, Some(took));
                return Err(Failure { reason: error.reason, message: error.to_string() });
            }
        };
        let Rendered { manifests, warnings, tool: _, inputs, lent, uses_revision, uses_surface } = rendered;
        let mut all = vec![TreeInputs { source: index, inputs, uses_revision }];
        for (name, inputs) in lent {
            let source = self.lender(&name).ok_or_else(internal)?;
            all.push(TreeInputs { source, inputs, uses_revision: false });
        }
        Ok(Part { manifests, warnings, inputs: all, uses_surface })
    }
}

/// Whether a source is more than a name for others to take files from.
fn renders_something(source: &ApplicationSource) -> bool {
    let is_set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    !is_set(&source.reference) || is_set(&source.path) || is_set(&source.chart)
}

/// Whether an automatic sync may leave nothing.
pub(super) fn allows_empty(application: &Application) -> bool {
    Policy::new(application.spec.automated()).allow_empty
}

/// The project that an Application belongs to.
pub(super) fn project_name(application: &Application) -> &str {
    let name = application.spec.project.as_str();
    if name.is_empty() { "default" } else { name }
}

/// Hash of what the API server serves.
pub(super) fn hash_of_surface(surface: &ApiSurface) -> Hash64 {
    let mut text = surface.server_version.clone();
    for version in surface.api_versions() {
        text.push('\n');
        text.push_str(&version);
    }
    Hash64::of_bytes(text.as_bytes())
}

/// Hash of a whole set.
pub(super) fn hash_of(desired: &DesiredSet) -> Hash64 {
    let mut text = String::with_capacity(desired.objects.len() * 64);
    for hook in &desired.hooks {
        text.push_str(&hook.object.key.to_string());
        text.push_str(&hook.object.hash.to_string());
        text.push('\n');
    }
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
