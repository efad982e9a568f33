//! jq path expressions of fields whose differences do not count.
//!
//! An expression comes from whoever writes an Application, so it must end and may not grow without bounds, with the same
//! outcome on every machine. There is no clock in it: what an expression produces is counted, and when it has produced
//! too much it is stopped, which no `try` of its own can hide. Whatever could go on without producing anything
//! (recursion, `repeat`, `until` …) or make much out of little in one step (`*`, `combinations`) is refused when the
//! expression is read, and so is everything that looks outside of the object (`input`, `env`, `now`, modules).

use std::cell::Cell;
use std::collections::BTreeSet;

use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};
use jaq_core::load::parse::{BinaryOp, Def, Parser, Pattern, Term};
use jaq_core::load::{Arena, File, Loader};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};
use jaq_core::{Bind, Compiler, Ctx, DataT, Exn, Filter, Native, Vars};
use jaq_json::Val;
use serde::Deserialize as _;
use serde_json::Value;

use super::Way;
use crate::diff::location;
use crate::model::Location;

/// The longest expression, in bytes.
const LONGEST: usize = 1024;
/// Most words and signs of an expression. What reads it and what runs it goes as deep as they are nested.
const MOST_TOKENS: usize = 200;
/// How deep brackets may be nested.
const DEEPEST: usize = 32;
/// How much an expression may produce on one object, in values and in pieces of 16 bytes of text. Many times what a
/// large object holds; reached within a second.
const BUDGET: u64 = 2_000_000;
/// Stands for the exit code of an expression that has produced too much.
const EXHAUSTED: i32 = 1;
/// The name that the expression gets. Nothing that is read can be called so.
const IGNORED: &str = "ignored_paths";
/// The filter that counts; the name can't be written in an expression.
const COUNT: &str = "!count";

/// Words and signs that begin something that holds what follows.
const NESTING: [&str; 9] = ["-", "if", "elif", "try", "def", "reduce", "foreach", "label", "as"];

/// Filters that need not end, or that make much out of little in one step.
const ENDLESS: [&str; 6] = ["repeat", "while", "until", "combinations", "walk", IGNORED];
/// Filters that look outside of the object or reach out of it.
const OUTSIDE: [&str; 17] = [
    "input",
    "inputs",
    "env",
    "now",
    "debug",
    "debug_empty",
    "stderr",
    "stderr_empty",
    "halt",
    "halt_error",
    "input_filename",
    "input_line_number",
    "localtime",
    "strflocaltime",
    "mktime",
    "get_search_list",
    "modulemeta",
];

/// Values are jq's; what they cost is counted in the data that is passed along.
struct Counted;

#[derive(Clone, Copy)]
struct Meter<'a> {
    table: &'a jaq_core::compile::Lut<Native<Counted>>,
    left: &'a Cell<u64>,
}

impl DataT for Counted {
    type V<'a> = Val;
    type Data<'a> = Meter<'a>;
}

impl<'a> jaq_core::data::HasLut<'a, Counted> for Meter<'a> {
    fn lut(&self) -> &'a jaq_core::compile::Lut<Native<Counted>> {
        self.table
    }
}

/// A jq path expression, ready to run.
pub(super) struct JqPath {
    filter: Filter<Counted>,
}

impl std::fmt::Debug for JqPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JqPath")
    }
}

