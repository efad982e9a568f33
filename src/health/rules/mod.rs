//! stub
mod lua;
mod lua_time;
pub use lua::{LuaEngine, Script};
