//! Health scripts in Argo CD's dialect of Lua: a global `obj` in, a table `{status, message}` out.
//!
//! Interpreters are kept with their compiled scripts and lent to one evaluation at a time. Each evaluation has an
//! environment of its own, a budget of instructions and a limit of memory, and sees the object and the clock it is given
//! and nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use mlua::chunk::ChunkMode;
use mlua::debug::HookTriggers;
use mlua::{Function, Lua, LuaOptions, LuaString, StdLib, Table, Value as LuaValue};
use serde_json::Value;

use super::lua_time;
use crate::model::{Health, HealthStatus};

/// What every script is given to work with.
const PRELUDE: &str = include_str!("prelude.lua");
/// How scripts are named in errors: `health.lua:3: …`.
const CHUNK: &str = "=health.lua";
/// Most bytes that an interpreter may hold, the object included.
const MEMORY: usize = 32 * 1024 * 1024;
/// Garbage above this is collected before an interpreter is put back.
const KEPT: usize = 4 * 1024 * 1024;
/// Instructions between two looks at the budget.
const SLICE: u32 = 10_000;
/// Slices of one evaluation: instructions that take about as long as the second that Argo CD allows.
const BUDGET: u32 = 2_000;
/// Interpreters of each kind that are kept for the next evaluation.
const IDLE: usize = 4;
/// Bytes of a message that are kept.
const MESSAGE: usize = 1024;

/// A health script and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Where it is from, for messages: the key of the ConfigMap, or the file.
    pub origin: String,
    /// The program.
    pub source: String,
    /// Whether it may use `string` and `math` (`useOpenLibs`).
    pub open_libraries: bool,
}

/// Scripts that can be evaluated, by number.
pub struct LuaEngine {
    scripts: Vec<Script>,
    /// Without and with open libraries.
    idle: [Mutex<Vec<Machine>>; 2],
}

/// An interpreter with the scripts that it has compiled.
struct Machine {
    lua: Lua,
    new_environment: Function,
    compiled: BTreeMap<usize, Function>,
    clock: Arc<AtomicI64>,
    spent: Arc<AtomicU32>,
}

impl std::fmt::Debug for LuaEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LuaEngine").field("scripts", &self.scripts).finish_non_exhaustive()
    }
}

impl LuaEngine {
    /// Takes scripts over. The second value says of each that can't be compiled why; such a script's verdict is Unknown.
    pub fn new(scripts: Vec<Script>) -> (Self, Vec<(usize, String)>) {
        let engine = Self { scripts, idle: [Mutex::default(), Mutex::default()] };
        let problems = (0..engine.scripts.len())
            .filter_map(|number| engine.with_machine(number, Machine::compile).err().map(|error| (number, error)))
            .collect();
        (engine, problems)
    }

    /// The scripts.
    pub fn scripts(&self) -> &[Script] {
        &self.scripts
    }

    /// The verdict of a script on an object; `None` when the script has none to give (it returned nothing, or an empty
    /// table).
    pub fn assess(&self, number: usize, object: &Value, now: Timestamp) -> Option<Health> {
        let verdict = self.with_machine(number, |machine, number, script| {
            machine.compile(number, script)?;
            machine.evaluate(number, object, now)
        });
        match verdict {
            Ok(health) => health,
            Err(problem) => {
                let origin = self.scripts.get(number).map_or("the script", |script| script.origin.as_str());
                Some(Health::new(HealthStatus::Unknown, cut(format!("{origin}: {problem}"))))
            }
        }
    }

    fn with_machine<T>(
        &self,
        number: usize,
        work: impl FnOnce(&mut Machine, usize, &Script) -> Result<T, String>,
    ) -> Result<T, String> {
        let script = self.scripts.get(number).ok_or("there is no such script")?;
        let [closed, open] = &self.idle;
        let idle = if script.open_libraries { open } else { closed };
        let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut machine = match kept {
            Some(machine) => machine,
            None => Machine::new(script.open_libraries).map_err(|error| explain(&error))?,
        };
        let result = work(&mut machine, number, script);
        // An interpreter that can't free what it holds is not worth keeping.
        let usable = machine.lua.used_memory() < KEPT || machine.lua.gc_collect().is_ok();
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if usable && idle.len() < IDLE {
            idle.push(machine);
        }
        result
    }
}

