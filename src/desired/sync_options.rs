//! Sync options of a whole Application (`syncPolicy.syncOptions`, and `operation.sync.syncOptions` besides).

use crate::api::ApplicationSpec;
use crate::model::Consent;

/// How deletions spread to owned objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrunePropagation {
    /// Owned objects first.
    #[default]
    Foreground,
    /// Owned objects afterwards.
    Background,
    /// Owned objects stay.
    Orphan,
}

/// What an Application's sync options say. Options of a single object win where both exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncOptions {
    /// `Validate`: whether the server refuses unknown and duplicate fields. On.
    pub validate: bool,
    /// `SkipDryRunOnMissingResource`: whether an object of a kind that nobody serves yet is left for a later sync to try. Off.
    pub skip_dry_run_on_missing_resource: bool,
    /// `Prune=false|confirm`.
    pub prune: Consent,
    /// `Delete=false|confirm`.
    pub delete: Consent,
    /// `PruneLast`: whether prunes wait until PostSync hooks are done too; they always wait for the last wave. Off.
    pub prune_last: bool,
    /// `Replace`: whether objects are replaced instead of applied. Off.
    pub replace: bool,
    /// `Force`: whether what can't be changed is deleted and made again. Off.
    pub force: bool,
    /// `ClientSideApplyMigration`: whether fields of client-side tools are taken over before the first apply. On.
    pub client_side_apply_migration: bool,
    /// `ApplyOutOfSyncOnly`: always so; Argo CD's switch is accepted.
    pub apply_out_of_sync_only: bool,
    /// `CreateNamespace`. Off.
    pub create_namespace: bool,
    /// `PrunePropagationPolicy`.
    pub prune_propagation: PrunePropagation,
    /// `RespectIgnoreDifferences`: whether a sync keeps live values of fields whose differences are ignored. Off.
    pub respect_ignore_differences: bool,
    /// `FailOnSharedResource`: whether an object of another Application fails the sync before it begins. Off: the object
    /// alone is left out, and reported.
    pub fail_on_shared_resource: bool,
    /// `SelfHealHooks`: whether a self-healing sync runs hooks. Off.
    pub self_heal_hooks: bool,
    /// `HookDeletion=AfterSync`: whether `HookSucceeded` means the whole sync, as in Argo CD. Off.
    pub delete_hooks_after_sync: bool,
    /// What a person should know: options that have no effect or are not known.
    pub warnings: Vec<String>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            validate: true,
            skip_dry_run_on_missing_resource: false,
            prune: Consent::Given,
            delete: Consent::Given,
            prune_last: false,
            replace: false,
            force: false,
            client_side_apply_migration: true,
            apply_out_of_sync_only: true,
            create_namespace: false,
            prune_propagation: PrunePropagation::Foreground,
            respect_ignore_differences: false,
            fail_on_shared_resource: false,
            self_heal_hooks: false,
            delete_hooks_after_sync: false,
            warnings: Vec::new(),
        }
    }
}

impl SyncOptions {
    /// The options of an Application.
    pub fn of(spec: &ApplicationSpec) -> Self {
        Self::parse(spec.sync_options().iter().map(String::as_str))
    }

