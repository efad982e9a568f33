//! The Application that an offline verb is about: read from a file, or made up from the directory's name.

use std::path::{Path, PathBuf};

use super::OfflineError;
use crate::api::{Application, ApplicationSource, Automated, Destination, SyncPolicy};
use crate::cli::input;
use crate::desired::unsupported_fields;
use crate::model::{Manifest, Owner, Reason};

/// Namespace of an Application that names none: where the chart installs the controller.
const DEFAULT_NAMESPACE: &str = "tidelock";
/// Namespace of objects that name none, as kubectl has it.
const DEFAULT_DESTINATION: &str = "default";

/// An Application with at least one source.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) application: Application,
    /// Whether the source was made up here, so that nothing about it is stated.
    pub(super) is_default: bool,
    pub(super) warnings: Vec<String>,
}

impl Subject {
    /// Reads the Application from a file, or makes one up for a directory.
    pub(super) fn load(file: Option<&Path>, directory: &Path) -> Result<Self, OfflineError> {
        match file {
            Some(file) => read(file),
            None => Ok(default_for(directory)),
        }
    }

    pub(super) fn sources(&self) -> &[ApplicationSource] {
        self.application.spec.all_sources()
    }

    pub(super) fn name(&self) -> &str {
        self.application.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn project(&self) -> &str {
        match self.application.spec.project.as_str() {
            "" => "default",
            project => project,
        }
    }

    pub(super) fn owner(&self, installation: &str) -> Owner {
        let namespace = self.application.metadata.namespace.as_deref().unwrap_or_default();
        Owner::new(installation, namespace, self.name())
    }

    pub(super) fn destination_namespace(&self) -> &str {
        self.application.spec.destination.namespace.as_deref().unwrap_or_default()
    }
}

fn read(file: &Path) -> Result<Subject, OfflineError> {
    let name = file.display().to_string();
    let wrong = |problem: String| OfflineError::Application { name: name.clone(), problem };
    let is_application = |object: &Manifest| {
        let gvk = object.gvk();
        gvk.kind == "Application" && matches!(gvk.group.as_str(), "tidelock.dev" | "argoproj.io")
    };
    let mut found: Vec<Manifest> = input::objects(file)?.into_iter().filter(is_application).collect();
    let (Some(object), true) = (found.pop(), found.is_empty()) else {
        return Err(wrong(
            "one Application is wanted (apiVersion: tidelock.dev/v1alpha1, kind: Application)".to_owned(),
        ));
    };
    let mut application: Application = serde_json::from_value(object.object)
        .map_err(|error| wrong(format!("the Application can't be read: {error}")))?;
    if application.spec.all_sources().is_empty() {
        return Err(wrong("spec.source is missing".to_owned()));
    }
    application.metadata.namespace.get_or_insert_with(|| DEFAULT_NAMESPACE.to_owned());
    let warnings = unsupported_fields(&application)
        .into_iter()
        .map(|field| format!("{}: {field}", Reason::UnsupportedField))
        .collect();
    Ok(Subject { application, is_default: false, warnings })
}

fn default_for(directory: &Path) -> Subject {
    let real = std::fs::canonicalize(directory).unwrap_or_else(|_| PathBuf::from(directory));
    let name = real.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name: String = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let name = match name.trim_matches('-') {
        "" => "application",
        name => name,
    };
    let mut application = Application::default();
    application.spec.source = Some(ApplicationSource::default());
    application.metadata.name = Some(name.to_owned());
    application.metadata.namespace = Some(DEFAULT_NAMESPACE.to_owned());
    application.spec.destination =
        Destination { namespace: Some(DEFAULT_DESTINATION.to_owned()), ..Destination::default() };
    application.spec.sync_policy = Some(SyncPolicy {
        automated: Some(Automated { prune: Some(true), self_heal: Some(true), ..Automated::default() }),
        ..SyncPolicy::default()
    });
    Subject { application, is_default: true, warnings: Vec::new() }
}
