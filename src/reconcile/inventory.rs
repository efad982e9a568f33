//! Where an inventory is kept: in the Application's status while it is small, else in Inventory objects.

use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use crate::api::{Application, ApplicationStatus, GROUP, Inventory as InventoryObject, VERSION};
use crate::live::client::DEFAULT_DEADLINE;
use crate::model::{Hash64, Inventory, Reason};
use crate::status::{Failure, INLINE_INVENTORY_BYTES};

/// Bytes of entries in one Inventory object: far below what etcd takes, so that it can be written at once.
const CHUNK_BYTES: usize = 400 * 1024;
/// Manager of the fields of Inventory objects; managed objects are never written with it.
const MANAGER: &str = "tidelock-inventory";

/// Reads and writes inventories.
pub(super) struct InventoryStore {
    api: Api<InventoryObject>,
}

fn chunk_name(application: &str, index: usize) -> String {
    format!("{application}-{index}")
}

fn unreadable(what: &str) -> Failure {
    Failure {
        reason: Reason::ClusterUnreachable,
        message: format!("the inventory could not be {what}; nothing is done without it"),
    }
}

impl InventoryStore {
    /// Inventories of a namespace.
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    /// Reads the inventory of an Application, with the hash of each object that holds a part of it.
    pub(super) async fn load(&self, application: &Application) -> Result<(Inventory, Vec<Hash64>), Failure> {
        let Some(status) = &application.status else { return Ok((Inventory::default(), Vec::new())) };
        let Some(count) = status.inventory_objects.and_then(|count| usize::try_from(count).ok()) else {
            return Ok((Inventory::from_lines(status.inventory.iter().map(String::as_str)), Vec::new()));
        };
        let mut lines = Vec::new();
        let mut hashes = Vec::new();
        for index in 0..count {
            let name = chunk_name(&application.name_any(), index);
            let read = tokio::time::timeout(DEFAULT_DEADLINE, self.api.get_opt(&name)).await;
            match read.map_err(|_| unreadable("read"))? {
                Ok(Some(object)) => {
                    hashes.push(hash_of(&object.spec.entries));
                    lines.extend(object.spec.entries);
                }
                // A part that was deleted by hand is made again from the marks of live objects.
                Ok(None) => hashes.push(Hash64(0)),
                Err(_) => return Err(unreadable("read")),
            }
        }
        Ok((Inventory::from_lines(lines.iter().map(String::as_str)), hashes))
    }

    /// Puts an inventory into a status, or, when it is large, into Inventory objects that the status counts. Objects are
    /// written here, before the status that relies on them; the status is the caller's to write.
    pub(super) async fn store(
        &self,
        application: &Application,
        inventory: &Inventory,
        status: &mut ApplicationStatus,
        written: &mut Vec<Hash64>,
    ) -> Result<(), Failure> {
        let lines = inventory.to_lines();
        let bytes: usize = lines.iter().map(|line| line.len() + 3).sum();
        let chunks = if bytes <= INLINE_INVENTORY_BYTES {
            status.inventory = lines;
            status.inventory_objects = None;
            Vec::new()
        } else {
            let chunks = split(lines);
            status.inventory = Vec::new();
            status.inventory_objects = i64::try_from(chunks.len()).ok();
            chunks
        };
        for (index, entries) in chunks.iter().enumerate() {
            let hash = hash_of(entries);
            if written.get(index) == Some(&hash) {
                continue;
            }
            self.write(application, index, entries).await?;
            if index < written.len() {
                written[index] = hash;
            } else {
                written.push(hash);
            }
        }
        for index in chunks.len()..written.len() {
            let name = chunk_name(&application.name_any(), index);
            let parameters = DeleteParams::default();
            let deleted = tokio::time::timeout(DEFAULT_DEADLINE, self.api.delete(&name, &parameters)).await;
            match deleted.map_err(|_| unreadable("tidied up"))? {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(_) => return Err(unreadable("tidied up")),
            }
        }
        written.truncate(chunks.len());
        Ok(())
    }

    async fn write(&self, application: &Application, index: usize, entries: &[String]) -> Result<(), Failure> {
        let name = chunk_name(&application.name_any(), index);
        let owner = application.owner_ref(&());
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "Inventory",
            "metadata": { "name": name, "ownerReferences": owner.into_iter().collect::<Vec<_>>() },
            "spec": { "application": application.name_any(), "entries": entries },
        });
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&object);
        let written = tokio::time::timeout(DEFAULT_DEADLINE, self.api.patch(&name, &parameters, &patch)).await;
        match written {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(unreadable("written")),
        }
    }
}

fn split(lines: Vec<String>) -> Vec<Vec<String>> {
    let mut chunks: Vec<Vec<String>> = Vec::new();
    let mut used = CHUNK_BYTES;
    for line in lines {
        if used + line.len() + 3 > CHUNK_BYTES {
            chunks.push(Vec::new());
            used = 0;
        }
        used += line.len() + 3;
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(line);
        }
    }
    chunks
}

fn hash_of(entries: &[String]) -> Hash64 {
    Hash64::of_bytes(entries.join("\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_inventories_are_split_without_loss() {
        let lines: Vec<String> = (0..10_000).map(|number| format!("/ConfigMap/shop/name-{number:0>80}")).collect();
        let chunks = split(lines.clone());
        assert!(chunks.len() > 1);
        assert!(chunks.iter().all(|chunk| chunk.iter().map(|line| line.len() + 3).sum::<usize>() <= CHUNK_BYTES));
        assert_eq!(chunks.concat(), lines);
    }
}
