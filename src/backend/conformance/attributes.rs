//! Attributes: kept to the letter, or refused before anything is written.

use super::fixture::{
    Store, accept, assert_kept, available, expect, expect_absent, key, noise, plain, put_with,
    refuse, rich,
};
use crate::model::{Attributes, Encryption, ErrorKind, ObjectKey, PutMode, Support};

pub(super) async fn all_travel_with_the_object(store: Store) {
    let bytes = noise(1, 500);
    let wanted = rich(&bytes);
    let (first, second, third) = (key("proofs/1"), key("proofs/2"), key("proofs/3"));
    put_with(&store, &first, &bytes, wanted.clone()).await;
    accept(store.copy(&first, &second, PutMode::Overwrite).await, "a copy succeeds");
    accept(store.rename(&second, &third, PutMode::Overwrite).await, "a rename succeeds");
    for key in [first, third] {
        let meta = expect(&store, &key, &bytes, "copies and moves keep the bytes").await;
        assert_kept(&meta.attributes, &wanted, "attributes travel with the object");
        assert_eq!(meta.size(), 1507, "the caller's size is the representation's");
    }
}

pub(super) async fn long_and_unicode_values_survive(store: Store) {
    let bytes = noise(1, 10);
    let mut wanted = plain();
    wanted.metadata.insert("title".into(), "Beweis für 写真 — 🖼️ «naïve»".into());
    wanted.metadata.insert("spaces".into(), "  inner  and outer  ".into());
    wanted.metadata.insert("punctuation".into(), "a=b&c;d,\"e\"\\f%20=?utf-8?q?".into());
    wanted.metadata.insert("long".into(), "0123456789abcdef".repeat(40));
    wanted.content_type =
        "application/vnd.example+json; profile=\"https://example.com/a?b\"".into();
    let key = key("proofs/a");
    put_with(&store, &key, &bytes, wanted.clone()).await;
    let meta = expect(&store, &key, &bytes, "bytes come back").await;
    assert_kept(&meta.attributes, &wanted, "long and non-ascii values survive");
}

pub(super) async fn storage_class_is_kept_or_refused(store: Store) {
    let wanted = Attributes { storage_class: Some("STANDARD".into()), ..plain() };
    let support = store.capabilities().storage_class;
    kept_or_refused(&store, wanted, support, ["storage_class", "storage class"]).await;
}

pub(super) async fn encryption_is_kept_or_refused(store: Store) {
    let can = store.capabilities();
    for (encryption, support, feature) in [
        (Encryption::Aes256, can.encryption_aes256, ["encryption_aes256", "AES256"]),
        (Encryption::Kms, can.encryption_kms, ["encryption_kms", "aws:kms"]),
    ] {
        let wanted = Attributes { encryption, ..plain() };
        kept_or_refused(&store, wanted, support, feature).await;
    }
    // Done above the backend, so no capability tells: it must be one or the other.
    let (key, bytes) = (key("envelope"), noise(1, 10));
    let wanted = Attributes { encryption: Encryption::Envelope, ..plain() };
    match store.put(&key, bytes.clone().into(), wanted.clone(), PutMode::Overwrite).await {
        Ok(stored) => assert_kept(&stored.meta.attributes, &wanted, "what is accepted is kept"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "refused as unsupported: {error:?}");
            expect_absent(&store, &key, "a refused attribute writes nothing").await;
        }
    }
}

pub(super) async fn tags_are_kept_or_refused(store: Store) {
    let mut wanted = plain();
    wanted.tags.insert("type".into(), "proof".into());
    wanted.tags.insert("version".into(), "1.0".into());
    wanted.tags.insert("owner".into(), "größe + 1 = a/b".into());
    let support = store.capabilities().tags;
    kept_or_refused(&store, wanted, support, ["tags", "tag"]).await;
}

/// `names` are the words by which a refusal may name the capability.
async fn kept_or_refused(store: &Store, wanted: Attributes, support: Support, names: [&str; 2]) {
    let feature = names[0];
    let (fresh, present) = (key(format!("{feature}/new")), key(format!("{feature}/old")));
    let old = noise(1, 100);
    put_with(store, &present, &old, plain()).await;
    for key in [&fresh, &present] {
        let new = noise(2, 10);
        let tried = store.put(key, new.clone().into(), wanted.clone(), PutMode::Overwrite).await;
        if let Err(error) = &tried
            && !support.is_available()
        {
            let named = names.iter().any(|name| error.detail().contains(name));
            assert!(named, "a refusal names the capability {feature}: {error:?}");
        }
        if !available(support, feature, tried.as_ref().map_err(Clone::clone)) {
            continue;
        }
        accept(tried, feature);
        let meta = expect(store, key, &new, "the bytes are kept with the attribute").await;
        let rule = format!("a supported attribute is kept: {feature}");
        assert_kept(&meta.attributes, &wanted, &rule);
    }
    if !support.is_available() {
        unchanged(store, &fresh, &present, &old).await;
    }
}

async fn unchanged(store: &Store, fresh: &ObjectKey, present: &ObjectKey, old: &bytes::Bytes) {
    expect_absent(store, fresh, "a refused attribute writes nothing").await;
    let meta = expect(store, present, old, "a refused attribute replaces nothing").await;
    assert_kept(&meta.attributes, &plain(), "a refused attribute replaces nothing");
    let tried = store.head(fresh).await;
    refuse(tried, ErrorKind::NotFound, "a refused attribute writes nothing");
}
