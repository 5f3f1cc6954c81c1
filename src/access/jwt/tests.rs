use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::model::{Key, Namespace};

const ISSUER: &str = "https://login.example";

/// A key of the provider, by its name.
struct Provider {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Provider {
    fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::ES256 => {
                let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let der = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
                EncodingKey::from_ec_der(der.as_ref())
            }
            Algorithm::EdDSA => {
                let der = Ed25519KeyPair::generate_pkcs8v1(&random).unwrap();
                EncodingKey::from_ed_der(der.as_ref())
            }
            _ => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                // The key alone, without what PKCS #8 puts before one of 2048 bits.
                EncodingKey::from_rsa_der(&der.as_ref()[26..])
            }
        };
        Self { kid, algorithm, key }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    fn header(&self) -> Header {
        Header { kid: Some(self.kid.to_owned()), ..Header::new(self.algorithm) }
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.key).unwrap()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["else", "proofs"], "exp": now() + 3600, "nbf": now() - 10,
        "sub": "alice\n", "scope": "openid read sign", "where": ["a/", "b"],
    })
}

/// The same with a claim changed, or taken out where it is null.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn config(jwks: JwksSource) -> JwtConfig {
    JwtConfig {
        jwks,
        issuer: ISSUER.to_owned(),
        audience: vec!["proofs".to_owned()],
        leeway: Duration::from_secs(60),
        scope_claim: "scope".to_owned(),
        prefix_claim: Some("where".to_owned()),
        refresh: Duration::from_secs(300),
        reach: crate::model::Reach::Guarded,
    }
}

async fn over(keys: &[Value]) -> Jwt {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "keys": keys }).to_string()).unwrap();
    Jwt::new(&config(JwksSource::File(file.path().to_owned())), Metrics::new()).await
}

fn key(name: &str) -> Key {
    Namespace::new("").unwrap().key(name).unwrap()
}

#[tokio::test]
async fn each_algorithm_verifies_and_brings_its_rights() {
    let algorithms = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    let providers = ["r", "e", "d"].into_iter().zip(algorithms);
    let providers: Vec<_> = providers.map(|(kid, alg)| Provider::new(kid, alg)).collect();
    // Keys of kinds that are not taken spoil none of the others.
    let mut keys: Vec<_> = providers.iter().map(Provider::jwk).collect();
    keys.extend([json!({ "kty": "new", "kid": "n" }), json!(5), json!({})]);
    let jwt = over(&keys).await;
    for provider in &providers {
        let caller = jwt.caller(&provider.sign(&claims())).await.unwrap();
        assert_eq!(&*caller.name, "alice_");
        assert_eq!(caller.expires, claims()["exp"].as_u64());
        let rights = &caller.rights;
        assert!(rights.allow(Scope::Read, &key("a/1")) && rights.allow(Scope::Sign, &key("b")));
        assert!(!rights.allow(Scope::Read, &key("c")) && !rights.allow(Scope::Write, &key("b")));
        let Issuer::Jwt(id, scopes) = caller.issuer else { panic!("a JWT") };
        assert!(jwt.signer(id, scopes).unwrap().rights.allow(Scope::Read, &key("a/1")));
        assert!(jwt.signer([0; 16], scopes).is_err());
    }
    for nothing in
        [with("scope", Value::Null), with("where", Value::Null), with("where", json!(["/"]))]
    {
        let caller = jwt.caller(&providers[0].sign(&nothing)).await.unwrap();
        assert!(!caller.rights.allow(Scope::Read, &key("a/1")), "{nothing}");
    }
}