impl JqPath {
    /// Reads an expression. The error says what is wrong with it.
    pub(super) fn compile(code: &str) -> Result<Self, String> {
        if code.len() > LONGEST {
            return Err(format!("it is {} bytes long; at most {LONGEST} are read", code.len()));
        }
        shallow(code)?;
        let tokens = Lexer::new(code).lex().map_err(|errors| {
            let first = errors.first().map(|(expected, found)| (expected.as_str(), shown(found)));
            let (expected, found) = first.unwrap_or(("an expression", "nothing".to_owned()));
            format!("expected {expected}, found {found}")
        })?;
        let (mut count, mut nesting) = (0, 0);
        for token in &tokens {
            measure(token, &mut count, &mut nesting);
        }
        if count > MOST_TOKENS || nesting > DEEPEST {
            return Err(format!(
                "it has {count} words and signs, {nesting} of which nest; at most {MOST_TOKENS} and {DEEPEST} are read"
            ));
        }
        let term = Parser::new(&tokens).parse(Parser::term).map_err(|errors| {
            let first =
                errors.first().map(|(expected, found)| (expected.as_str(), shown(Token::opt_as_str(*found, code))));
            let (expected, found) = first.unwrap_or(("an expression", "nothing".to_owned()));
            format!("expected {expected}, found {found}")
        })?;
        let counted = Rewrite::default().term(term)?;
        let own = Def { name: IGNORED, args: Vec::new(), body: counted };
        let defs = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs())
            .filter(|def| !OUTSIDE.contains(&def.name))
            .map(shorter_lived)
            .chain([own]);
        let funs = jaq_core::funs::<Counted>()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs())
            .filter(|(name, _, _)| !OUTSIDE.contains(name))
            .chain([counter()])
            .map(|(name, arguments, native)| -> (&str, _, _) { (name, arguments, native) });
        let arena = Arena::default();
        let main = File { code: "path(ignored_paths)", path: () };
        let modules = Loader::new(defs).load(&arena, main).map_err(|_| "it can't be loaded".to_owned())?;
        let filter = Compiler::default().with_funs(funs).compile(modules).map_err(|errors| {
            let unknown = errors.iter().flat_map(|(_, unknown)| unknown).next();
            unknown.map_or_else(
                || "it can't be compiled".to_owned(),
                |(name, kind)| format!("there is no {} `{name}`", kind.as_str()),
            )
        })?;
        Ok(Self { filter })
    }

    /// The ways to what the expression selects in an object. As in Argo CD nothing is selected when the expression fails,
    /// as `.a[]` does on an object whose `a` is no list. The error says that it produced too much.
    pub(super) fn locate(&self, object: &Value) -> Result<BTreeSet<Way>, String> {
        self.locate_within(object, BUDGET)
    }

    fn locate_within(&self, object: &Value, budget: u64) -> Result<BTreeSet<Way>, String> {
        let Ok(input) = Val::deserialize(object) else { return Ok(BTreeSet::new()) };
        let left = Cell::new(budget);
        let meter = Meter { table: &self.filter.lut, left: &left };
        let mut found = BTreeSet::new();
        for path in self.filter.id.run((Ctx::<Counted>::new(meter, Vars::new([])), input)) {
            match path {
                Ok(Val::Arr(steps)) => expand(object, &steps, &mut Vec::new(), &mut found),
                Ok(Val::Null | Val::Bool(_) | Val::Num(_) | Val::BStr(_) | Val::TStr(_) | Val::Obj(_)) => {}
                Err(exception) if exception.clone().get_halt().is_ok() => {
                    return Err("it produces too much on this object, so it was stopped".to_owned());
                }
                Err(_) => return Ok(BTreeSet::new()),
            }
        }
        Ok(found)
    }
}

/// Definitions that live as long as the expression they are read with.
fn shorter_lived<'s>(def: Def<&'static str>) -> Def<&'s str> {
    def
}

fn shown(found: &str) -> String {
    if found.is_empty() { "the end".to_owned() } else { format!("`{}`", crate::model::shorten(found, 60)) }
}

/// Counts words and signs, and those among them that begin something that holds what follows.
fn measure(token: &Token<&str>, count: &mut usize, nesting: &mut usize) {
    *count += 1;
    if NESTING.contains(&token.0) {
        *nesting += 1;
    }
    match &token.1 {
        Tok::Block(tokens) => {
            for token in tokens {
                measure(token, count, nesting);
            }
        }
        Tok::Str(parts) => {
            for part in parts {
                match part {
                    StrPart::Term(token) => measure(token, count, nesting),
                    StrPart::Str(_) | StrPart::Char(_) => {}
                }
            }
        }
        Tok::Word | Tok::Var | Tok::Fmt | Tok::Num | Tok::Sym => {}
    }
}

/// The parser follows the nesting of what it reads, which must not exhaust its stack.
fn shallow(code: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    for letter in code.bytes() {
        match letter {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(format!("it is nested more than {DEEPEST} deep"));
        }
    }
    let words = |wanted: &[&str]| {
        code.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
            .filter(|word| wanted.contains(word))
            .count()
    };
    if words(&["import", "include"]) > 0 {
        return Err("modules can't be used".to_owned());
    }
    Ok(())
}