impl Machine {
    fn new(open_libraries: bool) -> mlua::Result<Self> {
        let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, LuaOptions::default())?;
        let clock = Arc::new(AtomicI64::new(0));
        let spent = Arc::new(AtomicU32::new(0));
        let native = lua.create_table()?;
        let counted = Arc::clone(&spent);
        native.set("check", lua.create_function(move |_, ()| within_budget(counted.load(Ordering::Relaxed)))?)?;
        let now = Arc::clone(&clock);
        native.set(
            "time",
            lua.create_function(move |lua, fields| lua_time::time(lua, fields, now.load(Ordering::Relaxed)))?,
        )?;
        let now = Arc::clone(&clock);
        native.set(
            "date",
            lua.create_function(move |lua, arguments| lua_time::date(lua, arguments, now.load(Ordering::Relaxed)))?,
        )?;
        let prelude = lua.load(PRELUDE).set_name("=prelude").set_mode(ChunkMode::Text);
        let new_environment: Function = prelude.call((native, open_libraries))?;
        let counted = Arc::clone(&spent);
        lua.set_hook(HookTriggers::new().every_nth_instruction(SLICE), move |_, _| {
            within_budget(counted.fetch_add(1, Ordering::Relaxed) + 1)?;
            Ok(mlua::VmState::Continue)
        })?;
        lua.set_memory_limit(MEMORY)?;
        Ok(Self { lua, new_environment, compiled: BTreeMap::new(), clock, spent })
    }

    fn compile(&mut self, number: usize, script: &Script) -> Result<(), String> {
        if self.compiled.contains_key(&number) {
            return Ok(());
        }
        let chunk = self.lua.load(script.source.as_str()).set_name(CHUNK).set_mode(ChunkMode::Text);
        let function = chunk.into_function().map_err(|error| explain(&error))?;
        self.compiled.insert(number, function);
        Ok(())
    }

    fn evaluate(&self, number: usize, object: &Value, now: Timestamp) -> Result<Option<Health>, String> {
        let function = self.compiled.get(&number).ok_or("the script is not compiled")?;
        self.clock.store(now.as_second(), Ordering::Relaxed);
        self.spent.store(0, Ordering::Relaxed);
        let run = || -> mlua::Result<LuaValue> {
            let environment: Table = self.new_environment.call(())?;
            environment.raw_set("obj", to_lua(&self.lua, object, Part::Whole)?)?;
            function.set_environment(environment)?;
            function.call(())
        };
        let returned = run().map_err(|error| explain(&error))?;
        verdict(&returned)
    }
}

fn within_budget(spent: u32) -> mlua::Result<()> {
    if spent < BUDGET {
        return Ok(());
    }
    Err(mlua::Error::RuntimeError("it runs for too long: is there a loop without an end?".to_owned()))
}

/// What a script returned, as a verdict.
fn verdict(returned: &LuaValue) -> Result<Option<Health>, String> {
    let table = match returned {
        LuaValue::Table(table) => table,
        LuaValue::Nil => return Ok(None),
        other => return Err(format!("it must return a table with status and message, not a {}", other.type_name())),
    };
    if table.is_empty() {
        return Ok(None);
    }
    let field = |name: &str| table.raw_get::<LuaValue>(name).map_err(|error| explain(&error));
    let status = field("status")?;
    let status_text = status.as_string().map(LuaString::to_string_lossy).unwrap_or_default();
    let Some(known) = HealthStatus::named(&status_text) else {
        let returned = if status.is_string() { format!("`{status_text}`") } else { status.type_name().to_owned() };
        let names = HealthStatus::ALL.map(HealthStatus::as_str).join(", ");
        return Err(cut(format!("it returned an invalid health status: {returned} is none of {names}")));
    };
    let message = match field("message")? {
        LuaValue::Nil => String::new(),
        LuaValue::String(text) => text.to_string_lossy(),
        LuaValue::Integer(number) => number.to_string(),
        LuaValue::Number(number) => number.to_string(),
        LuaValue::Boolean(value) => value.to_string(),
        other => return Err(format!("it returned a message that is a {} and no text", other.type_name())),
    };
    Ok(Some(Health::new(known, cut(message))))
}

/// Which part of an object a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Metadata,
    Other,
}

/// Copies a value. `null` is nil, so that a field with it is absent; whole numbers are integers, so that they print
/// without a fraction. `metadata.managedFields`, the bookkeeping of the API server, is left out: it is often larger than
/// all the rest.
fn to_lua(lua: &Lua, value: &Value, part: Part) -> mlua::Result<LuaValue> {
    Ok(match value {
        Value::Null => LuaValue::Nil,
        Value::Bool(value) => LuaValue::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => LuaValue::Integer(number),
            (None, Some(number)) => integral(number).map_or(LuaValue::Number(number), LuaValue::Integer),
            (None, None) => LuaValue::Nil,
        },
        Value::String(text) => LuaValue::String(lua.create_string(text)?),
        Value::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for item in items.iter().filter(|item| !item.is_null()) {
                table.raw_push(to_lua(lua, item, Part::Other)?)?;
            }
            LuaValue::Table(table)
        }
        Value::Object(fields) => {
            let table = lua.create_table_with_capacity(0, fields.len())?;
            for (name, field) in fields.iter().filter(|(_, field)| !field.is_null()) {
                let below = if part == Part::Whole && name == "metadata" { Part::Metadata } else { Part::Other };
                if part != Part::Metadata || name != "managedFields" {
                    table.raw_set(name.as_str(), to_lua(lua, field, below)?)?;
                }
            }
            LuaValue::Table(table)
        }
    })
}

/// A number with no fraction, where every such number is exact.
fn integral(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and within the bounds")]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// The error as a script's author knows it: place and sentence, without the interpreter's own stack.
fn explain(error: &mlua::Error) -> String {
    let text = match error {
        mlua::Error::CallbackError { cause, .. } => return explain(cause),
        mlua::Error::SyntaxError { message, .. } | mlua::Error::RuntimeError(message) => message.clone(),
        mlua::Error::MemoryError(_) => {
            format!("it needs more memory than the {} MiB that a script may use", MEMORY / 1024 / 1024)
        }
        other => other.to_string(),
    };
    let text = text.split("\nstack traceback:").next().unwrap_or_default().trim();
    cut(text.to_owned())
}

/// Keeps a text within the length of a message.
fn cut(mut text: String) -> String {
    if text.len() > MESSAGE {
        let end = (0..=MESSAGE).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
#[path = "lua_tests.rs"]
mod tests;
