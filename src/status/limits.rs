//! The budget of a status. An object in etcd may have 1.5 MiB and a status is rewritten whole, so it is kept small:
//! 64 KiB in all, shared out here. What does not fit is counted, never silently lost.

/// Bytes of inventory kept in the status itself; a larger one goes to Inventory objects.
pub const INLINE_INVENTORY_BYTES: usize = 20 * 1024;
/// Bytes of `resources`.
pub(super) const RESOURCES_BYTES: usize = 20 * 1024;
/// Bytes of `operationState.resources`.
pub(super) const RESULTS_BYTES: usize = 8 * 1024;
/// Bytes of `operationState.operation`.
pub(super) const OPERATION_BYTES: usize = 4 * 1024;
/// Entries of `waitingOn`.
pub(super) const WAITING_ENTRIES: usize = 10;
/// Bytes of one condition's message.
pub(super) const MESSAGE_BYTES: usize = 1024;
/// Bytes of one object's message.
pub(super) const OBJECT_MESSAGE_BYTES: usize = 256;

/// As many items from the front as fit into a number of bytes of JSON.
pub(super) fn within<T: serde::Serialize>(items: Vec<T>, bytes: usize) -> Vec<T> {
    let mut used = 0;
    items
        .into_iter()
        .take_while(|item| {
            used += serde_json::to_vec(item).map_or(0, |text| text.len() + 1);
            used <= bytes
        })
        .collect()
}
