//! openapi.yaml is the truth about the API: it and the router name the same calls and codes.

use std::collections::{BTreeMap, BTreeSet};

use proof_storage::http::{Code, ROUTES};
use serde_norway::Value;

use crate::http::client::Client;

/// Routes that exist only to refuse the empty key by its own name, not as an unknown path.
const NOT_CALLS: [&str; 2] = ["/v1/proofs/", "/v1/metadata/"];

/// Codes that the contract reserves for authentication, which this version has not.
const RESERVED_CODES: [&str; 1] = ["UNAUTHENTICATED"];

fn spec() -> Value {
    serde_norway::from_str(include_str!("../../openapi.yaml")).unwrap()
}

/// Path to methods, HEAD left out: every GET has it.
type Calls = BTreeMap<String, BTreeSet<String>>;

fn calls_of_spec() -> Calls {
    let spec = spec();
    let paths = spec["paths"].as_mapping().unwrap();
    let methods = |item: &Value| {
        let names = item.as_mapping().unwrap().keys().map(|name| name.as_str().unwrap());
        let names = names.map(str::to_uppercase);
        names.filter(|n| ["GET", "PUT", "POST", "DELETE", "PATCH"].contains(&n.as_str())).collect()
    };
    paths.iter().map(|(path, item)| (path.as_str().unwrap().to_owned(), methods(item))).collect()
}

/// What the router really answers: a method that no route has makes it list those it has.
async fn calls_of_router() -> Calls {
    let client = Client::new().await;
    let mut calls = Calls::new();
    for (route, _) in ROUTES {
        if NOT_CALLS.contains(&route) {
            continue;
        }
        let path = route.replace("{*key}", "k").replace("{token}", "t");
        let answer = client.call("TRACE", &path, &[], "").await;
        assert_eq!(answer.status, 405, "{route}");
        let allow = answer.header("allow").unwrap();
        let methods = allow.split(',').map(str::trim).filter(|method| *method != "HEAD");
        let documented = route.replace("{*key}", "{key}");
        calls.insert(documented, methods.map(str::to_owned).collect());
    }
    calls
}

#[tokio::test]
async fn router_and_description_have_the_same_calls() {
    assert_eq!(calls_of_router().await, calls_of_spec());
}

#[tokio::test]
async fn the_comparison_can_fail() {
    let mut spec = calls_of_spec();
    spec.get_mut("/v1/copy").unwrap().insert("DELETE".to_owned());
    assert_ne!(calls_of_router().await, spec);
}

#[test]
fn every_problem_code_is_described() {
    let spec = spec();
    let described = &spec["components"]["schemas"]["ProblemCode"]["enum"];
    let described: BTreeSet<_> =
        described.as_sequence().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    let ours = Code::ALL.iter().map(|code| code.spec().0).chain(RESERVED_CODES).collect();
    assert_eq!(described, ours);
}
