//! Manifests of a registry: what an artifact consists of. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use super::digest::Digest;

/// Media types of a manifest and of a list of them, as a client says that it takes them.
pub const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

const CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const CHART_BEFORE_1_0: &str = "application/tar+gzip";
const CHART_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const FLUX: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";
/// A manifest of more layers is no artifact that can be unpacked, and none that a signature has.
const MOST_LAYERS: usize = 1000;

/// A manifest that can't be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ManifestError {
    /// Not JSON, or not of this form.
    #[error("the manifest can't be read: {0}")]
    Unreadable(String),
    /// Neither layers nor manifests.
    #[error("it is neither a manifest nor an index of manifests")]
    Neither,
    /// A descriptor without a digest that can be verified.
    #[error("the manifest names a digest that is not sha256, so it can't be verified")]
    Digest,
    /// Nothing to unpack.
    #[error("the artifact has no layer")]
    NoLayer,
    /// Too much to choose from.
    #[error(
        "the artifact has {count} layers ({types}), and one is wanted: a Helm chart, or one tar archive of manifests. A \
         container image is neither"
    )]
    ManyLayers {
        /// How many.
        count: usize,
        /// Of which types.
        types: String,
    },
    /// An index of nothing.
    #[error("the index lists no manifest of an artifact")]
    EmptyIndex,
}

/// A piece of content: what it is, how large, and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// Digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// An artifact.
    Manifest(Manifest),
    /// A list of artifacts: the first that is none of an image's attachments.
    Index(Descriptor),
}

/// An artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Media type of the configuration: what kind of artifact it is.
    pub config_type: String,
    /// The layers.
    pub layers: Vec<Descriptor>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The layer to unpack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The layer.
    pub layer: Descriptor,
    /// Whether it is a packaged chart, whose files lie in a folder of the chart's name.
    pub is_chart: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    #[serde(default)]
    config: Option<RawDescriptor>,
    #[serde(default)]
    layers: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

fn descriptor(raw: RawDescriptor) -> Result<Descriptor, ManifestError> {
    let RawDescriptor { media_type, digest, size, annotations } = raw;
    let digest = Digest::parse(&digest).filter(|_| digest.starts_with("sha256:")).ok_or(ManifestError::Digest)?;
    Ok(Descriptor { media_type, digest, size, annotations: annotations.unwrap_or_default() })
}

/// Reads a manifest or an index.
pub fn parse(text: &[u8]) -> Result<Document, ManifestError> {
    let raw: RawManifest = serde_json::from_slice(text).map_err(|error| {
        // The library's own sentence may quote the text.
        ManifestError::Unreadable(format!(
            "line {}, column {}: it is not the JSON of a manifest",
            error.line(),
            error.column()
        ))
    })?;
    let RawManifest { config, layers, manifests, annotations } = raw;
    if let Some(manifests) = manifests.filter(|_| layers.is_none()) {
        let attached = |raw: &RawDescriptor| {
            raw.annotations.as_ref().is_some_and(|all| all.contains_key("vnd.docker.reference.type"))
        };
        let first = manifests.into_iter().find(|raw| !attached(raw)).ok_or(ManifestError::EmptyIndex)?;
        return descriptor(first).map(Document::Index);
    }
    let Some(layers) = layers else { return Err(ManifestError::Neither) };
    let layers = layers.into_iter().take(MOST_LAYERS).map(descriptor).collect::<Result<Vec<_>, _>>()?;
    Ok(Document::Manifest(Manifest {
        config_type: config.map(|config| config.media_type).unwrap_or_default(),
        layers,
        annotations: annotations.unwrap_or_default(),
    }))
}

impl Manifest {
    /// The layer that holds the files: the chart's, Flux's, or the only one.
    pub fn content(&self) -> Result<Content, ManifestError> {
        let of_type = |wanted: &str| self.layers.iter().find(|layer| layer.media_type == wanted).cloned();
        let old_chart = || of_type(CHART_BEFORE_1_0).filter(|_| self.config_type == CHART_CONFIG);
        if let Some(layer) = of_type(CHART).or_else(old_chart) {
            return Ok(Content { layer, is_chart: true });
        }
        if let Some(layer) = of_type(FLUX) {
            return Ok(Content { layer, is_chart: false });
        }
        match self.layers.as_slice() {
            [] => Err(ManifestError::NoLayer),
            [layer] => Ok(Content { layer: layer.clone(), is_chart: false }),
            many => {
                let mut types: Vec<&str> = many.iter().map(|layer| layer.media_type.as_str()).collect();
                types.dedup();
                types.truncate(3);
                Err(ManifestError::ManyLayers { count: many.len(), types: types.join(", ") })
            }
        }
    }

    /// When the artifact was made (RFC 3339), where it says so.
    pub fn created(&self) -> Option<&str> {
        self.annotations.get("org.opencontainers.image.created").map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &serde_json::Value) -> Result<Document, ManifestError> {
        parse(value.to_string().as_bytes())
    }

    fn layer(media_type: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": Digest::of(media_type.as_bytes()).as_str(), "size": 3})
    }

    fn content(config: &str, layers: &[&str]) -> Result<(String, bool), ManifestError> {
        let layers: Vec<_> = layers.iter().map(|name| layer(name)).collect();
        match read(&json!({"config": layer(config), "layers": layers, "annotations": null}))? {
            Document::Manifest(manifest) => {
                manifest.content().map(|content| (content.layer.media_type, content.is_chart))
            }
            Document::Index(_) => Err(ManifestError::Neither),
        }
    }

    #[test]
    fn the_layer_of_files_is_the_charts_or_the_only_one() {
        let provenance = "application/vnd.cncf.helm.chart.provenance.v1.prov";
        assert_eq!(content(CHART_CONFIG, &[provenance, CHART]), Ok((CHART.to_owned(), true)));
        assert_eq!(content(CHART_CONFIG, &[CHART_BEFORE_1_0]), Ok((CHART_BEFORE_1_0.to_owned(), true)));
        assert_eq!(content("x", &[FLUX]), Ok((FLUX.to_owned(), false)));
        assert_eq!(content("x", &["application/x"]), Ok(("application/x".to_owned(), false)));
        assert_eq!(content("x", &[]), Err(ManifestError::NoLayer));
        let many = ManifestError::ManyLayers { count: 3, types: "a, b".to_owned() };
        assert_eq!(content("x", &["a", "b", "b"]), Err(many));
    }

    #[test]
    fn an_index_leads_to_its_first_artifact_and_garbage_to_nothing() {
        let attestation =
            json!({"digest": Digest::of(b"a").as_str(), "annotations": {"vnd.docker.reference.type": "x"}});
        let index = json!({"manifests": [attestation, layer("m")]});
        assert!(matches!(read(&index), Ok(Document::Index(found)) if found.media_type == "m"));
        assert_eq!(read(&json!({"manifests": [attestation]})), Err(ManifestError::EmptyIndex));
        assert_eq!(read(&json!({})), Err(ManifestError::Neither));
        assert_eq!(read(&json!({"layers": [{"digest": "sha512:00"}]})), Err(ManifestError::Digest));
        assert!(matches!(parse(b"<html>"), Err(ManifestError::Unreadable(_))));
    }
}
