//! openapi.yaml is the truth about the API: it and the router name the same calls and codes.

mod schema;

use std::collections::{BTreeMap, BTreeSet};

use proof_storage::http::{CALLS, Code};
use proof_storage::model::PoolMode;
use serde_norway::Value;

use self::schema::faults;
use crate::http::client::Client;
use crate::http::pool::members;

/// Routes that exist only to refuse the empty key by its own name, not as an unknown path.
const NOT_CALLS: [&str; 3] = ["/v1/proofs/", "/v1/metadata/", "/v1/retention/"];

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
    for route in CALLS.iter().map(|row| row.path) {
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
    let ours = Code::ALL.iter().map(|code| code.spec().0).collect();
    assert_eq!(described, ours);
}

/// Calls that only watch, and what their answers are made of.
const WATCHING: [(&str, &str); 3] =
    [("/health", "Health"), ("/v1/backends", "Backends"), ("/v1/stats", "Stats")];

#[tokio::test]
async fn answers_about_the_service_are_what_is_described() {
    let spec = spec();
    let single = Client::new().await;
    let (_, setups) = members(["far", "near"]);
    let (pool, inventory) = Client::pool(setups, PoolMode::Mirror).await;
    pool.put("/v1/proofs/a", "12345").await;
    inventory.take().await.unwrap();
    for client in [single, pool] {
        for (path, name) in WATCHING {
            let answer = client.get(path).await.json();
            let schema = &spec["components"]["schemas"][name];
            assert_eq!(faults(&spec, schema, &answer), Vec::<String>::new(), "{path}: {answer}");
        }
    }
}

#[test]
fn examples_are_what_is_described() {
    let spec = spec();
    let mut seen = 0;
    for (path, name) in WATCHING {
        let content = &spec["paths"][path]["get"]["responses"]["200"]["content"];
        let examples = content["application/json"]["examples"].as_mapping().unwrap();
        for (title, example) in examples {
            let value = serde_json::to_value(&example["value"]).unwrap();
            let schema = &spec["components"]["schemas"][name];
            assert_eq!(faults(&spec, schema, &value), Vec::<String>::new(), "{path} {title:?}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "one and several backends of each: {seen}");
}

/// Negative control: the comparison notices a field too many, too few, and of another kind.
#[test]
fn an_answer_that_is_not_described_is_noticed() {
    let spec = spec();
    let content = &spec["paths"]["/v1/backends"]["get"]["responses"]["200"]["content"];
    let example = &content["application/json"]["examples"]["pool"]["value"];
    let example = serde_json::to_value(example).unwrap();
    let schema = &spec["components"]["schemas"]["Backends"];
    let changes: [fn(&mut serde_json::Value); 5] = [
        |answer| answer["surprise"] = 1.into(),
        |answer| answer["mode"] = "raid".into(),
        |answer| answer["backends"][1]["full"] = "no".into(),
        |answer| drop(answer["backends"][0].as_object_mut().unwrap().remove("role")),
        |answer| answer["pool"]["limited_by"]["presign"] = "near".into(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut answer = example.clone();
        change(&mut answer);
        assert_eq!(faults(&spec, schema, &answer).len(), 1, "change {index}");
    }
}
