use serde_json::json;

use super::*;

/// 2023-11-14T22:13:20Z.
const NOW: i64 = 1_700_000_000;

fn engine(source: &str, open_libraries: bool) -> LuaEngine {
    let origin = "resource.customizations.health.shop.example_Cart".to_owned();
    LuaEngine::new(vec![Script { origin, source: source.to_owned(), open_libraries }]).0
}

fn assessed(source: &str, open_libraries: bool, object: &Value) -> Option<Health> {
    engine(source, open_libraries).assess(0, object, Timestamp::from_second(NOW).unwrap())
}

fn message(source: &str, open_libraries: bool, object: &Value) -> String {
    let health = assessed(source, open_libraries, object).unwrap();
    assert_eq!(health.status, HealthStatus::Healthy, "{}", health.message);
    health.message
}

/// What an expression is, as text.
fn shown(expression: &str, open_libraries: bool) -> String {
    message(
        &format!("return {{status = 'Healthy', message = {expression}}}"),
        open_libraries,
        &json!({"n": 3, "whole": 3.0, "half": 2.5, "large": 9_007_199_254_740_993_i64, "list": ["a", null, "b"], "none": null}),
    )
}

fn problem(source: &str, open_libraries: bool, object: &Value) -> String {
    let health = assessed(source, open_libraries, object).unwrap();
    assert_eq!(health.status, HealthStatus::Unknown, "{}", health.message);
    let message = health.message.strip_prefix("resource.customizations.health.shop.example_Cart: ").unwrap();
    message.to_owned()
}

/// Reads conditions as most scripts do, with a jump that Lua 5.1 doesn't know.
const CONDITIONS: &str = r#"
hs = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for i, condition in ipairs(obj.status.conditions) do
    if condition.type == "Issuing" then
      goto continue
    end
    if condition.type == "Ready" and condition.status == "False" then
      hs.status = "Degraded"
      hs.message = condition.message
      return hs
    end
    if condition.type == "Ready" and condition.status == "True" then
      hs.status = "Healthy"
      hs.message = condition.message .. " in generation " .. obj.metadata.generation
      return hs
    end
    ::continue::
  end
end
hs.status = "Progressing"
hs.message = "Waiting for the cart"
return hs
"#;

fn cart(conditions: &Value) -> Value {
    json!({"kind": "Cart", "metadata": {"name": "c", "generation": 3}, "status": {"conditions": conditions}})
}

#[test]
fn a_script_over_conditions_tells_all_states() {
    let ready =
        cart(&json!([{"type": "Issuing", "status": "True"}, {"type": "Ready", "status": "True", "message": "ok"}]));
    assert_eq!(assessed(CONDITIONS, false, &ready), Some(Health::new(HealthStatus::Healthy, "ok in generation 3")));
    let failed = cart(&json!([{"type": "Ready", "status": "False", "message": "no wheels"}]));
    assert_eq!(assessed(CONDITIONS, false, &failed), Some(Health::new(HealthStatus::Degraded, "no wheels")));
    assert_eq!(
        assessed(CONDITIONS, false, &json!({"metadata": {}})),
        Some(Health::new(HealthStatus::Progressing, "Waiting for the cart"))
    );
}

#[test]
fn whole_numbers_print_without_a_fraction() {
    for (expression, text) in [
        ("obj.n", "3"),
        ("'' .. obj.n", "3"),
        ("obj.whole .. '/' .. obj.half", "3/2.5"),
        ("tostring(6 / 2)", "3"),
        ("tostring(obj.large)", "9007199254740993"),
        ("'10' + 1", "11"),
        ("tostring(obj.none)", "nil"),
        ("#obj.list .. obj.list[2]", "2b"),
        ("table.getn(obj.list)", "2"),
        ("unpack(obj.list)", "a"),
    ] {
        assert_eq!(shown(expression, false), text, "{expression}");
    }
    assert_eq!(shown("string.format('%d of %s, %.1f', 4 / 2, 6 / 2, obj.half)", true), "2 of 3, 2.5");
}