#[tokio::test]
async fn what_does_not_hold_is_refused() {
    let provider = Provider::new("e", Algorithm::ES256);
    let other = Provider::new("o", Algorithm::EdDSA);
    let jwt = over(&[provider.jwk(), other.jwk()]).await;
    for (claims, expected) in [
        (with("exp", json!(now() - 61)), Refused::Expired),
        (with("nbf", json!(now() + 3600)), Refused::Early),
        (with("exp", Value::Null), Refused::Invalid),
        (with("exp", json!("soon")), Refused::Invalid),
        (with("iss", Value::Null), Refused::Invalid),
        (with("iss", json!("https://login.example/")), Refused::Invalid),
        (with("aud", Value::Null), Refused::Invalid),
        (with("aud", json!("proof")), Refused::Invalid),
        (with("aud", json!([])), Refused::Invalid),
    ] {
        let refused = jwt.caller(&provider.sign(&claims)).await.map(drop);
        assert_eq!(refused, Err(expected), "{claims}");
    }
    // Within the leeway clocks may differ.
    assert!(jwt.caller(&provider.sign(&with("exp", json!(now() - 30)))).await.is_ok());

    let token = provider.sign(&claims());
    let impostor = Provider::new("e", Algorithm::ES256);
    let secret = EncodingKey::from_secret(provider.jwk()["x"].as_str().unwrap().as_bytes());
    let header = |change: fn(&mut Header)| {
        let mut header = provider.header();
        change(&mut header);
        encode(&header, &claims(), &provider.key).unwrap()
    };
    let symmetric = Header { kid: Some("e".to_owned()), ..Header::new(Algorithm::HS256) };
    let (head, rest) = token.split_once('.').unwrap();
    let none = {
        use base64::Engine as _;
        let head = json!({ "alg": "none", "kid": "e" }).to_string();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(head)
    };
    let payload = rest.split_once('.').unwrap().0;
    for (what, text) in [
        ("somebody else's signature", impostor.sign(&claims())),
        ("a secret made of the public key", encode(&symmetric, &claims(), &secret).unwrap()),
        ("no signature", format!("{none}.{payload}.")),
        ("no algorithm", format!("{none}.{rest}")),
        ("an unknown key", header(|header| header.kid = Some("x".to_owned()))),
        ("another's key", header(|header| header.kid = Some("o".to_owned()))),
        ("no key, where there are two", header(|header| header.kid = None)),
        ("a critical extension", header(|header| header.crit = Some(vec!["b64".to_owned()]))),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("two parts", format!("{head}.{payload}")),
        ("a long one", format!("{token}{}", "A".repeat(MAX_BYTES))),
    ] {
        assert_eq!(jwt.caller(&text).await.map(drop), Err(Refused::Invalid), "{what}");
    }
    // The control: unchanged it is taken.
    assert!(jwt.caller(&token).await.is_ok());
}

#[test]
fn a_key_that_is_not_for_these_signatures_is_not_taken() {
    let provider = Provider::new("e", Algorithm::ES256);
    let read = |name: &str, value: Value| {
        let mut jwk = provider.jwk();
        jwk[name] = value;
        KeySet::read(json!({ "keys": [jwk] }).to_string().as_bytes()).map(drop)
    };
    assert!(read("use", json!("sig")).is_ok());
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["sign"])),
        ("alg", json!("ES384")),
        ("crv", json!("P-384")),
    ] {
        assert!(read(name, value).is_err(), "{name}");
    }
    for text in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
        assert!(KeySet::read(text.as_bytes()).is_err(), "{text}");
    }
}

/// Answers each request with what it is told to, and counts them.
async fn server(answer: Arc<RwLock<String>>, asked: Arc<AtomicUsize>) -> JwksSource {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            asked.fetch_add(1, Ordering::SeqCst);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let text = answer.read().unwrap().clone();
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    JwksSource::Url(url.parse().unwrap())
}

fn answer(status: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

#[tokio::test]
async fn keys_behind_a_url_are_fetched_when_needed_and_at_most_once_a_minute() {
    let (one, two) = (Provider::new("1", Algorithm::EdDSA), Provider::new("2", Algorithm::ES256));
    let text = Arc::new(RwLock::new(answer("200 OK", &json!({ "keys": [one.jwk()] }))));
    let asked = Arc::new(AtomicUsize::new(0));
    let source = server(Arc::clone(&text), Arc::clone(&asked)).await;
    let jwt = Jwt::new(&config(source), Metrics::new()).await;
    let times = || asked.load(Ordering::SeqCst);
    assert_eq!(times(), 0);
    assert!(jwt.caller(&one.sign(&claims())).await.is_ok());
    assert_eq!(times(), 1);
    for _ in 0..20 {
        assert!(jwt.caller(&two.sign(&claims())).await.is_err());
    }
    assert_eq!(times(), 1, "whatever anybody sends");

    // A reading in the background takes the new key, and gives up the old one.
    *text.write().unwrap() = answer("200 OK", &json!({ "keys": [two.jwk()] }));
    jwt.refresh().await;
    assert!(jwt.caller(&two.sign(&claims())).await.is_ok());
    assert!(jwt.caller(&one.sign(&claims())).await.is_err());

    // What cannot be read, or leads elsewhere, changes nothing.
    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\
                     connection: close\r\n\r\n";
    for wrong in [
        answer("500 Oh", &json!({ "keys": [one.jwk()] })),
        answer("200 OK", &json!({ "keys": [] })),
        answer("200 OK", &json!("x".repeat(2 << 20))),
        elsewhere.to_owned(),
    ] {
        *text.write().unwrap() = wrong;
        let before = times();
        jwt.refresh().await;
        assert_eq!(times(), before + 1);
        assert!(jwt.caller(&two.sign(&claims())).await.is_ok());
        assert!(jwt.caller(&one.sign(&claims())).await.is_err());
    }
}