/// Passes its input on after counting it.
fn counter() -> (&'static str, Box<[Bind]>, Native<Counted>) {
    let native = Native::<Counted>::new(|(context, value)| {
        let kept = count(context.data(), &value);
        jaq_core::box_iter::box_once(kept.map(|()| value))
    })
    .with_paths(|(context, (value, path))| {
        let kept = count(context.data(), &value);
        jaq_core::box_iter::box_once(kept.map(|()| (value, path)))
    })
    .with_update(|(context, value), update| match count(context.data(), &value) {
        Ok(()) => update(value),
        Err(exception) => jaq_core::box_iter::box_once(Err(exception)),
    });
    (COUNT, Box::default(), native)
}

fn count<'a>(meter: &Meter<'_>, value: &Val) -> Result<(), Exn<'a, Val>> {
    let left = cost(value, meter.left.get());
    meter.left.set(left.unwrap_or_default());
    left.map(|_| ()).ok_or_else(|| Exn::halt(EXHAUSTED))
}

/// What is left of a budget after a value; `None` when it does not suffice. What is held several times counts as often.
fn cost(value: &Val, left: u64) -> Option<u64> {
    let left = left.checked_sub(1)?;
    match value {
        Val::Null | Val::Bool(_) | Val::Num(_) => Some(left),
        Val::BStr(text) | Val::TStr(text) => left.checked_sub(u64::try_from(text.len() / 16).ok()?),
        Val::Arr(items) => items.iter().try_fold(left, |left, item| cost(item, left)),
        Val::Obj(map) => map.iter().try_fold(left, |left, (name, value)| cost(value, cost(name, left)?)),
    }
}

/// jq's path → ways in the object: a slice is the items it covers, and a negative index counts from the end.
fn expand(object: &Value, steps: &[Val], way: &mut Way, found: &mut BTreeSet<Way>) {
    let Some((step, rest)) = steps.split_first() else {
        if !way.is_empty() {
            found.insert(way.clone());
        }
        return;
    };
    let Some(value) = location::get(object, way) else { return };
    let length = value.as_array().map_or(0, Vec::len);
    let absolute = |bound: isize| {
        if bound < 0 { length.saturating_sub(bound.unsigned_abs()) } else { bound.unsigned_abs().min(length) }
    };
    let whole = |number: &Val| match number {
        Val::Num(number) => number.as_isize(),
        Val::Null | Val::Bool(_) | Val::BStr(_) | Val::TStr(_) | Val::Arr(_) | Val::Obj(_) => None,
    };
    let locations: Vec<Location> = match step {
        Val::TStr(text) | Val::BStr(text) => vec![Location::Key(String::from_utf8_lossy(text).into_owned())],
        Val::Num(_) => match whole(step) {
            Some(index) if index < 0 && index.unsigned_abs() > length => Vec::new(),
            Some(index) => vec![Location::Index(absolute(index))],
            None => Vec::new(),
        },
        Val::Obj(bounds) => {
            let bound = |name: &str| {
                bounds.iter().find(|(key, _)| **key == Val::from(name.to_owned())).and_then(|(_, bound)| whole(bound))
            };
            let (start, end) = (bound("start").map_or(0, absolute), bound("end").map_or(length, absolute));
            (start..end).map(Location::Index).collect()
        }
        Val::Null | Val::Bool(_) | Val::Arr(_) => Vec::new(),
    };
    for location in locations {
        way.push(location);
        expand(object, rest, way, found);
        way.pop();
    }
}

/// Puts the counter behind everything that produces, and refuses what could escape it.
#[derive(Default)]
struct Rewrite<'s> {
    /// Definitions whose bodies are being rewritten, with the number of their arguments.
    open: Vec<(&'s str, usize)>,
}

type JqTerm<'s> = Term<&'s str>;

