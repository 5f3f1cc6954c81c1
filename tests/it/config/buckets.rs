//! What the providers `s3` and `r2` need.

use super::{CANARY, load, mistakes};

#[test]
fn a_bucket_needs_all_that_reaches_it() {
    let found = mistakes(load(&[("STORAGE_PROVIDER", "s3")]));
    assert_eq!(found, ["STORAGE_BUCKET: is not set: the provider `s3` needs a bucket"]);
    let half = [
        ("STORAGE_PROVIDER", "s3"),
        ("STORAGE_BUCKET", "some-bucket"),
        ("STORAGE_ACCESS_KEY_ID", CANARY),
    ];
    let wanted = "STORAGE_SECRET_ACCESS_KEY: is not set: a key id is given without its secret";
    assert_eq!(mistakes(load(&half)), [wanted]);
    let r2 = [("STORAGE_PROVIDER", "r2"), ("STORAGE_ENCRYPTION", "AES256")];
    insta::assert_snapshot!(mistakes(load(&r2)).join("\n"), @r"
    R2_BUCKET: is not set: the provider `r2` needs a bucket
    R2_ACCOUNT_ID: is not set: the provider `r2` needs the account's id, or an endpoint
    STORAGE_ENCRYPTION: R2 encrypts everything by itself and takes no such request: remove it
    R2_ACCESS_KEY_ID: is not set: the provider `r2` needs an API token's key id and secret
    ");
    let wrong = [("STORAGE_PROVIDER", "s3"), ("STORAGE_BUCKET", "s3://some-bucket/x")];
    assert_eq!(mistakes(load(&wrong)).len(), 1);
}

#[test]
fn the_account_of_r2_makes_its_endpoint() {
    let base = [
        ("STORAGE_PROVIDER", "r2"),
        ("R2_BUCKET", "some-bucket"),
        ("R2_ACCOUNT_ID", "abc"),
        ("R2_ACCESS_KEY_ID", "some-id"),
        ("R2_SECRET_ACCESS_KEY", CANARY),
    ];
    let endpoint = |settings: &[(&str, &str)]| {
        let config = load(settings).unwrap().config;
        let remote = config.backends[0].remote().unwrap();
        assert_eq!(remote.region.as_deref(), Some("auto"));
        assert!(!format!("{remote:?}").contains(CANARY));
        remote.endpoint.as_ref().unwrap().as_str().to_owned()
    };
    assert_eq!(endpoint(&base), "https://abc.r2.cloudflarestorage.com");
    let eu = ("R2_ENDPOINT", "https://abc.eu.r2.cloudflarestorage.com");
    assert_eq!(endpoint(&[&base[..], &[eu]].concat()), eu.1);

    // A domain of one's own serves public reads, and honours no signature.
    let seen = |url| [&base[..], &[("STORAGE_PRESIGN_ENDPOINT", url)]].concat();
    let wrong = mistakes(load(&seen("https://files.example.org")));
    assert!(wrong.len() == 1 && wrong[0].starts_with("STORAGE_PRESIGN_ENDPOINT: R2"), "{wrong:?}");
    endpoint(&seen("https://abc.eu.r2.cloudflarestorage.com"));
    // Something in between that passes requests on is not known to be wrong.
    let local = [("R2_ENDPOINT", "http://127.0.0.1:9000")];
    endpoint(&[&seen("http://localhost:9000")[..], &local].concat());
}
