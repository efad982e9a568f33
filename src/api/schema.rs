//! Schema fragments that `schemars` can't derive.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A free-form object: the API server keeps every field.
pub(super) fn free_form_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true, "nullable": true })
}

/// A list of free-form objects.
pub(super) fn free_form_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true }
    })
}
