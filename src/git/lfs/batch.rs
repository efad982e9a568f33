//! What the batch API is asked and what it answers. Pure.

use std::collections::BTreeMap;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use url::Url;

use super::pointer::LfsPointer;

/// Objects of one request: what git-lfs itself asks for at once.
pub(super) const MOST_OBJECTS: usize = 100;

/// Headers of one download that are taken from the server.
const MOST_HEADERS: usize = 32;

#[derive(Serialize)]
struct Request<'a> {
    operation: &'static str,
    transfers: [&'static str; 1],
    objects: Vec<Object<'a>>,
    hash_algo: &'static str,
}

#[derive(Serialize)]
struct Object<'a> {
    oid: &'a str,
    size: u64,
}

/// The body that asks where objects can be downloaded.
pub(super) fn request(pointers: &[LfsPointer]) -> Result<Vec<u8>, serde_json::Error> {
    let objects = pointers.iter().map(|pointer| Object { oid: pointer.oid(), size: pointer.size() }).collect();
    serde_json::to_vec(&Request { operation: "download", transfers: ["basic"], objects, hash_algo: "sha256" })
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    transfer: Option<String>,
    #[serde(default)]
    hash_algo: Option<String>,
    objects: Vec<AnsweredObject>,
}

#[derive(Deserialize)]
struct AnsweredObject {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<ObjectError>,
}

#[derive(Deserialize)]
struct Actions {
    #[serde(default)]
    download: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ObjectError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// Where an object can be downloaded. Has no `Debug`: href and headers hold what opens it.
pub(super) struct Download {
    pub(super) href: Url,
    pub(super) headers: HeaderMap,
}

/// Reads an answer: for each pointer, in order, its download or why there is none. `secure` says that the repository is
/// reached by https, so that nothing may be downloaded without.
pub(super) fn read_answer(
    body: &[u8],
    pointers: &[LfsPointer],
    secure: bool,
) -> Result<Vec<Result<Download, String>>, String> {
    // The parser's error could quote a header.
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        format!("the answer is not the batch API's (line {}, column {})", error.line(), error.column())
    })?;
    if let Some(other) = answer.transfer.filter(|transfer| transfer != "basic") {
        return Err(format!("the server wants the transfer `{}`, only `basic` is supported", short(&other)));
    }
    if let Some(other) = answer.hash_algo.filter(|algorithm| algorithm != "sha256") {
        return Err(format!("the server names objects by `{}`, only `sha256` is supported", short(&other)));
    }
    let mut found: BTreeMap<String, Result<Download, String>> = BTreeMap::new();
    for object in answer.objects {
        let download = match (object.error, object.actions.and_then(|actions| actions.download)) {
            (Some(error), _) => Err(match (error.code, short(&error.message)) {
                (404 | 410, said) => {
                    format!("the server does not have it ({}: {said}); was it ever pushed?", error.code)
                }
                (code, said) => format!("the server refuses it ({code}: {said})"),
            }),
            (None, Some(action)) => download(action, secure),
            (None, None) => Err("the server says nothing about where it is".to_owned()),
        };
        found.insert(object.oid, download);
    }
    let silent = || Err("the server does not answer for it".to_owned());
    Ok(pointers.iter().map(|pointer| found.remove(pointer.oid()).unwrap_or_else(silent)).collect())
}

