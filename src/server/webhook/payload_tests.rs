//! Bodies in the shapes in which vendors send them.

use serde_json::json;

use super::*;

fn named(vendor: Vendor, body: &serde_json::Value) -> Result<Vec<String>, PayloadError> {
    repositories(vendor, "application/json", body.to_string().as_bytes())
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what was read")]
fn found(list: &[&str]) -> Result<Vec<String>, PayloadError> {
    Ok(list.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_push_names_its_repository_by_every_url_that_the_vendor_gives() {
    let github = json!({
        "ref": "refs/heads/main",
        "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "after": "59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5",
        "repository": {
            "id": 186_853_002, "name": "shop", "full_name": "org/shop", "private": true,
            "html_url": "https://github.com/org/shop", "git_url": "git://github.com/org/shop.git",
            "ssh_url": "git@github.com:org/shop.git", "clone_url": "https://github.com/org/shop.git",
            "owner": { "login": "org" }
        },
        "pusher": { "name": "a", "email": null },
        "commits": [{ "id": "59b20b8", "added": [], "modified": ["deploy/a.yaml"] }]
    });
    let urls = ["git@github.com:org/shop.git", "https://github.com/org/shop", "https://github.com/org/shop.git"];
    assert_eq!(named(Vendor::GitHub, &github), found(&urls));
    assert_eq!(named(Vendor::Gitea, &github), found(&urls));
    assert_eq!(named(Vendor::Gogs, &github), found(&urls));
    let form =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &github.to_string()).finish();
    assert_eq!(
        repositories(Vendor::GitHub, "application/x-www-form-urlencoded; charset=utf-8", form.as_bytes()),
        found(&urls)
    );
    let gitlab = json!({
        "object_kind": "push", "event_name": "push", "ref": "refs/heads/main", "checkout_sha": "da15608",
        "project": {
            "id": 15, "name": "Shop", "web_url": "https://gitlab.corp.test/team/shop",
            "git_ssh_url": "git@gitlab.corp.test:team/shop.git",
            "git_http_url": "https://gitlab.corp.test/team/shop.git", "namespace": "Team"
        },
        "repository": { "name": "Shop", "url": "git@gitlab.corp.test:team/shop.git", "homepage": "https://x" },
        "total_commits_count": 4
    });
    assert_eq!(
        named(Vendor::GitLab, &gitlab),
        found(&[
            "git@gitlab.corp.test:team/shop.git",
            "https://gitlab.corp.test/team/shop",
            "https://gitlab.corp.test/team/shop.git"
        ])
    );
    let bitbucket = json!({
        "push": { "changes": [{ "new": { "type": "branch", "name": "main" } }] },
        "actor": { "display_name": "A" },
        "repository": {
            "type": "repository", "full_name": "ws/shop", "name": "shop",
            "links": {
                "self": { "href": "https://api.bitbucket.org/2.0/repositories/ws/shop" },
                "html": { "href": "https://bitbucket.org/ws/shop" },
                "avatar": { "href": "https://bytebucket.org/x" }
            }
        }
    });
    assert_eq!(named(Vendor::Bitbucket, &bitbucket), found(&["https://bitbucket.org/ws/shop"]));
    let server = json!({
        "eventKey": "repo:refs_changed", "date": "2026-01-13T22:26:25+1100",
        "repository": {
            "slug": "shop", "id": 84, "project": { "key": "TEAM", "id": 84 },
            "links": {
                "clone": [
                    { "href": "ssh://git@bitbucket.corp.test:7999/team/shop.git", "name": "ssh" },
                    { "href": "https://bitbucket.corp.test/scm/team/shop.git", "name": "http" }
                ],
                "self": [{ "href": "https://bitbucket.corp.test/projects/TEAM/repos/shop/browse" }]
            }
        },
        "changes": [{ "ref": { "id": "refs/heads/main" }, "type": "UPDATE" }]
    });
    assert_eq!(
        named(Vendor::BitbucketServer, &server),
        found(&[
            "https://bitbucket.corp.test/scm/TEAM/shop",
            "https://bitbucket.corp.test/scm/team/shop.git",
            "ssh://git@bitbucket.corp.test:7999/team/shop.git"
        ])
    );
    let azure = json!({
        "id": "03c164c2", "eventType": "git.push", "publisherId": "tfs",
        "resource": {
            "refUpdates": [{ "name": "refs/heads/main" }],
            "repository": { "id": "278d5cd2", "name": "shop", "remoteUrl": "https://dev.azure.com/org/project/_git/shop" }
        }
    });
    assert_eq!(named(Vendor::AzureDevOps, &azure), found(&["https://dev.azure.com/org/project/_git/shop"]));
}

#[test]
fn a_push_to_a_registry_names_its_repository() {
    let harbor = json!({
        "type": "PUSH_ARTIFACT", "occur_at": 1_586_922_308, "operator": "admin",
        "event_data": {
            "resources": [{ "digest": "sha256:8a9e", "tag": "1.0", "resource_url": "harbor.corp.test/team/shop:1.0" }],
            "repository": { "name": "shop", "namespace": "team", "repo_full_name": "team/shop", "repo_type": "private" }
        }
    });
    assert_eq!(named(Vendor::Harbor, &harbor), found(&["harbor.corp.test/team/shop:1.0"]));
    let event = |action: &str, host: serde_json::Value| {
        json!({
            "id": "320678d8", "action": action,
            "target": {
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "repository": "team/shop", "tag": "1.0",
                "url": "https://registry.corp.test:5000/v2/team/shop/manifests/sha256:00"
            },
            "request": { "host": host, "method": "PUT" }
        })
    };
    let body =
        json!({ "events": [event("pull", json!("other.test")), event("push", json!("registry.corp.test:5000"))] });
    assert_eq!(named(Vendor::Registry, &body), found(&["oci://registry.corp.test:5000/team/shop"]));
    let body = json!({ "events": [event("push", json!(null))] });
    assert_eq!(named(Vendor::Registry, &body), found(&["oci://registry.corp.test:5000/team/shop"]));
    let package = json!({
        "action": "published",
        "registry_package": { "package_version": { "package_url": "ghcr.io/org/shop:1.0" } },
        "repository": { "clone_url": "https://github.com/org/shop.git" }
    });
    assert_eq!(named(Vendor::GitHub, &package), found(&["ghcr.io/org/shop:1.0", "https://github.com/org/shop.git"]));
}

#[test]
fn the_generic_body_names_one_or_several() {
    let one = json!({ "repository": "https://git.test/shop.git", "ref": "refs/heads/main" });
    assert_eq!(named(Vendor::Generic, &one), found(&["https://git.test/shop.git"]));
    let several = json!({ "repositories": ["oci://reg.test/b", "https://git.test/a", "oci://reg.test/b", ""] });
    assert_eq!(named(Vendor::Generic, &several), found(&["https://git.test/a", "oci://reg.test/b"]));
    let many: Vec<String> = (0..1000).map(|index| format!("https://git.test/{index}")).collect();
    assert_eq!(named(Vendor::Generic, &json!({ "repositories": many })).unwrap().len(), MOST_REPOSITORIES);
    assert_eq!(named(Vendor::Generic, &json!({ "repository": "x".repeat(LONGEST_NAME + 1) })), found(&[]));
}

#[test]
fn a_body_in_which_anything_is_missing_names_nothing_and_one_of_another_shape_is_refused() {
    for vendor in Vendor::ALL {
        assert_eq!(named(vendor, &json!({})), found(&[]), "{vendor:?}");
        assert_eq!(
            named(vendor, &json!({ "zen": "Keep it logically awesome.", "hook_id": 1 })),
            found(&[]),
            "{vendor:?}"
        );
        for broken in [&b""[..], b"{", b"null", b"7", b"\xff\xfe", b"[", b"{}{}"] {
            assert_eq!(repositories(vendor, "application/json", broken), Err(PayloadError::Unreadable), "{vendor:?}");
        }
        for form in [&b""[..], b"a=b", b"%%%"] {
            let read = repositories(vendor, "application/x-www-form-urlencoded", form);
            assert_eq!(read, Err(PayloadError::EmptyForm), "{vendor:?}");
        }
    }
    let partial = [
        (Vendor::GitHub, json!({ "repository": {} })),
        (Vendor::GitHub, json!({ "repository": null, "package": { "package_version": null } })),
        (Vendor::GitLab, json!({ "project": { "git_http_url": null } })),
        (Vendor::Bitbucket, json!({ "repository": { "links": { "html": {} } } })),
        (Vendor::BitbucketServer, json!({ "repository": { "slug": "a", "links": { "self": [{ "href": "x" }] } } })),
        (Vendor::AzureDevOps, json!({ "resource": { "repository": {} } })),
        (Vendor::Harbor, json!({ "event_data": { "resources": [{}] } })),
        (Vendor::Registry, json!({ "events": [{ "action": "push" }, { "action": "push", "target": {} }] })),
    ];
    for (vendor, body) in partial {
        assert_eq!(named(vendor, &body), found(&[]), "{body}");
    }
    let twisted = [
        (Vendor::GitHub, json!({ "repository": "org/shop" })),
        (Vendor::GitLab, json!({ "project": 7 })),
        (Vendor::Bitbucket, json!({ "repository": { "links": { "html": "x" } } })),
        (Vendor::Harbor, json!({ "event_data": { "resources": {} } })),
        (Vendor::Generic, json!({ "repository": { "url": "x" } })),
    ];
    for (vendor, body) in twisted {
        assert_eq!(named(vendor, &body), Err(PayloadError::Unreadable), "{body}");
    }
}

#[test]
fn a_body_as_deep_as_it_may_be_long_is_refused_or_passed_over_and_never_ends_the_process() {
    let depth = 500_000;
    for vendor in Vendor::ALL {
        let arrays = [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(repositories(vendor, "", &arrays), Err(PayloadError::Unreadable), "{vendor:?}");
        for field in ["repository", "unknown", "project", "resource", "event_data", "events", "links"] {
            let body = [format!("{{\"{field}\":").into_bytes(), arrays.clone(), b"}".to_vec()].concat();
            // Whatever it says, it says something.
            let _ = repositories(vendor, "", &body);
        }
    }
}