#[test]
fn string_and_math_are_there_only_with_open_libraries() {
    let object = json!({});
    for expression in ["string.find('abc', 'b')", "('abc'):find('b')", "math.floor(2.5)"] {
        let source = format!("local at = {expression}\nreturn {{status = 'Healthy', message = at}}");
        let closed = problem(&source, false, &object);
        assert!(closed.starts_with("health.lua:1: attempt to index a "), "{closed}");
        assert_eq!(message(&source, true, &object), "2", "{expression}");
    }
}

#[test]
fn what_reaches_out_of_the_script_is_never_there() {
    for open in [false, true] {
        for name in [
            "io",
            "debug",
            "package",
            "coroutine",
            "load",
            "loadstring",
            "loadfile",
            "dofile",
            "collectgarbage",
            "utf8",
            "os.execute",
            "os.getenv",
            "os.exit",
            "os.remove",
            "warn",
            "table.move",
        ] {
            assert_eq!(shown(&format!("type({name})"), open), "nil", "{name}");
        }
        assert!(problem("require('io')", open, &json!({})).contains("module 'io' is not available"));
    }
    assert_eq!(shown("type(string.dump)", true), "nil");
}

#[test]
fn the_clock_is_the_one_that_was_given() {
    assert_eq!(shown("os.time()", false), NOW.to_string());
    assert_eq!(shown("require('os').time()", false), NOW.to_string());
    assert_eq!(shown("os.date('!%Y-%m-%dT%H:%M:%SZ')", false), "2023-11-14T22:13:20Z");
    assert_eq!(shown("os.date('*t', 0).year", false), "1970");
    assert_eq!(shown("os.time({year=2023, month=11, day=14, hour=22, min=13, sec=20})", false), NOW.to_string());
    assert_eq!(
        shown("os.time({year='2023', month='10', day='45', hour='22', min='13', sec='20'})", false),
        NOW.to_string()
    );
    let old = "local y, m, d, h, n, s = obj.at:match('(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)Z')
        local age = os.time() - os.time({year = y, month = m, day = d, hour = h, min = n, sec = s})
        return {status = 'Healthy', message = 'since ' .. age .. ' s'}";
    assert_eq!(message(old, true, &json!({"at": "2023-11-14T22:12:20Z"})), "since 60 s");
    assert!(problem("return {status = os.date('*t', 1e300)}", false, &json!({})).contains("out of range"));
    assert!(problem("os.time({year=2023})", false, &json!({})).contains("field 'month' missing"));
}

#[test]
fn an_error_names_the_place_and_what_was_nil() {
    assert_eq!(
        problem("local hs = {}\n\nhs.status = obj.status.phase\nreturn hs", false, &json!({})),
        "health.lua:3: attempt to index a nil value (field 'status')"
    );
    assert_eq!(
        problem("error('no such state: ' .. obj.kind)", false, &json!({"kind": "Cart"})),
        "health.lua:1: no such state: Cart"
    );
    assert!(problem("if then", false, &json!({})).starts_with("health.lua:1: "));
}

#[test]
fn a_script_that_does_not_compile_is_reported_when_it_is_taken_over() {
    let script = |source: &str| Script { origin: "a".to_owned(), source: source.to_owned(), open_libraries: false };
    let (_, problems) = LuaEngine::new(vec![script("return {status = 'Healthy'}"), script("return {")]);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].0, 1);
    assert!(problems[0].1.starts_with("health.lua:1: "), "{problems:?}");
}

#[test]
fn only_the_six_words_are_a_verdict_and_nothing_is_none() {
    assert_eq!(assessed("return nil", false, &json!({})), None);
    assert_eq!(assessed("local unused = 1", false, &json!({})), None);
    assert_eq!(assessed("return {}", false, &json!({})), None);
    assert_eq!(
        problem("return {status = 'Ready'}", false, &json!({})),
        "it returned an invalid health status: `Ready` is none of Healthy, Suspended, Progressing, Missing, Degraded, Unknown"
    );
    assert!(
        problem("return {message = 'x'}", false, &json!({})).starts_with("it returned an invalid health status: nil")
    );
    assert!(problem("return 'Healthy'", false, &json!({})).starts_with("it must return a table"));
    assert!(
        problem("return {status = 'Healthy', message = {}}", false, &json!({})).contains("a message that is a table")
    );
}

