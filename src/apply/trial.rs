//! Trying a whole change on the server without writing any of it.

use std::sync::Arc;

use futures::StreamExt as _;

use super::applier::{Applier, Mode};
use super::options::{ApplyOptions, Validation};
use crate::desired::DesiredObject;
use crate::preflight::{Change, PreflightReport, Refusal, Refused, Unverified, Verdict, verdict};

/// Trials of one change in flight; the limit of requests in flight is shared by all.
const IN_FLIGHT: usize = 32;

/// One object to try.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The object.
    pub object: Arc<DesiredObject>,
    /// How it will be applied. Its mode has no effect: a trial never writes.
    pub options: ApplyOptions,
    /// Whether an object of a kind that nobody serves yet passes unseen (`SkipDryRunOnMissingResource`).
    pub skips_missing: bool,
    /// Whether the object is made anew whatever stands in its place, as those of hooks are. It may be without a name.
    pub is_made_anew: bool,
}

impl Applier {
    /// Tries every object on the server. Nothing is written. A failure to reach the server is a refusal with the reason of that
    /// failure: nothing is known then.
    pub async fn preflight(&self, trials: Vec<Trial>, change: &Change) -> PreflightReport {
        let verdicts: Vec<_> = futures::stream::iter(trials)
            .map(|trial| async move {
                let found = self.try_one(&trial, change).await;
                (trial.object, found)
            })
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        let mut report = PreflightReport::default();
        for (object, verdict) in verdicts {
            let key = object.key.clone();
            match verdict {
                Verdict::Verified => report.verified += 1,
                Verdict::Unverified(why) => report.unverified.push(Unverified { key, why }),
                Verdict::Refused(Refusal { reason, message }) => {
                    report.refused.push(Refused { key, reason, message: format!("{}: {message}", object.origin) });
                }
            }
        }
        report.sort();
        report
    }

    async fn try_one(&self, trial: &Trial, change: &Change) -> Verdict {
        let Trial { object, options, skips_missing, is_made_anew } = trial;
        let strict = options.validation == Validation::Strict;
        let options = ApplyOptions { mode: Mode::DryRun, known_resource_version: None, ..options.clone() };
        let tried = if *is_made_anew {
            self.would_create(&object.key, &object.gvk, &object.body, options.validation).await
        } else {
            self.apply_with(&object.key, &object.gvk, object.body.clone(), &options).await.map(|_| ())
        };
        let tried = tried.map_err(|error| Refusal { reason: error.reason, message: error.message });
        verdict(object, tried, change, strict, *skips_missing)
    }
}
