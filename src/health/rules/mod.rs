//! Health rules that users give: for one Application or for all, in CEL or in Lua.
//!
//! The first that is there for a kind tells: the Application's expressions, the fleet's expressions, the fleet's scripts,
//! the built-in rules. An object that is being deleted is Progressing before any of them. A user's rule comes before the
//! check that the status is about the current generation, since it may be about objects whose controller reports none;
//! a rule that needs the check makes it: `status.observedGeneration == metadata.generation`.

mod expressions;
mod lua;
mod lua_time;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use super::{AssessContext, assess, is_assessed};
use crate::api::HealthCheckExpression;
use crate::customizations::{Customizations, KindPattern, Problem};
use crate::model::{GroupKind, Health, INSTANCE_LABEL, InstanceId};

pub use expressions::HealthExpressions;
pub use lua::{LuaEngine, Script};

/// Rules for all Applications, compiled.
#[derive(Debug)]
pub struct FleetRules {
    expressions: BTreeMap<GroupKind, HealthExpressions>,
    /// The kinds of each script of the engine, in the order in which they count.
    scripts: Vec<KindPattern>,
    engine: LuaEngine,
}

impl Default for FleetRules {
    fn default() -> Self {
        Self { expressions: BTreeMap::new(), scripts: Vec::new(), engine: LuaEngine::new(Vec::new()).0 }
    }
}

impl FleetRules {
    /// Compiles the rules. One that can't be compiled is reported, and its verdict is Unknown.
    pub fn compile(customizations: &Customizations) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut expressions = BTreeMap::new();
        for given in &customizations.health_expressions {
            let (rule, problem) = HealthExpressions::compile(&given.rule);
            problems.extend(problem.map(|problem| Problem::new(&given.origin, problem.to_string())));
            expressions.insert(rule.kind.clone(), rule);
        }
        let given = &customizations.health_scripts;
        let (engine, broken) = LuaEngine::new(
            given
                .iter()
                .map(|script| Script {
                    origin: script.origin.clone(),
                    source: script.source.clone(),
                    open_libraries: script.open_libraries,
                })
                .collect(),
        );
        problems.extend(
            broken
                .into_iter()
                .filter_map(|(number, message)| Some(Problem::new(&engine.scripts().get(number)?.origin, message))),
        );
        let scripts = given.iter().map(|script| script.kinds.clone()).collect();
        (Self { expressions, scripts, engine }, problems)
    }

    fn has_rule(&self, kind: &GroupKind) -> bool {
        self.expressions.contains_key(kind) || self.script_of(kind).is_some()
    }

    fn script_of(&self, kind: &GroupKind) -> Option<usize> {
        self.scripts.iter().position(|pattern| pattern.matches(&kind.group, &kind.kind))
    }

    fn assess(&self, kind: &GroupKind, object: &Value, context: &AssessContext) -> Option<Health> {
        if let Some(rule) = self.expressions.get(kind) {
            return Some(rule.assess(object));
        }
        self.engine.assess(self.script_of(kind)?, object, context.now)
    }

    /// Whether another set of rules says the same about a kind.
    fn agrees(&self, other: &Self, kind: &GroupKind) -> bool {
        fn script<'a>(rules: &'a FleetRules, kind: &GroupKind) -> Option<&'a Script> {
            rules.engine.scripts().get(rules.script_of(kind)?)
        }
        self.expressions.get(kind) == other.expressions.get(kind) && script(self, kind) == script(other, kind)
    }
}

/// Rules of one Application, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationRules {
    expressions: BTreeMap<GroupKind, HealthExpressions>,
    problems: Vec<String>,
}

impl ApplicationRules {
    /// Compiles `spec.healthCheckExprs`; of several rules for one kind the first counts.
    pub fn compile(rules: &[HealthCheckExpression]) -> Self {
        let mut problems = Vec::new();
        let mut expressions = BTreeMap::new();
        for given in rules {
            let (rule, problem) = HealthExpressions::compile(given);
            let kind = rule.kind.clone();
            problems.extend(problem.map(|problem| format!("spec.healthCheckExprs, {kind}: {problem}")));
            match expressions.entry(kind) {
                Entry::Occupied(first) => {
                    let kind = first.key();
                    problems.push(format!("spec.healthCheckExprs has more than one rule for {kind}; the first counts"));
                }
                Entry::Vacant(place) => {
                    place.insert(rule);
                }
            }
        }
        Self { expressions, problems }
    }