fn download(action: Action, secure: bool) -> Result<Download, String> {
    let mut href = Url::parse(&action.href).map_err(|_| "the server gives no usable URL for it".to_owned())?;
    match href.scheme() {
        "https" => {}
        "http" if !secure => {}
        "http" => {
            let host = href.host_str().unwrap_or_default();
            return Err(format!("the server leads from https to plain http (host {host}), which is not followed"));
        }
        other => return Err(format!("the server gives a URL of the scheme `{}` for it", short(other))),
    }
    // Credentials come by headers alone. Both setters fail only on URLs without a host.
    let _ = href.set_username("");
    let _ = href.set_password(None);
    href.set_fragment(None);
    if action.header.len() > MOST_HEADERS {
        return Err(format!("the server wants more than {MOST_HEADERS} headers with its download"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in action.header {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(&value);
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return Err("the server wants a header with its download that no request can have".to_owned());
        };
        // These are about the connection, which is ours.
        if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, PROXY_AUTHORIZATION, TE, TRAILER, UPGRADE]
            .contains(&name)
        {
            continue;
        }
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(Download { href, headers })
}

fn short(text: &str) -> String {
    let plain: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    crate::model::shorten(&plain, 200)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pointer(digit: char) -> LfsPointer {
        LfsPointer::new(&digit.to_string().repeat(64), 5).unwrap()
    }

    fn read(answer: &Value, secure: bool) -> Result<Vec<Result<String, String>>, String> {
        let read = read_answer(answer.to_string().as_bytes(), &[pointer('a'), pointer('b')], secure)?;
        Ok(read
            .into_iter()
            .map(|one| {
                one.map(|download| {
                    let names: Vec<&str> = download.headers.keys().map(HeaderName::as_str).collect();
                    format!("{} {}", download.href, names.join(","))
                })
            })
            .collect())
    }

    #[test]
    fn a_request_names_the_objects_and_the_one_transfer() {
        let body: Value = serde_json::from_slice(&request(&[pointer('a')]).unwrap()).unwrap();
        let expected = json!({
            "operation": "download", "transfers": ["basic"], "hash_algo": "sha256",
            "objects": [{"oid": "a".repeat(64), "size": 5}],
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn downloads_come_in_the_order_of_what_was_asked_with_headers_that_are_ours_left_out() {
        let answer = json!({"transfer": "basic", "objects": [
            {"oid": "b".repeat(64), "size": 5, "error": {"code": 404, "message": "not\nhere"}},
            {"oid": "c".repeat(64), "actions": {"download": {"href": "https://x/c"}}},
            {"oid": "a".repeat(64), "actions": {"download": {
                "href": "https://u:p@media.test/a?sig=1#f", "header": {"Authorization": "x", "Host": "evil", "X-Key": "y"}}}},
        ]});
        assert_eq!(
            read(&answer, true).unwrap(),
            [
                Ok("https://media.test/a?sig=1 authorization,x-key".to_owned()),
                Err("the server does not have it (404: not here); was it ever pushed?".to_owned()),
            ]
        );
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let one = |object: Value| json!({"objects": [object, {"oid": "b".repeat(64), "actions": {}}]});
        let a = "a".repeat(64);
        let href = |text: &str| one(json!({"oid": a, "actions": {"download": {"href": text}}}));
        let silent = || Err("the server says nothing about where it is".to_owned());
        let plain = "the server leads from https to plain http (host m.test), which is not followed";
        assert_eq!(read(&href("http://m.test/a"), true).unwrap(), [Err(plain.to_owned()), silent()]);
        assert_eq!(read(&href("http://m.test/a"), false).unwrap(), [Ok("http://m.test/a ".to_owned()), silent()]);
        assert_eq!(
            read(&href("file:///etc/passwd"), false).unwrap()[0],
            Err("the server gives a URL of the scheme `file` for it".to_owned())
        );
        assert_eq!(read(&href("nowhere"), true).unwrap()[0], Err("the server gives no usable URL for it".to_owned()));
        assert_eq!(
            read(&json!({"objects": []}), true).unwrap()[0],
            Err("the server does not answer for it".to_owned())
        );
        let canary =
            one(json!({"oid": a, "actions": {"download": {"href": "https://m/a", "header": {"X": "can\nary"}}}}));
        assert_eq!(
            read(&canary, true).unwrap()[0],
            Err("the server wants a header with its download that no request can have".to_owned())
        );
        assert!(read(&json!({"objects": [], "transfer": "tus"}), true).unwrap_err().contains("only `basic`"));
        assert!(read(&json!({"objects": [], "hash_algo": "sha512"}), true).unwrap_err().contains("only `sha256`"));
        assert!(read(&json!("canary"), true).unwrap_err().contains("not the batch API's"));
        assert!(!read(&json!("canary"), true).unwrap_err().contains("canary"));
    }
}
