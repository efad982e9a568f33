//! Whose view is kept for how long.

use super::*;
use crate::apply::Limits;
use crate::live::SurfaceCache;

/// Destinations of a cluster that does not answer: nothing here asks it for anything.
fn destinations(namespaces: Option<&[&str]>) -> Destinations {
    let client = crate::live::client::build(kube::Config::new("http://127.0.0.1:1/".parse().unwrap())).unwrap();
    let surface = Arc::new(SurfaceCache::empty(client.clone()));
    let (changes, _) = tokio::sync::mpsc::unbounded_channel();
    let served = Arc::clone(&surface);
    let cache = Cache::new(client.clone(), surface, Arc::new(|_, _| None), Arc::new(|_| false), changes);
    let applier = Applier::new(
        client.clone(),
        Arc::new(move || served.current()),
        Arc::new(|_| false),
        Arc::new(|| true),
        Limits::default(),
    );
    let namespaces = namespaces.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Destinations::new(client, cache, applier, namespaces)
}

fn account(name: &str) -> Identity {
    Identity::ServiceAccount(ServiceAccount::new("shop", name))
}

fn impersonated(destinations: &Destinations) -> Vec<String> {
    destinations.state().impersonated.keys().map(ToString::to_string).collect()
}

#[tokio::test]
async fn applications_of_one_account_share_its_view_and_the_last_one_takes_it_along() {
    let all = destinations(None);
    let first = all.of("one", &account("a")).unwrap();
    let second = all.of("two", &account("a")).unwrap();
    let other = all.of("three", &account("b")).unwrap();
    assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
    assert_eq!(impersonated(&all), ["shop/a", "shop/b"]);
    all.forget("one");
    all.forget("three");
    assert_eq!(impersonated(&all), ["shop/a"]);
    all.forget("two");
    assert_eq!(impersonated(&all), Vec::<String>::new());
}

#[tokio::test]
async fn an_application_that_acts_as_another_lets_go_of_what_it_used() {
    let all = destinations(None);
    let before = all.of("app", &account("a")).unwrap();
    let key = ObjectKey::new("", "ConfigMap", "shop", "x");
    all.use_scopes("app", &before.scopes([&key].into_iter()).unwrap());
    let after = all.of("app", &account("b")).unwrap();
    assert!(!Arc::ptr_eq(&before, &after));
    assert_eq!(impersonated(&all), ["shop/b"]);
    let used = all.state().uses.remove("app").unwrap();
    assert_eq!(used, Use { identity: account("b"), scopes: BTreeSet::new() }, "nothing is taken to be known already");
}

#[tokio::test]
async fn the_operator_itself_watches_the_cluster_and_an_account_its_namespaces() {
    let all = destinations(None);
    let keys = [ObjectKey::new("", "ConfigMap", "shop", "x"), ObjectKey::new("", "Namespace", "", "shop")];
    let namespaces = |identity: &Identity| {
        let scopes = all.of("app", identity).unwrap().scopes(keys.iter()).unwrap();
        scopes.into_iter().map(|scope| scope.namespace).collect::<Vec<_>>()
    };
    assert_eq!(namespaces(&Identity::Own), [None, None]);
    assert_eq!(namespaces(&account("a")), [Some("shop".to_owned()), None]);
}

#[tokio::test]
async fn what_is_outside_of_the_operators_namespaces_is_no_ones_to_look_at() {
    let all = destinations(Some(&["shop"]));
    for identity in [Identity::Own, account("a")] {
        let destination = all.of("app", &identity).unwrap();
        let inside = ObjectKey::new("", "ConfigMap", "shop", "x");
        assert_eq!(destination.scopes([&inside].into_iter()).unwrap().len(), 1);
        for outside in [ObjectKey::new("", "ConfigMap", "cart", "x"), ObjectKey::new("", "Namespace", "", "shop")] {
            let failure = destination.scopes([&outside].into_iter()).unwrap_err();
            assert_eq!(failure.reason, Reason::OutsideNamespaces);
            assert!(failure.message.ends_with("; it is recorded as this Application's"), "{}", failure.message);
        }
    }
}
