//! What an expression could cost over values of a given size, reckoned before it is evaluated: evaluation can't be
//! interrupted.
//!
//! Every bound is an upper one. A loop runs at most as often as the longest list or map of what it loops over is long;
//! what it makes grows by at most one step's worth at each turn.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, LiteralValue};

use super::variables::Extent;

/// Most steps of one evaluation; some tenths of a second.
const MAX_STEPS: f64 = 3_000_000.0;
/// Most bytes that one evaluation may make.
const MAX_BYTES: f64 = 64.0 * 1024.0 * 1024.0;
/// Bytes that are copied or compared in about the time of one step.
const BYTES_PER_STEP: f64 = 256.0;
/// Elements of a list that are copied in about the time of one step.
const TURNS_PER_COPY: f64 = 32.0;
/// The largest value of an operator or function that gives only a number or a truth.
const SMALL: Bound = Bound { longest: 0.0, bytes: 32.0, largest: 32.0, steps: 0.0 };

/// Upper bounds of a value, and of what it takes to make it.
#[derive(Clone, Copy, Debug)]
struct Bound {
    /// Elements of the longest list or map in it.
    longest: f64,
    /// Bytes; within a loop, of its average turn.
    bytes: f64,
    /// Bytes; within a loop, of its worst turn.
    largest: f64,
    /// Steps to make it.
    steps: f64,
}

impl Bound {
    fn sum(parts: impl Iterator<Item = Self>) -> Self {
        let nothing = Self { longest: 0.0, bytes: 0.0, largest: 0.0, steps: 0.0 };
        parts.fold(nothing, |sum, part| Self {
            longest: sum.longest + part.longest,
            bytes: sum.bytes + part.bytes,
            largest: sum.largest + part.largest,
            steps: sum.steps + part.steps,
        })
    }

    const fn free(self) -> Self {
        Self { steps: 1.0, ..self }
    }
}

/// Whether an expression nests at most so deeply. Walks without recursion, since a chain of operators may be far deeper
/// than what a parser's own limit counts.
pub fn is_shallow(tree: &IdedExpr, limit: usize) -> bool {
    let mut open = vec![(tree, 1_usize)];
    while let Some((node, depth)) = open.pop() {
        if depth > limit {
            return false;
        }
        open.extend(children(node).into_iter().map(|child| (child, depth + 1)));
    }
    true
}

/// Whether an evaluation with variables of these extents stays within the limits.
pub fn is_affordable(tree: &IdedExpr, variables: &[(&str, Extent)]) -> bool {
    let mut scope: Vec<(&str, Bound)> = variables
        .iter()
        .map(|(name, extent)| {
            let Extent { longest, bytes } = *extent;
            (*name, Bound { longest, bytes, largest: bytes, steps: 1.0 })
        })
        .collect();
    let mut worst = 0.0;
    let whole = bound(tree, &mut scope, &mut worst);
    whole.steps <= MAX_STEPS && worst <= MAX_BYTES
}

