//! Who is told that a proof is held, and what a signed URL may not do.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use proof_storage::access::ApiToken;
use proof_storage::backend::Backend as _;
use proof_storage::backend::memory::Memory;
use proof_storage::config::{AuthConfig, AuthMode, Config, TokenEntry};
use proof_storage::model::{
    Attributes, KeyPrefix, ObjectKey, PutMode, Representation, Retention, Rights, Scope, WriteMode,
};
use serde_json::json;

use crate::http::client::Client;

const UNTIL: &str = "2099-01-31T00:00:00Z";

fn entry(name: &str, token: &ApiToken, scopes: &[Scope]) -> TokenEntry {
    let rights = Rights { scopes: scopes.iter().copied().collect(), ..Rights::all() };
    TokenEntry { name: name.into(), sha256: token.sha256(), rights, expires: None }
}

#[tokio::test]
async fn only_who_is_known_is_told() {
    let token = ApiToken::make().unwrap();
    let entries = vec![entry("all", &token, &Scope::ALL)];
    let client = Client::configured(|config: &mut Config| {
        let public_read = vec![KeyPrefix::parse("public/").unwrap()];
        let (mode, tokens) = (AuthMode::Required, entries.clone());
        config.auth = AuthConfig { mode, tokens, public_read, ..Config::default().auth };
        config.storage.write_mode = WriteMode::Overwrite;
    })
    .await;
    let bearer = format!("Bearer {}", token.expose());
    let known = ("authorization", bearer.as_str());
    let cached = ("cache-control", "public, max-age=60");
    let held = [known, cached, ("proof-retain-until", UNTIL), ("proof-legal-hold", "on")];
    let path = "/v1/proofs/public/a";
    assert_eq!(client.call("PUT", path, &held, "held").await.status, 201);
    for method in ["GET", "HEAD"] {
        let told = client.call(method, path, &[known], "").await;
        assert_eq!(told.header("proof-retain-until"), Some(UNTIL));
        assert_eq!(told.header("proof-legal-hold"), Some("on"));
        // No shared cache may give to anybody what is told here.
        assert_eq!(told.header("cache-control"), Some("private, max-age=60"));
        let anybody = client.call(method, path, &[], "").await;
        assert_eq!(anybody.status, 200);
        assert_eq!(anybody.header("cache-control"), Some("public, max-age=60"));
        for name in ["proof-retain-until", "proof-legal-hold"] {
            assert_eq!(anybody.header(name), None, "{method}");
        }
    }

    let json = ("content-type", "application/json");
    let sign = |method: &str| json!({ "key": "public/a", "method": method }).to_string();
    let url = async |method: &str| {
        let signed = client.call("POST", "/v1/signed-urls", &[known, json], sign(method)).await;
        let url = signed.json()["url"].as_str().unwrap().to_owned();
        url.split_once(":8080").unwrap().1.to_owned()
    };
    let got = client.get(&url("GET").await).await;
    assert_eq!((got.status.as_u16(), got.header("proof-legal-hold")), (200, None));
    let put = url("PUT").await;
    let refused = client.put(&put, "other").await;
    refused.is_problem(409, "RETAINED", "cannot be replaced");
    assert!(!refused.problem().contains("2099") && !refused.problem().contains("legal"));
    let same = client.put(&put, "held").await;
    assert_eq!((same.status.as_u16(), &same.json()["retention"]), (200, &json!(null)));
    for header in [("proof-retain-until", UNTIL), ("proof-legal-hold", "off")] {
        let refused = client.call("PUT", &put, &[header], "held").await;
        refused.is_problem(400, "INVALID_REQUEST", "not with a signed URL");
    }
    assert_eq!(client.get(path).await.body, "held");
}

#[tokio::test]
async fn clearing_a_legal_hold_takes_more_than_setting_one() {
    let (writer, admin) = (ApiToken::make().unwrap(), ApiToken::make().unwrap());
    let entries = vec![
        entry("writer", &writer, &[Scope::Write, Scope::Delete]),
        entry("admin", &admin, &[Scope::Write, Scope::Admin]),
    ];
    let client = Client::configured(|config: &mut Config| {
        let (mode, tokens) = (AuthMode::Required, entries.clone());
        config.auth = AuthConfig { mode, tokens, ..Config::default().auth };
    })
    .await;
    let call = async |token: &ApiToken, method: &str, path: &str, body: String| {
        let bearer = format!("Bearer {}", token.expose());
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        client.call(method, path, &headers, body).await
    };
    let hold = |on: bool| json!({ "legal_hold": on }).to_string();
    call(&writer, "PUT", "/v1/proofs/a", "{}".into()).await;
    assert_eq!(call(&writer, "PUT", "/v1/retention/a", hold(true)).await.status, 200);
    let refused = call(&writer, "PUT", "/v1/retention/a", hold(false)).await;
    refused.is_problem(403, "ACCESS_DENIED", "admin");
    let refused = call(&writer, "DELETE", "/v1/proofs/a", String::new()).await;
    refused.is_problem(409, "RETAINED", "legal hold");
    assert_eq!(call(&admin, "PUT", "/v1/retention/a", hold(false)).await.status, 200);
    assert_eq!(call(&writer, "DELETE", "/v1/proofs/a", String::new()).await.status, 204);
}

/// Who writes into the bucket itself can say any time at all.
#[tokio::test]
async fn a_time_that_has_no_date_is_told_all_the_same() {
    let store = Arc::new(Memory::new());
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
    let retention = Retention { until: Some(far), legal_hold: false, stored: None };
    let representation = Some(Representation::of(b"planted"));
    let attributes = Attributes { representation, retention, ..Attributes::new("text/plain") };
    let bytes = Bytes::from_static(b"planted").into();
    store.put(&ObjectKey::new("proofs/a"), bytes, attributes, PutMode::Create).await.unwrap();
    let client = Client::over(store, Config::default()).await;
    for method in ["GET", "HEAD"] {
        let told = client.call(method, "/v1/proofs/a", &[], "").await;
        assert_eq!(told.header("proof-retain-until"), Some("9999-12-31T23:59:59Z"));
    }
    let told = client.get("/v1/metadata/a").await;
    assert_eq!(told.json()["retention"]["until"], "9999-12-31T23:59:59Z");
    let refused = client.call("DELETE", "/v1/proofs/a", &[], "").await;
    refused.is_problem(409, "RETAINED", "until 9999-12-31");
}
