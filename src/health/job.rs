//! Job, CronJob.

use super::conditions::find;
use super::object::Object;
use super::{AssessContext, degraded, progressing, suspended};
use crate::model::Health;

/// Healthy only when complete. Conditions count by their value: a resumed job keeps `Suspended=False`.
pub fn job(object: Object<'_>, _context: &AssessContext) -> Health {
    let conditions = object.conditions();
    let holds = |kind: &str| find(&conditions, kind).filter(|condition| condition.is_true());
    if let Some(failed) = holds("Failed") {
        return degraded(failed.explain());
    }
    if holds("Complete").is_some() {
        return Health::healthy();
    }
    if let Some(failing) = holds("FailureTarget") {
        return degraded(failing.explain());
    }
    if object.is_true("/spec/suspend") || holds("Suspended").is_some() {
        return suspended("the job is suspended (spec.suspend)");
    }
    let succeeded = object.count("/status/succeeded");
    let (active, failed) = (object.count("/status/active"), object.count("/status/failed"));
    let progress = match object.int("/spec/completions") {
        Some(completions) => format!("{succeeded} of {completions} completions"),
        None => format!("{succeeded} succeeded"),
    };
    progressing(format!("{progress}, {active} active, {failed} failed"))
}

/// Healthy by existing: a failed run lies before the change that is being judged, so it must not hold it up.
pub fn cron_job(object: Object<'_>, _context: &AssessContext) -> Health {
    if object.is_true("/spec/suspend") {
        return suspended("no run is scheduled (spec.suspend)");
    }
    Health::healthy()
}