    /// Reads options as `Key=Value`; later ones win. Keys and values are read as Argo CD writes them.
    pub fn parse<'a>(options: impl IntoIterator<Item = &'a str>) -> Self {
        let mut parsed = Self::default();
        for option in options.into_iter().map(str::trim).filter(|option| !option.is_empty()) {
            if let Err(warning) = parsed.take(option) {
                parsed.warnings.push(warning);
            }
        }
        parsed
    }

    fn take(&mut self, option: &str) -> Result<(), String> {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let (key, value) = (key.trim(), value.trim());
        let switch = |value: &str| match value {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("sync option `{key}={other}`: the value must be true or false; it has no effect")),
        };
        match key {
            "Validate" => self.validate = switch(value)?,
            "SkipDryRunOnMissingResource" => self.skip_dry_run_on_missing_resource = switch(value)?,
            "Prune" => self.prune = consent(key, value)?,
            "Delete" => self.delete = consent(key, value)?,
            "PruneLast" => self.prune_last = switch(value)?,
            "Replace" => self.replace = switch(value)?,
            "Force" => self.force = switch(value)?,
            "ServerSideApply" => {
                if !switch(value)? {
                    return Err(
                        "sync option `ServerSideApply=false` has no effect: every apply is server-side".to_owned()
                    );
                }
            }
            "ClientSideApplyMigration" => self.client_side_apply_migration = switch(value)?,
            "ApplyOutOfSyncOnly" => {
                switch(value)?;
            }
            "CreateNamespace" => self.create_namespace = switch(value)?,
            "PrunePropagationPolicy" => {
                self.prune_propagation = match value {
                    "foreground" => PrunePropagation::Foreground,
                    "background" => PrunePropagation::Background,
                    "orphan" => PrunePropagation::Orphan,
                    other => {
                        return Err(format!(
                            "sync option `PrunePropagationPolicy={other}`: the value must be foreground, background or orphan; \
                             it has no effect"
                        ));
                    }
                }
            }
            "RespectIgnoreDifferences" => self.respect_ignore_differences = switch(value)?,
            "FailOnSharedResource" => self.fail_on_shared_resource = switch(value)?,
            "SelfHealHooks" => self.self_heal_hooks = switch(value)?,
            "HookDeletion" => {
                self.delete_hooks_after_sync = match value {
                    "AfterSync" => true,
                    "AfterHook" => false,
                    other => {
                        return Err(format!(
                            "sync option `HookDeletion={other}`: the value must be AfterHook or AfterSync; it has no effect"
                        ));
                    }
                }
            }
            _ => return Err(format!("sync option `{option}` is not known and has no effect")),
        }
        Ok(())
    }
}

/// Reads the value of `Prune` or `Delete`.
pub(super) fn consent(key: &str, value: &str) -> Result<Consent, String> {
    match value {
        "true" => Ok(Consent::Given),
        "false" => Ok(Consent::Refused),
        "confirm" => Ok(Consent::Needed),
        other => {
            Err(format!("sync option `{key}={other}`: the value must be true, false or confirm; it has no effect"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_argo_cd_is_read() {
        let options = [
            "Validate=false",
            "SkipDryRunOnMissingResource=true",
            "Prune=confirm",
            "Delete=false",
            "PruneLast=true",
            "Replace=true",
            "Force=true",
            "ServerSideApply=true",
            "ClientSideApplyMigration=false",
            "ApplyOutOfSyncOnly=true",
            "CreateNamespace=true",
            "PrunePropagationPolicy=background",
            "RespectIgnoreDifferences=true",
            "FailOnSharedResource=true",
            "SelfHealHooks=true",
            "HookDeletion=AfterSync",
        ];
        assert_eq!(
            SyncOptions::parse(options),
            SyncOptions {
                validate: false,
                skip_dry_run_on_missing_resource: true,
                prune: Consent::Needed,
                delete: Consent::Refused,
                prune_last: true,
                replace: true,
                force: true,
                client_side_apply_migration: false,
                apply_out_of_sync_only: true,
                create_namespace: true,
                prune_propagation: PrunePropagation::Background,
                respect_ignore_differences: true,
                fail_on_shared_resource: true,
                self_heal_hooks: true,
                delete_hooks_after_sync: true,
                warnings: Vec::new(),
            }
        );
    }

    #[test]
    fn an_option_without_effect_is_named_and_changes_nothing() {
        let parsed = SyncOptions::parse(["Prune=maybe", "ServerSideApply=false", "Speed=high", "Replace"]);
        assert_eq!(
            parsed,
            SyncOptions {
                warnings: vec![
                    "sync option `Prune=maybe`: the value must be true, false or confirm; it has no effect".into(),
                    "sync option `ServerSideApply=false` has no effect: every apply is server-side".into(),
                    "sync option `Speed=high` is not known and has no effect".into(),
                    "sync option `Replace=`: the value must be true or false; it has no effect".into(),
                ],
                ..SyncOptions::default()
            }
        );
    }
}