#[test]
fn a_loop_without_an_end_is_stopped_even_if_it_catches_errors() {
    for source in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function again() return again() end again()",
        "while true do xpcall(function() while true do end end, function() return 1 end) end",
        "table.sort({1, 2, 3}, function() while true do end end)",
    ] {
        assert!(
            problem(source, true, &json!({})).ends_with("it runs for too long: is there a loop without an end?"),
            "{source}"
        );
    }
}

#[test]
fn a_script_that_wants_all_memory_is_stopped_and_the_next_one_runs() {
    let bombs = [
        "local t = {} while true do t[#t + 1] = {} end",
        "local s = 'x' while true do s = s .. s end",
        "return string.rep('x', 1e9)",
    ];
    let mut scripts: Vec<Script> = bombs
        .iter()
        .map(|source| Script { origin: "bomb".to_owned(), source: (*source).to_owned(), open_libraries: true })
        .collect();
    scripts.push(Script { origin: "good".to_owned(), source: CONDITIONS.to_owned(), open_libraries: true });
    let engine = LuaEngine::new(scripts).0;
    for bomb in 0..bombs.len() {
        let health = engine.assess(bomb, &json!({}), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(health.status, HealthStatus::Unknown);
        assert_eq!(health.message, "bomb: it needs more memory than the 32 MiB that a script may use");
        let good = engine.assess(bombs.len(), &json!({}), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(good, Health::new(HealthStatus::Progressing, "Waiting for the cart"));
    }
}

#[test]
fn deep_recursion_is_an_error_and_no_crash() {
    for source in [
        "local function down(n) return 1 + down(n + 1) end down(1)",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k .. 'x'] end return t.a",
        "return ('x'):rep(100000):find(('(.-)'):rep(40))",
    ] {
        assert_eq!(assessed(source, true, &json!({})).unwrap().status, HealthStatus::Unknown, "{source}");
    }
}

#[test]
fn nothing_is_left_behind_for_the_next_object() {
    let source = "
        seen = (seen or 0) + 1
        table.seen = (table.seen or 0) + 1
        string.seen = (string.seen or 0) + 1
        string.find = nil
        _G.leak = (_G.leak or 0) + 1
        pcall(function() getmetatable('').__index.find = nil end)
        obj.metadata.seen = 1
        return {status = 'Healthy', message = seen .. table.seen .. string.seen .. leak .. tostring(('abc'):find('b'))}";
    let engine = engine(source, true);
    for _ in 0..3 {
        let health = engine.assess(0, &json!({"metadata": {}}), Timestamp::UNIX_EPOCH);
        assert_eq!(health, Some(Health::new(HealthStatus::Healthy, "11112")));
    }
    assert!(problem("setmetatable({}, {__gc = function() end})", false, &json!({})).contains("__gc is not available"));
}

#[test]
fn an_interpreter_is_made_once_and_lent_again() {
    let engine = engine(CONDITIONS, false);
    let object = cart(&json!([]));
    for _ in 0..100 {
        engine.assess(0, &object, Timestamp::UNIX_EPOCH);
    }
    let idle: Vec<usize> = engine.idle.iter().map(|idle| idle.lock().unwrap().len()).collect();
    assert_eq!(idle, [1, 0]);
    assert_eq!(engine.idle[0].lock().unwrap()[0].compiled.len(), 1);
}

#[test]
fn bookkeeping_of_the_api_server_is_not_copied() {
    let object =
        json!({"metadata": {"managedFields": [{"manager": "kubectl"}], "name": "c"}, "spec": {"managedFields": 1}});
    let source = "return {status = 'Healthy', message = tostring(obj.metadata.managedFields) .. obj.metadata.name .. obj.spec.managedFields}";
    assert_eq!(message(source, false, &object), "nilc1");
}

#[test]
fn a_long_message_is_cut() {
    let message = message("return {status = 'Healthy', message = string.rep('ä', 2000)}", true, &json!({}));
    assert_eq!(message, format!("{}…", "ä".repeat(512)));
}