impl<'s> Rewrite<'s> {
    fn term(&mut self, term: JqTerm<'s>) -> Result<JqTerm<'s>, String> {
        Ok(match term {
            Term::Id => Term::Id,
            Term::Recurse => counted(Term::Recurse),
            Term::Num(number) => Term::Num(number),
            Term::Var(name) => Term::Var(name),
            Term::Break(label) => Term::Break(label),
            Term::Str(format, parts) => {
                let parts = parts.into_iter().map(|part| {
                    Ok::<_, String>(match part {
                        StrPart::Term(term) => StrPart::Term(self.term(term)?),
                        StrPart::Str(text) => StrPart::Str(text),
                        StrPart::Char(letter) => StrPart::Char(letter),
                    })
                });
                counted(Term::Str(format, parts.collect::<Result<_, _>>()?))
            }
            Term::Arr(items) => counted(Term::Arr(self.boxed_option(items)?)),
            Term::Obj(fields) => {
                let fields = fields.into_iter().map(|(key, value)| {
                    let value = match value {
                        Some(value) => Some(self.term(value)?),
                        None => None,
                    };
                    // A short form `{a}` or `{$a}` means its own text.
                    let key = if value.is_none() { key } else { self.term(key)? };
                    Ok::<_, String>((key, value))
                });
                counted(Term::Obj(fields.collect::<Result<_, _>>()?))
            }
            Term::Neg(term) => counted(Term::Neg(self.boxed(*term)?)),
            Term::BinOp(left, operator, right) => self.operation(*left, operator, *right)?,
            Term::Label(name, term) => Term::Label(name, self.boxed(*term)?),
            Term::Fold(name, source, pattern, parts) => {
                let (source, pattern) = (self.boxed(*source)?, self.pattern(pattern)?);
                counted(Term::Fold(name, source, pattern, self.all(parts)?))
            }
            Term::TryCatch(term, otherwise) => Term::TryCatch(self.boxed(*term)?, self.boxed_option(otherwise)?),
            Term::IfThenElse(cases, otherwise) => {
                let cases = cases.into_iter().map(|(when, then)| Ok::<_, String>((self.term(when)?, self.term(then)?)));
                Term::IfThenElse(cases.collect::<Result<_, _>>()?, self.boxed_option(otherwise)?)
            }
            Term::Def(definitions, term) => {
                let definitions = definitions.into_iter().map(|Def { name, args, body }| {
                    self.open.push((name, args.len()));
                    let body = self.term(body)?;
                    self.open.pop();
                    Ok::<_, String>(Def { name, args, body })
                });
                let definitions = definitions.collect::<Result<_, _>>()?;
                Term::Def(definitions, self.boxed(*term)?)
            }
            Term::Call(name, arguments) => {
                let count = arguments.len();
                if ENDLESS.contains(&name) || (name == "recurse" && count > 0) {
                    return Err(format!("`{name}` need not end; `..` walks the whole object"));
                }
                if OUTSIDE.contains(&name) {
                    return Err(format!("`{name}` reaches out of the object"));
                }
                if self.open.contains(&(name, count)) {
                    return Err(format!("`{name}` calls itself, and need not end"));
                }
                counted(Term::Call(name, self.all(arguments)?))
            }
            Term::Path(term, Path(parts)) => {
                let parts = parts.into_iter().map(|(part, optional)| {
                    let part = match part {
                        Part::Index(index) => Part::Index(self.term(index)?),
                        Part::Range(from, to) => {
                            let mut bound = |bound: Option<JqTerm<'s>>| bound.map(|bound| self.term(bound)).transpose();
                            Part::Range(bound(from)?, bound(to)?)
                        }
                    };
                    Ok::<_, String>((part, optional))
                });
                let parts = Path(parts.collect::<Result<_, _>>()?);
                counted(Term::Path(self.boxed(*term)?, parts))
            }
        })
    }

    fn operation(
        &mut self,
        left: JqTerm<'s>,
        operator: BinaryOp<&'s str>,
        right: JqTerm<'s>,
    ) -> Result<JqTerm<'s>, String> {
        if matches!(operator, BinaryOp::Math(Math::Mul) | BinaryOp::UpdateMath(Math::Mul)) {
            return Err("`*` makes much out of little on text".to_owned());
        }
        let (operator, passes_on) = match operator {
            BinaryOp::Pipe(None) => (BinaryOp::Pipe(None), true),
            BinaryOp::Pipe(Some(pattern)) => (BinaryOp::Pipe(Some(self.pattern(pattern)?)), true),
            other @ (BinaryOp::Comma | BinaryOp::Alt | BinaryOp::Or | BinaryOp::And) => (other, true),
            other @ (BinaryOp::Math(_)
            | BinaryOp::Cmp(_)
            | BinaryOp::Assign
            | BinaryOp::Update
            | BinaryOp::UpdateMath(_)
            | BinaryOp::UpdateAlt) => (other, false),
        };
        let term = Term::BinOp(self.boxed(left)?, operator, self.boxed(right)?);
        Ok(if passes_on { term } else { counted(term) })
    }