/// The bound of one node. `worst` is the largest value that any node makes.
fn bound<'a>(node: &'a IdedExpr, scope: &mut Vec<(&'a str, Bound)>, worst: &mut f64) -> Bound {
    let found = match &node.expr {
        Expr::Unspecified => SMALL.free(),
        Expr::Literal(literal) => literal_bound(literal),
        Expr::Ident(name) => {
            scope.iter().rev().find(|(known, _)| known == name).map_or(SMALL, |(_, bound)| *bound).free()
        }
        Expr::Select(select) => {
            let operand = bound(&select.operand, scope, worst);
            // No part of a value is larger than the value.
            Bound { steps: operand.steps + 1.0, ..operand }
        }
        Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => {
            let parts: Vec<Bound> = children(node).into_iter().map(|child| bound(child, scope, worst)).collect();
            let sum = Bound::sum(parts.iter().copied());
            let longest = parts.iter().map(|part| part.longest).fold(0.0, f64::max);
            #[expect(clippy::cast_precision_loss, reason = "no expression is that long")]
            let own = parts.len() as f64;
            Bound { longest: longest.max(own), steps: sum.steps + own + 1.0, ..sum }
        }
        Expr::Call(call) => {
            let parts: Vec<Bound> = children(node).into_iter().map(|child| bound(child, scope, worst)).collect();
            call_bound(&call.func_name, &parts)
        }
        Expr::Comprehension(comprehension) => {
            let range = bound(&comprehension.iter_range, scope, worst);
            let start = bound(&comprehension.accu_init, scope, worst);
            let turns = range.longest;
            let element = Bound { bytes: range.bytes / turns.max(1.0), ..range };
            let depth = scope.len();
            scope.push((&comprehension.iter_var, element));
            if let Some(second) = &comprehension.iter_var2 {
                scope.push((second, element));
            }
            // What one turn adds. The macros name the accumulator once in a step, so that it grows by sums only.
            scope.push((&comprehension.accu_var, Bound { longest: 0.0, ..SMALL }));
            let step = bound(&comprehension.loop_step, scope, worst);
            let condition = bound(&comprehension.loop_cond, scope, worst);
            let result = bound(&comprehension.result, scope, worst);
            scope.truncate(depth);
            // `map` and `filter` may copy at each turn what they have so far.
            let copied = match comprehension.accu_init.expr {
                Expr::List(_) | Expr::Map(_) => (start.longest + turns) / TURNS_PER_COPY,
                _ => 0.0,
            };
            Bound {
                longest: (start.longest + turns).max(step.longest),
                bytes: start.bytes + turns * step.bytes,
                largest: start.largest + turns * step.largest.min(step.bytes * turns.max(1.0)),
                steps: range.steps + start.steps + turns * (step.steps + condition.steps + copied + 2.0) + result.steps,
            }
        }
    };
    *worst = worst.max(found.bytes);
    found
}

fn call_bound(name: &str, parts: &[Bound]) -> Bound {
    let sum = Bound::sum(parts.iter().copied());
    let steps = sum.steps + 1.0 + sum.bytes / BYTES_PER_STEP;
    let first = parts.first().copied().unwrap_or(SMALL);
    match name {
        // Each gives a number or a truth.
        "_&&_"
        | "_||_"
        | "!_"
        | "_==_"
        | "_!=_"
        | "_<_"
        | "_<=_"
        | "_>_"
        | "_>=_"
        | "@in"
        | "size"
        | "contains"
        | "startsWith"
        | "endsWith"
        | "matches"
        | "@not_strictly_false"
        | "int"
        | "uint"
        | "double"
        | "indexOf"
        | "lastIndexOf"
        | "_-_"
        | "_*_"
        | "_/_"
        | "_%_" => Bound { steps, ..SMALL },
        // Text that is put in at every place where another was, or between all parts.
        "replace" | "join" | "format" => {
            let inserted: f64 = parts.iter().skip(1).map(|part| part.largest).sum();
            let times = 1.0 + inserted;
            Bound { longest: 0.0, bytes: first.bytes * times, largest: first.largest * times, steps }
        }
        // Each character may become an element, with what an element takes.
        "split" => Bound { longest: first.largest, bytes: first.bytes * 17.0, largest: first.largest * 17.0, steps },
        _ => Bound { steps, ..sum },
    }
}

#[expect(clippy::cast_precision_loss, reason = "no expression is that long")]
fn literal_bound(literal: &LiteralValue) -> Bound {
    let bytes = match literal {
        LiteralValue::String(text) => 16.0 + text.inner().len() as f64,
        LiteralValue::Bytes(bytes) => 16.0 + bytes.inner().len() as f64,
        LiteralValue::Boolean(_)
        | LiteralValue::Double(_)
        | LiteralValue::Int(_)
        | LiteralValue::UInt(_)
        | LiteralValue::Null => 16.0,
    };
    Bound { longest: 0.0, bytes, largest: bytes, steps: 1.0 }
}

fn children(node: &IdedExpr) -> Vec<&IdedExpr> {
    fn entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
        match entry {
            EntryExpr::StructField(field) => vec![&field.value],
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        }
    }
    match &node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.iter().map(AsRef::as_ref).chain(&call.args).collect(),
        Expr::Comprehension(comprehension) => vec![
            &comprehension.iter_range,
            &comprehension.accu_init,
            &comprehension.loop_cond,
            &comprehension.loop_step,
            &comprehension.result,
        ],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|item| entry(&item.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(fields) => fields.entries.iter().flat_map(|item| entry(&item.expr)).collect(),
    }
}
