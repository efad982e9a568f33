//! Results of renders, kept by what they were made from.
//!
//! In memory only, bounded by bytes; the entry that was not used for longest goes first. An entry is used only when the
//! tree at hand gives every answer that the render got, so that it needs no invalidation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::model::{Files, Hash64, Manifest};

use super::{RenderError, RenderInputs, RenderRequest, Rendered, Renderer, Tool};

/// Results of the same parameters with different inputs that are kept: enough for a rollback and a return.
const PER_PARAMETERS: usize = 4;

/// A result that several callers may hold.
#[derive(Clone, Debug)]
pub struct CachedRender {
    /// The manifests.
    pub manifests: Arc<Vec<Manifest>>,
    /// What the author of the files should know.
    pub warnings: Arc<Vec<String>>,
    /// What rendered them.
    pub tool: Tool,
    /// What was read.
    pub inputs: Arc<RenderInputs>,
    /// Whether the result came from the cache.
    pub reused: bool,
}

struct Slot {
    render: CachedRender,
    weight: usize,
    used: u64,
}

#[derive(Default)]
struct Slots {
    by_parameters: BTreeMap<Hash64, VecDeque<Slot>>,
    weight: usize,
    clock: u64,
}

/// The cache.
pub struct RenderCache {
    slots: Mutex<Slots>,
    capacity: usize,
}

impl RenderCache {
    /// A cache that holds about `capacity` bytes of manifests.
    pub fn new(capacity: usize) -> Self {
        Self { slots: Mutex::default(), capacity }
    }

    /// The result for a tree: a kept one when nothing that it read has changed, else a new one. Blocking.
    pub fn render(
        &self,
        renderer: &Renderer,
        files: &dyn Files,
        request: &RenderRequest<'_>,
    ) -> Result<CachedRender, RenderError> {
        if let Some(found) = self.find(request.parameters(), files) {
            return Ok(found);
        }
        renderer.render(files, request).map(|rendered| self.keep(rendered))
    }

    /// A kept result whose parameters and inputs are those of a request.
    pub fn find(&self, parameters: Hash64, files: &dyn Files) -> Option<CachedRender> {
        // The tree is asked without the lock: it may have to read from a disk.
        let candidates: Vec<CachedRender> =
            self.lock().by_parameters.get(&parameters)?.iter().map(|slot| slot.render.clone()).collect();
        let found = candidates.into_iter().find(|render| render.inputs.unchanged(files))?;
        let mut slots = self.lock();
        slots.clock += 1;
        let now = slots.clock;
        if let Some(row) = slots.by_parameters.get_mut(&parameters)
            && let Some(slot) = row.iter_mut().find(|slot| Arc::ptr_eq(&slot.render.inputs, &found.inputs))
        {
            slot.used = now;
        }
        Some(CachedRender { reused: true, ..found })
    }

    /// Keeps a result, unless it alone is larger than the cache.
    pub fn keep(&self, rendered: Rendered) -> CachedRender {
        let Rendered { manifests, warnings, tool, inputs } = rendered;
        let weight = manifests.iter().map(|manifest| weight(&manifest.object)).sum::<usize>() + inputs.weight();
        let parameters = inputs.parameters();
        let render = CachedRender {
            manifests: Arc::new(manifests),
            warnings: Arc::new(warnings),
            tool,
            inputs: Arc::new(inputs),
            reused: false,
        };
        if weight > self.capacity {
            return render;
        }
        let mut slots = self.lock();
        slots.clock += 1;
        let used = slots.clock;
        let row = slots.by_parameters.entry(parameters).or_default();
        let mut freed = 0;
        row.retain(|slot| {
            let same = slot.render.inputs == render.inputs;
            freed += if same { slot.weight } else { 0 };
            !same
        });
        row.push_back(Slot { render: render.clone(), weight, used });
        if row.len() > PER_PARAMETERS {
            freed += row.pop_front().map_or(0, |slot| slot.weight);
        }
        slots.weight = (slots.weight + weight).saturating_sub(freed);
        while slots.weight > self.capacity && slots.evict() {}
        render
    }