    /// What is wrong with the rules, with kind and expression.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Kinds for which this and another set of rules differ.
    fn differing(&self, other: &Self) -> BTreeSet<GroupKind> {
        let all = self.expressions.keys().chain(other.expressions.keys());
        all.filter(|kind| self.expressions.get(kind) != other.expressions.get(kind)).cloned().collect()
    }
}

/// All rules in force. Readers never wait for a compilation.
#[derive(Debug, Default)]
pub struct Rules {
    fleet: RwLock<Arc<FleetRules>>,
    applications: RwLock<BTreeMap<InstanceId, Arc<ApplicationRules>>>,
}

impl Rules {
    /// The verdict on an object, by the first rule that is there for it.
    pub fn assess(&self, kind: &GroupKind, object: &Value, context: &AssessContext) -> Option<Health> {
        self.by_user(kind, object, context).or_else(|| assess(object, context))
    }

    /// The verdict of a user's rule, if there is one for the object and it has a verdict.
    pub fn by_user(&self, kind: &GroupKind, object: &Value, context: &AssessContext) -> Option<Health> {
        if object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()) {
            return None;
        }
        let own = self.of_instance(object);
        if let Some(rule) = own.as_ref().and_then(|own| own.expressions.get(kind)) {
            return Some(rule.assess(object));
        }
        let fleet = Arc::clone(&self.fleet.read().unwrap_or_else(PoisonError::into_inner));
        fleet.assess(kind, object, context)
    }

    /// Whether objects of a kind have to be read whole to know their health.
    pub fn has_health(&self, kind: &GroupKind) -> bool {
        is_assessed(&kind.group, &kind.kind)
            || self.fleet.read().unwrap_or_else(PoisonError::into_inner).has_rule(kind)
            || self
                .applications
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .values()
                .any(|rules| rules.expressions.contains_key(kind))
    }

    /// Replaces the rules for all Applications, and returns a test for the kinds that have to be assessed again.
    pub fn set_fleet(&self, rules: FleetRules) -> impl Fn(&GroupKind) -> bool + use<> {
        let new = Arc::new(rules);
        let old = {
            let mut fleet = self.fleet.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *fleet, Arc::clone(&new))
        };
        move |kind| !new.agrees(&old, kind)
    }

    /// Replaces the rules of one Application (`None`: it has none, or is gone), and returns the kinds that have to be
    /// assessed again.
    pub fn set_application(&self, instance: InstanceId, rules: Option<ApplicationRules>) -> BTreeSet<GroupKind> {
        let new = rules.unwrap_or_default();
        let mut applications = self.applications.write().unwrap_or_else(PoisonError::into_inner);
        let old = if new == ApplicationRules::default() {
            applications.remove(&instance)
        } else {
            applications.insert(instance, Arc::new(new.clone()))
        };
        new.differing(&old.unwrap_or_default())
    }

    /// What is wrong with the rules of an Application, for its warnings.
    pub fn problems_of(&self, instance: &InstanceId) -> Vec<String> {
        let applications = self.applications.read().unwrap_or_else(PoisonError::into_inner);
        applications.get(instance).map(|rules| rules.problems.clone()).unwrap_or_default()
    }

    fn of_instance(&self, object: &Value) -> Option<Arc<ApplicationRules>> {
        let applications = self.applications.read().unwrap_or_else(PoisonError::into_inner);
        if applications.is_empty() {
            return None;
        }
        let label = object.get("metadata")?.get("labels")?.get(INSTANCE_LABEL)?.as_str()?;
        applications.get(&InstanceId::from_label(label)).cloned()
    }
}

#[cfg(test)]
mod tests;
