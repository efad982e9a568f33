//! CEL expressions over JSON values: compiled once, bounded in size, depth and cost.
//!
//! The language is the one that Flux offers for health checks: the standard functions and macros, optional syntax
//! (`a.?b.orValue(c)`) and the string functions. Nothing outside of the variables can be read.

mod cost;
mod variables;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError, IdedExpr, Value as CelValue};
use serde_json::Value;
use thiserror::Error;

use variables::Extent;

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 4096;
/// The deepest nesting. Evaluation takes stack for each level.
const MAX_DEPTH: usize = 24;
/// Names of fields that every object may have. An object without one of them has it empty, so that `has(status.x)` is
/// false and not an error.
const USUAL_FIELDS: [&str; 6] = ["metadata", "spec", "status", "data", "binaryData", "stringData"];
/// Names under which the whole object can be reached.
const WHOLE: [&str; 2] = ["object", "self"];

/// The functions that expressions may call.
static FUNCTIONS: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    // Fails only for a function that is declared twice, which no two of these are; a test calls one of each.
    let _ = environment.add_extension(cel::extensions::strings);
    Arc::new(environment)
});

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExpressionError {
    /// The text is no expression.
    #[error("`{text}` is no CEL expression: {problem} (line {line}, column {column})")]
    Parse {
        /// The expression.
        text: String,
        /// What is wrong.
        problem: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The text is longer than [`MAX_LENGTH`].
    #[error("an expression has {length} bytes, the limit is {MAX_LENGTH}: `{beginning}…`")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// How it begins.
        beginning: String,
    },
    /// The expression nests too deeply.
    #[error("`{text}` nests deeper than {MAX_DEPTH} levels; split it")]
    TooDeep {
        /// The expression.
        text: String,
    },
    /// A field that the expression reads is not there. A later state of the object may have it.
    #[error("`{text}` reads `{field}`, which is not there; guard it with has()")]
    FieldMissing {
        /// The expression.
        text: String,
        /// The last part of its path.
        field: String,
    },
    /// Evaluation failed.
    #[error("`{text}` can't be evaluated: {problem}")]
    Evaluate {
        /// The expression.
        text: String,
        /// What went wrong.
        problem: String,
    },
    /// The value is neither true nor false.
    #[error("`{text}` is a {kind} and must be true or false")]
    NotBoolean {
        /// The expression.
        text: String,
        /// The type of its value.
        kind: String,
    },
    /// Evaluation over this value could take too long or too much memory.
    #[error("`{text}` would take too long or too much memory here: nest fewer loops, or loop over a shorter list")]
    TooCostly {
        /// The expression.
        text: String,
    },
}

/// A compiled condition: an expression that is true or false.
#[derive(Clone, Debug)]
pub struct Predicate {
    text: String,
    tree: Arc<IdedExpr>,
    /// Names that the expression reads, its own loop variables among them.
    names: BTreeSet<String>,
}

impl Predicate {
    /// Compiles an expression. Costs about as much as parsing a few lines of JSON; keep the result.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MAX_LENGTH {
            let beginning = text.chars().take(60).collect();
            return Err(ExpressionError::TooLong { length: text.len(), beginning });
        }
        let tree =
            PrattParser::new().enable_optional_syntax(true).parse(text).map_err(|errors| parse_error(text, &errors))?;
        if !cost::is_shallow(&tree, MAX_DEPTH) {
            return Err(ExpressionError::TooDeep { text: text.to_owned() });
        }
        let names = tree.references().variables().into_iter().map(str::to_owned).collect();
        Ok(Self { text: text.to_owned(), tree: Arc::new(tree), names })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is true of an object. The fields of the object are variables (`status.phase`), and the whole object is
    /// `object` and `self`.
    pub fn holds_for(&self, object: &Value) -> Result<bool, ExpressionError> {
        let empty = Value::Object(serde_json::Map::new());
        let mut variables: Vec<(&str, &Value)> = Vec::new();
        for name in &self.names {
            match object.get(name.as_str()) {
                Some(value) => variables.push((name, value)),
                None if WHOLE.contains(&name.as_str()) => variables.push((name, object)),
                None if USUAL_FIELDS.contains(&name.as_str()) => variables.push((name, &empty)),
                None => {}
            }
        }
        self.holds(&variables)
    }

    /// Whether it is true with these variables. Only those that the expression names cost anything.
    pub fn holds(&self, variables: &[(&str, &Value)]) -> Result<bool, ExpressionError> {
        let used: Vec<(&str, &Value)> =
            variables.iter().filter(|(name, _)| self.names.contains(*name)).copied().collect();
        let extents: Vec<(&str, Extent)> = used.iter().map(|(name, value)| (*name, Extent::of(value))).collect();
        if !cost::is_affordable(&self.tree, &extents) {
            return Err(ExpressionError::TooCostly { text: self.text.clone() });
        }
        let mut context = Context::with_env(Arc::clone(&FUNCTIONS));
        for (name, value) in used {
            context.add_variable_from_value(name, variables::to_cel(value));
        }
        match CelValue::resolve(&self.tree, &context) {
            Ok(CelValue::Bool(value)) => Ok(value),
            Ok(other) => {
                Err(ExpressionError::NotBoolean { text: self.text.clone(), kind: other.type_of().to_string() })
            }
            Err(ExecutionError::NoSuchKey(field)) => {
                Err(ExpressionError::FieldMissing { text: self.text.clone(), field: field.to_string() })
            }
            Err(error) => {
                // Some errors print the values they are about, which may be long and, of a Secret, confidential.
                Err(ExpressionError::Evaluate { text: self.text.clone(), problem: problem_of(&error) })
            }
        }
    }
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Predicate {}

fn parse_error(text: &str, errors: &cel::ParseErrors) -> ExpressionError {
    let first = errors.errors.first();
    let number = |value: isize| usize::try_from(value).unwrap_or_default().max(1);
    ExpressionError::Parse {
        text: text.to_owned(),
        problem: first.map_or_else(|| "it can't be parsed".to_owned(), |error| error.msg.trim().to_owned()),
        line: first.map_or(1, |error| number(error.pos.0)),
        column: first.map_or(1, |error| number(error.pos.1)),
    }
}

/// What went wrong, without the values that were at hand.
fn problem_of(error: &ExecutionError) -> String {
    match error {
        ExecutionError::UnsupportedTargetType { target } => {
            format!("a function does not take a {}", target.type_of())
        }
        ExecutionError::NotSupportedAsMethod { method, target } => format!("a {} has no {method}()", target.type_of()),
        ExecutionError::UnsupportedKeyType(value) => format!("a {} can't be a key", value.type_of()),
        ExecutionError::ValuesNotComparable(left, right) => {
            format!("a {} can't be compared with a {}", left.type_of(), right.type_of())
        }
        ExecutionError::UnsupportedBinaryOperator(operator, left, right)
        | ExecutionError::Overflow(operator, left, right) => {
            format!("`{operator}` of a {} and a {} has no value", left.type_of(), right.type_of())
        }
        ExecutionError::UnsupportedIndex(index, value) => {
            format!("a {} can't be indexed by a {}", value.type_of(), index.type_of())
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "an index is beyond the end of its list".to_owned(),
        ExecutionError::DuplicateKey(_) => "a map has the same key twice".to_owned(),
        ExecutionError::FunctionError { function, .. } => format!("{function}() failed"),
        // The remaining ones name functions, variables and types.
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
