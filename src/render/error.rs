//! Why a render failed.

use thiserror::Error;

use super::yaml::YamlError;
use crate::model::{FilesError, Origin, Reason};

/// A render failed. Its message holds no content of a file.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", self.sentence())]
pub struct RenderError {
    /// The class of the failure.
    pub reason: Reason,
    /// What is wrong and what to do about it.
    pub message: String,
    /// The file that is at fault, from the root of the repository; empty when no single file is.
    pub file: String,
    /// Line in that file, counted from 1; 0 when unknown.
    pub line: u32,
}

impl RenderError {
    /// A failure that no single file is to blame for.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), file: String::new(), line: 0 }
    }

    /// A failure of a file.
    pub fn in_file(reason: Reason, file: &str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), file: file.to_owned(), line: 0 }
    }

    /// A failure at a place in a file.
    pub fn at(reason: Reason, origin: &Origin, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), file: origin.file.clone(), line: origin.line }
    }

    /// A file that is not the YAML it should be.
    pub fn yaml(file: &str, error: YamlError) -> Self {
        let message =
            if error.column == 0 { error.message } else { format!("column {}: {}", error.column, error.message) };
        Self { reason: error.reason, message, file: file.to_owned(), line: error.line }
    }

    fn sentence(&self) -> String {
        match (self.file.as_str(), self.line) {
            ("", _) => self.message.clone(),
            (file, 0) => format!("{file}: {}", self.message),
            (file, line) => format!("{file}:{line}: {}", self.message),
        }
    }
}

impl From<FilesError> for RenderError {
    fn from(error: FilesError) -> Self {
        Self::in_file(Reason::StoreFailed, &error.path, format!("the file can't be read: {}", error.problem))
    }
}