    /// Bytes held, roughly.
    pub fn weight(&self) -> usize {
        self.lock().weight
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Drops the entry that was not used for longest; false when there is none.
    fn evict(&mut self) -> bool {
        let oldest = self
            .by_parameters
            .iter()
            .flat_map(|(parameters, row)| row.iter().enumerate().map(|(index, slot)| (slot.used, *parameters, index)))
            .min();
        let Some((_, parameters, index)) = oldest else { return false };
        if let Some(row) = self.by_parameters.get_mut(&parameters) {
            self.weight = self.weight.saturating_sub(row.remove(index).map_or(0, |slot| slot.weight));
            if row.is_empty() {
                self.by_parameters.remove(&parameters);
            }
        }
        true
    }
}

/// Bytes of memory that a value takes, roughly: a node of a tree map or a vector, and its text.
fn weight(value: &Value) -> usize {
    const NODE: usize = 48;
    NODE + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| NODE + key.len() + weight(value)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Origin;
    use crate::render::RecordingFiles;
    use crate::render::memory::MemoryFiles;

    fn tree(content: &str) -> MemoryFiles {
        MemoryFiles::new().file("app/a.yaml", content)
    }

    fn rendered(parameters: u64, content: &str) -> Rendered {
        let files = tree(content);
        let recording = RecordingFiles::new(&files);
        recording.read("app/a.yaml").unwrap();
        let manifest = Manifest { object: json!({"data": content}), origin: Origin::default() };
        Rendered {
            manifests: vec![manifest],
            warnings: Vec::new(),
            tool: Tool::Directory,
            inputs: recording.inputs(Hash64(parameters)),
        }
    }

    fn found(cache: &RenderCache, parameters: u64, content: &str) -> Option<Value> {
        let render = cache.find(Hash64(parameters), &tree(content))?;
        assert!(render.reused);
        Some(render.manifests[0].object["data"].clone())
    }

    #[test]
    fn a_result_is_found_by_parameters_and_by_what_was_read() {
        let cache = RenderCache::new(1 << 20);
        assert!(!cache.keep(rendered(1, "x")).reused);
        cache.keep(rendered(1, "y"));
        assert_eq!(found(&cache, 1, "x"), Some(json!("x")));
        assert_eq!(found(&cache, 1, "y"), Some(json!("y")));
        assert_eq!(found(&cache, 1, "z"), None);
        assert_eq!(found(&cache, 2, "x"), None);
    }

    #[test]
    fn keeping_the_same_result_twice_costs_once() {
        let cache = RenderCache::new(1 << 20);
        cache.keep(rendered(1, "x"));
        let once = cache.weight();
        cache.keep(rendered(1, "x"));
        assert_eq!(cache.weight(), once);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_the_bound_holds() {
        let probe = RenderCache::new(1 << 20);
        probe.keep(rendered(1, "x"));
        let cache = RenderCache::new(probe.weight() * 2);
        cache.keep(rendered(1, "x"));
        cache.keep(rendered(2, "x"));
        assert_eq!(found(&cache, 1, "x"), Some(json!("x")));
        cache.keep(rendered(3, "x"));
        assert_eq!(found(&cache, 2, "x"), None);
        assert_eq!(found(&cache, 1, "x"), Some(json!("x")));
        assert_eq!(found(&cache, 3, "x"), Some(json!("x")));
        assert!(cache.weight() <= probe.weight() * 2);
        cache.keep(rendered(4, &"x".repeat(10_000)));
        assert_eq!(found(&cache, 1, "x"), Some(json!("x")), "what is larger than the cache displaces nothing");
        for round in 0..10 {
            cache.keep(rendered(1, &format!("{round}")));
        }
        assert!(cache.weight() <= probe.weight() * 2);
    }
}
