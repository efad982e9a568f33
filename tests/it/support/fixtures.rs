//! The company's three repositories and the samples that deploy them.

use std::path::Path;

use serde::Deserialize as _;
use serde_json::Value;

use super::testbed::read;

/// Every object of a sample file in `config/samples`.
pub fn sample(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/samples").join(file);
    let text = read(&path);
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .filter(|object| !object.is_null())
        .collect()
}