    fn pattern(&mut self, pattern: Pattern<&'s str>) -> Result<Pattern<&'s str>, String> {
        Ok(match pattern {
            Pattern::Var(name) => Pattern::Var(name),
            Pattern::Arr(items) => {
                Pattern::Arr(items.into_iter().map(|item| self.pattern(item)).collect::<Result<_, _>>()?)
            }
            Pattern::Obj(fields) => {
                let fields =
                    fields.into_iter().map(|(key, value)| Ok::<_, String>((self.term(key)?, self.pattern(value)?)));
                Pattern::Obj(fields.collect::<Result<_, _>>()?)
            }
        })
    }

    fn all(&mut self, terms: Vec<JqTerm<'s>>) -> Result<Vec<JqTerm<'s>>, String> {
        terms.into_iter().map(|term| self.term(term)).collect()
    }

    fn boxed(&mut self, term: JqTerm<'s>) -> Result<Box<JqTerm<'s>>, String> {
        self.term(term).map(Box::new)
    }

    fn boxed_option(&mut self, term: Option<Box<JqTerm<'s>>>) -> Result<Option<Box<JqTerm<'s>>>, String> {
        term.map(|term| self.boxed(*term)).transpose()
    }
}

fn counted(term: JqTerm<'_>) -> JqTerm<'_> {
    Term::BinOp(Box::new(term), BinaryOp::Pipe(None), Box::new(Term::Call(COUNT, Vec::new())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> Value {
        json!({
            "spec": {"replicas": 2, "containers": [
                {"name": "app", "image": "a:1", "env": [{"name": "A", "value": "1"}, {"name": "B"}]},
                {"name": "side", "image": "b:1"},
                {"name": "last"},
            ]},
            "data": {"a.b/c": "x"},
        })
    }

    fn found(code: &str) -> Vec<String> {
        let ways = JqPath::compile(code).unwrap().locate(&object()).unwrap();
        ways.iter().map(|way| location::pointer(way)).collect()
    }

    #[test]
    fn paths_of_every_shape_are_found() {
        for (code, expected) in [
            (".spec.replicas", vec!["/spec/replicas"]),
            (r#".data["a.b/c"]"#, vec!["/data/a.b~1c"]),
            (r#".spec.containers[] | select(.name == "app") | .image"#, vec!["/spec/containers/0/image"]),
            (r#".spec.containers[]?.env[]? | select(.name == "B")"#, vec!["/spec/containers/0/env/1"]),
            (".spec.containers[-1]", vec!["/spec/containers/2"]),
            (".spec.containers[1:]", vec!["/spec/containers/1", "/spec/containers/2"]),
            (".spec.replicas, .data", vec!["/data", "/spec/replicas"]),
            (r#".. | select(type == "string" and . == "b:1")"#, vec!["/spec/containers/1/image"]),
            (r#"first(.spec.containers[] | select(.name | test("^s")))"#, vec!["/spec/containers/1"]),
            (".spec | if .replicas > 1 then .replicas else empty end", vec!["/spec/replicas"]),
            ("(.nothing.below // .spec).replicas", vec!["/spec/replicas"]),
            (r#"getpath(["spec", "replicas"])"#, vec!["/spec/replicas"]),
            (r#"def named(n): select(.name == n); .spec.containers[] | named("side")"#, vec!["/spec/containers/1"]),
            (r#"["replicas"] as [$x] | .spec[$x]"#, vec!["/spec/replicas"]),
            (".spec.containers | map_values(.x)?", vec![]),
            ("try error(\"x\") catch empty", vec![]),
            // Not a path, or not there: nothing is selected.
            ("1 + 1", vec![]),
            (".spec.replicas[]", vec![]),
            (".spec.nothing[]", vec![]),
            (".", vec![]),
        ] {
            assert_eq!(found(code), expected, "{code}");
        }
    }

    #[test]
    fn what_is_no_expression_or_may_not_be_used_is_refused_with_its_reason() {
        for (code, expected) in [
            (".spec[", "expected"),
            (".a | | .b", "expected term, found `|`"),
            ("", "expected term, found the end"),
            (".a | nonsense", "there is no filter `nonsense`"),
            ("$x", "there is no variable `$x`"),
            ("$ENV.HOME", "there is no variable `$ENV`"),
            ("env.HOME", "`env` reaches out of the object"),
            ("input", "`input` reaches out of the object"),
            ("now", "`now` reaches out of the object"),
            ("halt", "`halt` reaches out of the object"),
            (r#"import "a" as a; ."#, "modules can't be used"),
            (r#"include "a"; ."#, "modules can't be used"),
            ("def f: f; f", "`f` calls itself"),
            ("def f(x): def g: f(x); g; f(.)", "`f` calls itself"),
            ("def f: 1 + f; .a[f]", "`f` calls itself"),
            ("repeat(.)", "`repeat` need not end"),
            ("recurse(.)", "`recurse` need not end"),
            ("until(false; .)", "`until` need not end"),
            (r#".a["x" * 1000000000]"#, "`*` makes much"),
            ("[.[]] | combinations", "`combinations` need not end"),
        ] {
            let problem = JqPath::compile(code).unwrap_err();
            assert!(problem.contains(expected), "{code}: {problem}");
        }
        for code in ["(".repeat(1000), "try ".repeat(250), "[".repeat(DEEPEST + 1), "x".repeat(LONGEST + 1)] {
            assert!(JqPath::compile(&code).is_err());
        }
    }

    #[test]
    fn what_produces_too_much_is_stopped_and_can_not_hide_it() {
        let doubled = "[., .] | ".repeat(24);
        for code in [
            "[range(0; 1e18)]".to_owned(),
            "try [range(0; infinite)] catch .".to_owned(),
            "first(range(0; infinite) | select(. < 0))".to_owned(),
            "reduce range(0; 100) as $i (\"xxxxxxxx\"; . + .)".to_owned(),
            format!("{doubled} tojson"),
            format!("{doubled} . == 1"),
            "[range(0; 3000)] as $a | $a[] | $a[] | $a[] | empty".to_owned(),
            "[limit(1e18; range(0; infinite))]".to_owned(),
        ] {
            let code = format!("({code}) as $x | .spec");
            let said = JqPath::compile(&code).unwrap().locate_within(&object(), 50_000);
            assert_eq!(said.unwrap_err(), "it produces too much on this object, so it was stopped", "{code}");
        }
    }

    #[test]
    fn the_longest_and_the_deepest_expressions_need_little_stack() {
        let checked = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
            for code in [
                "-".repeat(LONGEST - 1) + "1",
                "-".repeat(DEEPEST) + "1",
                ".|".repeat(MOST_TOKENS / 2 - 1) + ".",
                ".,".repeat(MOST_TOKENS / 2 - 1) + ".",
                "try ".repeat(DEEPEST) + ".",
                "[.]|".repeat(MOST_TOKENS / 3 - 1) + ".",
                ".a".repeat(MOST_TOKENS / 2),
                "[".repeat(DEEPEST) + "." + &"]".repeat(DEEPEST),
                "if . then ".repeat(DEEPEST) + "." + &" end".repeat(DEEPEST),
                ". as $x|".repeat(DEEPEST) + ".",
                "(-".repeat(DEEPEST) + "." + &")".repeat(DEEPEST),
            ] {
                let _ = JqPath::compile(&code).map(|expression| expression.locate(&object()));
            }
            let deep = (0..120).fold(Value::Null, |inner, _| json!({ "a": [inner] }));
            for code in ["..", ".. | select(type == \"null\")", "[..] as $x | .a"] {
                assert!(JqPath::compile(code).unwrap().locate(&deep).is_ok());
            }
        });
        assert!(checked.unwrap().join().is_ok());
    }

    #[test]
    fn expressions_are_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<JqPath>();
    }
}
